/*
 * Sends DNS queries over TCP by every way the kernel offers, and receives the answers by every way.
 *
 *   stream --server 10.96.0.10 --server6 fd00:96::a --tag t1 --count 4
 *       for each way of sending (received by read), each way of receiving (sent by write) and each kind of socket: a
 *       connection with that many queries, one after another, alternating A and AAAA
 *   stream --server 10.96.0.10 --tag t2 --bulk 1000 --window 8 --per-connection 100
 *       that many queries, at most 8 of them waiting for their answer, and so many of them on one connection
 *
 * The query names are as those of `sockets`: SEND-RECEIVE-SOCKET-N.TAG.test.cluster.local. and
 * bulk-N.TAG.test.cluster.local. An answer that does not come within --timeout-ms is given up, never asked for again.
 *
 * The ways of sending: `write` has prefix and message in one call, `two` in one each, `bytes` byte by byte, `odd` cut
 * where no program would cut them, `pair` two messages in one call, `more` the prefix with MSG_MORE, `fastopen` with
 * the SYN if the server lets it, `partial` is a query of 60,000 bytes on a non-blocking socket with a small buffer.
 * Of receiving: `parts` reads the prefix and then the message, `peek` looks at both first, `waitall` waits for them.
 *
 * Prints one JSON line, as `sockets` does, with `connections` and `partial`, the number of calls that the kernel took
 * only a part of.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "io_uring.h"
#include "query.h"

#define PREFIX_SIZE 2
#define BUFFER_SIZE 65536
#define PADDING 60000
#define WINDOW_MAX 1024
#define WAYS_MAX 128

enum send_way { WRITE, TWO, WRITEV, BYTES, ODD, PAIR, SEND, SENDTO, SENDMSG, SENDMMSG, MORE, FASTOPEN, PARTIAL, SEND_URING,
		SEND_WAYS };
enum receive_way { READ, RECV, RECVFROM, READV, RECVMSG, RECVMMSG, PARTS, READ_BYTES, PEEK, WAITALL, RECEIVE_URING,
		   RECEIVE_WAYS };
enum socket_kind { V4, V6, MAPPED, SOCKET_KINDS };

static const char *const send_names[] = { "write",   "two",	"writev",  "bytes", "odd",	"pair",	   "send",
					  "sendto",  "sendmsg", "sendmmsg", "more", "fastopen", "partial", "io_uring" };
static const char *const receive_names[] = { "read",  "recv",  "recvfrom", "readv",   "recvmsg", "recvmmsg",
					     "parts", "bytes", "peek",	   "waitall", "io_uring" };
static const char *const kind_names[] = { "v4", "v6", "mapped" };

static struct {
	const char *server, *server6, *tag, *port;
	uint16_t next_id;
	unsigned long count, bulk, window, per_connection;
	int timeout_ms;
} options = { .tag = "x", .port = "53", .count = 4, .window = 1, .timeout_ms = 5000 };

struct tally {
	char way[40];
	unsigned long sent, received, unexpected, errors, connections, partial;
	/* The errno of the last failed call. */
	int error;
};

struct connection {
	int fd;
	struct ring ring;
	struct addrinfo *server;
	struct tally *tally;
	/* Not yet with `fastopen`. */
	bool is_open;
	/* What has been received and not yet taken. */
	uint8_t bytes[BUFFER_SIZE];
	size_t have;
};

/* Messages to send, each after its prefix. */
struct batch {
	uint8_t bytes[BUFFER_SIZE];
	size_t length;
};

static void note_error(struct tally *tally)
{
	/* A timeout of the receive call is a missing answer, not an error. */
	if (errno == EAGAIN)
		return;
	tally->errors++;
	tally->error = errno;
}

/* Adds a query with its prefix, padded by so many bytes (RFC 7830); returns its id. */
static uint16_t add_query(struct batch *batch, const char *name, uint16_t type, uint16_t padding)
{
	uint8_t *prefix = batch->bytes + batch->length, *message = prefix + PREFIX_SIZE;
	uint16_t id = options.next_id++;
	size_t length = encode_query(message, id, name, type);

	if (padding) {
		uint16_t data = (uint16_t)(padding + 4);
		/* The root's OPT record for 4096 bytes, with option 12. */
		const uint8_t record[] = { 0, 0, 41, 16, 0, 0, 0, 0, 0, (uint8_t)(data >> 8), (uint8_t)data,
					   0, 12, (uint8_t)(padding >> 8), (uint8_t)padding };

		message[11] = 1;
		memcpy(message + length, record, sizeof(record));
		memset(message + length + sizeof(record), 0, padding);
		length += sizeof(record) + padding;
	}
	prefix[0] = (uint8_t)(length >> 8);
	prefix[1] = (uint8_t)length;
	batch->length += PREFIX_SIZE + length;
	return id;
}

static struct addrinfo *address(enum socket_kind kind)
{
	struct addrinfo hints = { .ai_family = kind == V4 ? AF_INET : AF_INET6, .ai_socktype = SOCK_STREAM,
				  .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_V4MAPPED };
	struct addrinfo *found = NULL;

	if (getaddrinfo(kind == V6 ? options.server6 : options.server, options.port, &hints, &found)) {
		fprintf(stderr, "stream: not an address\n");
		exit(2);
	}
	return found;
}

/* Returns 0, or -1 with errno. The connection of `fastopen` is opened by its first sending. */
static int open_connection(struct connection *connection, enum socket_kind kind, enum send_way way, enum receive_way receive)
{
	struct timeval timeout = { options.timeout_ms / 1000, options.timeout_ms % 1000 * 1000 };
	int one = 1, small = 1;

	connection->have = 0;
	connection->ring.fd = -1;
	connection->server = address(kind);
	connection->fd = socket(connection->server->ai_family, SOCK_STREAM, 0);
	if (connection->fd < 0)
		return -1;
	if (setsockopt(connection->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		return -1;
	/* The kernel makes the least it allows of it. */
	if (way == PARTIAL && setsockopt(connection->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)))
		return -1;
	if ((way == SEND_URING || receive == RECEIVE_URING) && ring_open(&connection->ring))
		return -1;
	connection->tally->connections++;
	connection->is_open = way != FASTOPEN;
	if (connection->is_open && connect(connection->fd, connection->server->ai_addr, connection->server->ai_addrlen))
		return -1;
	return way == PARTIAL ? fcntl(connection->fd, F_SETFL, O_NONBLOCK) : 0;
}

static void close_connection(struct connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	if (connection->ring.fd >= 0)
		close(connection->ring.fd);
	freeaddrinfo(connection->server);
}

/* One call that sends LENGTH bytes or the first of them; returns as write does. CUT is where prefix and message meet. */
static ssize_t send_some(struct connection *to, enum send_way way, uint8_t *bytes, size_t length, size_t cut)
{
	struct iovec parts[] = { { bytes, cut }, { bytes + cut, length - cut } };
	struct mmsghdr messages[] = { { .msg_hdr = { .msg_iov = &parts[0], .msg_iovlen = 1 } },
				      { .msg_hdr = { .msg_iov = &parts[1], .msg_iovlen = 1 } } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	struct pollfd writable = { .fd = to->fd, .events = POLLOUT };

	switch (way) {
	case WRITE:
	case PAIR:
	case SEND_WAYS:
		return write(to->fd, bytes, length);
	case TWO:
		return write(to->fd, bytes, cut ? cut : length);
	case WRITEV:
		return writev(to->fd, parts, 2);
	case BYTES:
		return write(to->fd, bytes, 1);
	case ODD:
		/* 1 byte of the prefix, then 4 bytes at a time. */
		return write(to->fd, bytes, cut ? 1 : length < 4 ? length : 4);
	case SEND:
		return send(to->fd, bytes, length, 0);
	case SENDTO:
		return sendto(to->fd, bytes, length, 0, to->server->ai_addr, to->server->ai_addrlen);
	case SENDMSG:
		return sendmsg(to->fd, &message, 0);
	case SENDMMSG:
		return sendmmsg(to->fd, messages, 2, 0) == 2 ? (ssize_t)(messages[0].msg_len + messages[1].msg_len) : -1;
	case MORE:
		return cut ? send(to->fd, bytes, cut, MSG_MORE) : send(to->fd, bytes, length, 0);
	case FASTOPEN:
		if (to->is_open)
			return write(to->fd, bytes, length);
		to->is_open = true;
		return sendto(to->fd, bytes, length, MSG_FASTOPEN, to->server->ai_addr, to->server->ai_addrlen);
	case PARTIAL:
		if (poll(&writable, 1, options.timeout_ms) != 1)
			return -1;
		return write(to->fd, bytes, length);
	case SEND_URING:
		return ring_message(&to->ring, IORING_OP_SENDMSG, to->fd, &message);
	}
	return -1;
}

/* Sends a batch in as many calls as that takes. Returns 0, or -1 with errno. */
static int send_batch(struct connection *to, enum send_way way, struct batch *batch)
{
	for (size_t at = 0; at < batch->length;) {
		size_t length = batch->length - at;
		ssize_t sent = send_some(to, way, batch->bytes + at, length, at ? 0 : PREFIX_SIZE);

		if (sent <= 0)
			return -1;
		to->tally->partial += way == PARTIAL && (size_t)sent < length;
		at += (size_t)sent;
	}
	return 0;
}

/*
 * One call that receives into the buffer: what WANT bytes are still missing of the prefix or the message, or whatever
 * there is. Returns as read does.
 */
static ssize_t receive_some(struct connection *from, enum receive_way way, size_t want)
{
	uint8_t *at = from->bytes + from->have;
	size_t room = sizeof(from->bytes) - from->have;
	struct iovec parts[] = { { at, 1 }, { at + 1, room - 1 } };
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	struct mmsghdr messages = { .msg_hdr = message };
	struct pollfd readable = { .fd = from->fd, .events = POLLIN };
	ssize_t seen;

	switch (way) {
	case READ:
	case RECEIVE_WAYS:
		/* A non-blocking socket and io_uring do not know SO_RCVTIMEO. */
		if (poll(&readable, 1, options.timeout_ms) != 1)
			break;
		return read(from->fd, at, room);
	case RECV:
		return recv(from->fd, at, room, 0);
	case RECVFROM:
		return recvfrom(from->fd, at, room, 0, NULL, NULL);
	case READV:
		return readv(from->fd, parts, 2);
	case RECVMSG:
		return recvmsg(from->fd, &message, 0);
	case RECVMMSG:
		return recvmmsg(from->fd, &messages, 1, 0, NULL) == 1 ? (ssize_t)messages.msg_len : -1;
	case PARTS:
		return read(from->fd, at, want);
	case READ_BYTES:
		return read(from->fd, at, 1);
	case PEEK:
		seen = recv(from->fd, at, want, MSG_PEEK);
		return seen > 0 ? read(from->fd, at, (size_t)seen) : seen;
	case WAITALL:
		return recv(from->fd, at, want, MSG_WAITALL);
	case RECEIVE_URING:
		if (poll(&readable, 1, options.timeout_ms) != 1)
			break;
		return ring_message(&from->ring, IORING_OP_RECVMSG, from->fd, &message);
	}
	errno = EAGAIN;
	return -1;
}

/* Receives until there is a whole message; returns its id, or -1 with errno. */
static int receive_message(struct connection *from, enum receive_way way)
{
	for (;;) {
		size_t whole = PREFIX_SIZE;
		ssize_t received;

		if (from->have >= PREFIX_SIZE)
			whole += (size_t)(from->bytes[0] << 8 | from->bytes[1]);
		if (whole >= PREFIX_SIZE + HEADER_SIZE && from->have >= whole) {
			const uint8_t *message = from->bytes + PREFIX_SIZE;
			int id = message[2] & 0x80 ? message[0] << 8 | message[1] : -1;

			from->have -= whole;
			memmove(from->bytes, from->bytes + whole, from->have);
			errno = EBADMSG;
			return id;
		}
		received = receive_some(from, way, whole - from->have);
		if (received <= 0) {
			if (!received)
				errno = ECONNRESET;
			return -1;
		}
		from->have += (size_t)received;
	}
}

/* Receives an answer and forgets its id among those waited for. Returns 0, or -1 when none comes any more. */
static int receive_answer(struct connection *from, enum receive_way way, int *waiting, size_t slots)
{
	int id = receive_message(from, way);

	if (id < 0) {
		note_error(from->tally);
		return -1;
	}
	for (size_t i = 0; i < slots; i++) {
		if (waiting[i] == id) {
			waiting[i] = -1;
			from->tally->received++;
			return 0;
		}
	}
	from->tally->unexpected++;
	return -1;
}

/* Asks COUNT questions on one connection by one way of sending, of receiving and one kind of socket. */
static void run_way(struct tally *tally, enum send_way send_way, enum receive_way receive_way, enum socket_kind kind)
{
	static struct connection connection;
	static struct batch batch;
	unsigned long size = send_way == PAIR ? 2 : 1;

	connection.tally = tally;
	if (open_connection(&connection, kind, send_way, receive_way)) {
		note_error(tally);
		goto done;
	}
	for (unsigned long n = 0; n < options.count;) {
		int waiting[] = { -1, -1 };
		unsigned long asked = 0;

		batch.length = 0;
		for (; asked < size && n < options.count; asked++, n++) {
			char name[256];

			snprintf(name, sizeof(name), "%s-%lu.%s.test.cluster.local", tally->way, n, options.tag);
			waiting[asked] = add_query(&batch, name, n % 2 ? TYPE_AAAA : TYPE_A, send_way == PARTIAL ? PADDING : 0);
		}
		if (send_batch(&connection, send_way, &batch)) {
			note_error(tally);
			goto done;
		}
		tally->sent += asked;
		while (asked--) {
			if (receive_answer(&connection, receive_way, waiting, 2))
				goto done;
		}
	}
done:
	close_connection(&connection);
}

/* Asks COUNT questions from number FIRST on, on one connection, a window of them at a time. */
static void run_bulk(struct tally *tally, unsigned long first, unsigned long count)
{
	static struct connection connection;
	static struct batch batch;
	static int waiting[WINDOW_MAX];
	unsigned long n = 0, outstanding = 0;

	connection.tally = tally;
	memset(waiting, -1, sizeof(waiting));
	if (open_connection(&connection, options.server ? V4 : V6, WRITE, READ)) {
		note_error(tally);
		goto done;
	}
	while (n < count || outstanding) {
		batch.length = 0;
		while (n < count && outstanding < options.window && batch.length < BUFFER_SIZE / 2) {
			char name[256];
			size_t slot = 0;

			snprintf(name, sizeof(name), "bulk-%lu.%s.test.cluster.local", first + n++, options.tag);
			while (waiting[slot] >= 0)
				slot++;
			waiting[slot] = add_query(&batch, name, TYPE_A, 0);
			outstanding++;
			tally->sent++;
		}
		if (send_batch(&connection, WRITE, &batch)) {
			note_error(tally);
			goto done;
		}
		if (receive_answer(&connection, READ, waiting, options.window))
			goto done;
		outstanding--;
	}
done:
	close_connection(&connection);
}

/* Runs every way; returns how many tallies were filled. */
static size_t run_ways(struct tally *tallies)
{
	size_t used = 0;

	for (int kind = 0; kind < SOCKET_KINDS; kind++) {
		if (!(kind == V6 ? options.server6 : options.server))
			continue;
		/* First the ways of sending, then those of receiving but the one that the former were received by. */
		for (int way = 0; way < SEND_WAYS + RECEIVE_WAYS - 1; way++) {
			int send = way < SEND_WAYS ? way : WRITE;
			int receive = way < SEND_WAYS ? READ : way - SEND_WAYS + 1;
			struct tally *tally = &tallies[used++];

			snprintf(tally->way, sizeof(tally->way), "%s-%s-%s", send_names[send], receive_names[receive],
				 kind_names[kind]);
			run_way(tally, send, receive, kind);
		}
	}
	return used;
}

static void print_tallies(const struct tally *tallies, size_t count)
{
	struct tally sum = { 0 };

	for (size_t i = 0; i < count; i++) {
		sum.sent += tallies[i].sent;
		sum.received += tallies[i].received;
		sum.unexpected += tallies[i].unexpected;
		sum.connections += tallies[i].connections;
		sum.partial += tallies[i].partial;
	}
	printf("{\"client\":\"stream\",\"pid\":%d,\"tag\":\"%s\",\"sent\":%lu,\"received\":%lu,\"unexpected\":%lu,"
	       "\"connections\":%lu,\"partial\":%lu,\"ways\":[",
	       (int)getpid(), options.tag, sum.sent, sum.received, sum.unexpected, sum.connections, sum.partial);
	for (size_t i = 0; i < count; i++) {
		const struct tally *way = &tallies[i];

		printf("%s{\"way\":\"%s\",\"sent\":%lu,\"received\":%lu,\"errors\":%lu,\"error\":", i ? "," : "", way->way, way->sent,
		       way->received, way->errors);
		if (way->error)
			printf("\"%s\"}", strerrorname_np(way->error));
		else
			printf("null}");
	}
	printf("]}\n");
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "server", required_argument, NULL, 's' }, { "server6", required_argument, NULL, '6' },
		{ "port", required_argument, NULL, 'p' },   { "tag", required_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'n' },  { "bulk", required_argument, NULL, 'b' },
		{ "window", required_argument, NULL, 'w' }, { "per-connection", required_argument, NULL, 'c' },
		{ "first-id", required_argument, NULL, 'i' }, { "timeout-ms", required_argument, NULL, 'T' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 's': options.server = optarg; break;
		case '6': options.server6 = optarg; break;
		case 'p': options.port = optarg; break;
		case 't': options.tag = optarg; break;
		case 'n': options.count = strtoul(optarg, NULL, 10); break;
		case 'b': options.bulk = strtoul(optarg, NULL, 10); break;
		case 'w': options.window = strtoul(optarg, NULL, 10); break;
		case 'c': options.per_connection = strtoul(optarg, NULL, 10); break;
		case 'i': options.next_id = (uint16_t)atoi(optarg); break;
		case 'T': options.timeout_ms = atoi(optarg); break;
		default: exit(2);
		}
	}
	if ((!options.server && !options.server6) || options.window < 1 || options.window > WINDOW_MAX) {
		fprintf(stderr, "stream: --server or --server6 is needed, and a --window of 1 to %d\n", WINDOW_MAX);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct tally tallies[WAYS_MAX];
	size_t used = 1;

	parse_options(argc, argv);
	if (options.bulk) {
		unsigned long most = options.per_connection ? options.per_connection : options.bulk;

		snprintf(tallies[0].way, sizeof(tallies[0].way), "bulk");
		for (unsigned long n = 0; n < options.bulk; n += most)
			run_bulk(&tallies[0], n, options.bulk - n < most ? options.bulk - n : most);
	} else {
		used = run_ways(tallies);
	}
	print_tallies(tallies, used);
	return 0;
}
