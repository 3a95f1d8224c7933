/*
 * Sends DNS queries over UDP by every way the kernel offers, and receives the answers by every way.
 *
 *   sockets --server 10.96.0.10 --server6 fd00:96::a --tag t1 --count 10
 *       for each way of sending, of receiving and each kind of socket: that many queries, alternating A and AAAA
 *   sockets --server 10.96.0.10 --tag t2 --bulk 1000 --window 8
 *       that many queries on one connected socket, at most 8 of them waiting for their answer
 *
 * The query names are SEND-RECEIVE-SOCKET-N.TAG.test.cluster.local. and bulk-N.TAG.test.cluster.local., so that each
 * message can be told from all others. --only SEND-RECEIVE-SOCKET picks one way; --source-port and --first-id make two
 * clients look alike on purpose. An answer that does not come within --timeout-ms is given up, never asked for again.
 *
 * Prints one JSON line:
 *   {"client":"sockets","pid":..,"tag":"..","sent":..,"received":..,"unexpected":..,
 *    "ways":[{"way":"sendto-recvfrom-v4","sent":..,"received":..,"errors":0,"error":null},..]}
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "io_uring.h"
#include "query.h"

#define MESSAGE_SIZE 4096
/* How many messages one sendmmsg or recvmmsg moves. */
#define BATCH 4
#define WINDOW_MAX 1024

enum send_way { SENDTO, SEND, SENDMSG, SENDMMSG, WRITE, SEND_URING, SEND_WAYS };
enum receive_way { RECVFROM, RECVMSG, RECVMMSG, READ, RECEIVE_URING, RECEIVE_WAYS };
enum socket_kind { V4, V6, MAPPED, SOCKET_KINDS };

static const char *const send_names[] = { "sendto", "send", "sendmsg", "sendmmsg", "write", "io_uring" };
static const char *const receive_names[] = { "recvfrom", "recvmsg", "recvmmsg", "read", "io_uring" };
static const char *const kind_names[] = { "v4", "v6", "mapped" };

static struct {
	const char *server, *server6, *tag, *only;
	uint16_t port, source_port, next_id;
	unsigned long count, bulk, window;
	int timeout_ms;
} options = { .tag = "x", .port = 53, .count = 4, .window = 1, .timeout_ms = 5000 };

struct tally {
	char way[40];
	unsigned long sent, received, unexpected, errors;
	/* The errno of the last failed call. */
	int error;
};

struct message {
	uint8_t bytes[MESSAGE_SIZE];
	size_t length;
};

struct endpoint {
	int fd;
	struct sockaddr_storage server;
	socklen_t server_length;
};

/* Writes a query for NAME, given in text without a final dot; returns its id. */
static uint16_t write_query(struct message *query, const char *name, uint16_t type)
{
	uint16_t id = options.next_id++;

	query->length = encode_query(query->bytes, id, name, type);
	return id;
}

/* The id of a DNS response, or -1 for anything else. */
static int response_id(const struct message *message)
{
	if (message->length < HEADER_SIZE || !(message->bytes[2] & 0x80))
		return -1;
	return message->bytes[0] << 8 | message->bytes[1];
}

static int address(struct endpoint *endpoint, enum socket_kind kind)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&endpoint->server;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&endpoint->server;
	const char *text = kind == V6 ? options.server6 : options.server;
	char mapped[INET6_ADDRSTRLEN + 8];

	memset(&endpoint->server, 0, sizeof(endpoint->server));
	if (kind == V4) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(options.port);
		endpoint->server_length = sizeof(*v4);
		return inet_pton(AF_INET, text, &v4->sin_addr) == 1 ? 0 : -1;
	}
	if (kind == MAPPED) {
		snprintf(mapped, sizeof(mapped), "::ffff:%s", text);
		text = mapped;
	}
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(options.port);
	endpoint->server_length = sizeof(*v6);
	return inet_pton(AF_INET6, text, &v6->sin6_addr) == 1 ? 0 : -1;
}

static int bind_source_port(int fd, enum socket_kind kind)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(options.source_port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(options.source_port) };

	return kind == V4 ? bind(fd, (struct sockaddr *)&v4, sizeof(v4)) : bind(fd, (struct sockaddr *)&v6, sizeof(v6));
}

/* Returns 0, or -1 with errno. */
static int open_endpoint(struct endpoint *endpoint, enum socket_kind kind, bool connected)
{
	struct timeval timeout = { options.timeout_ms / 1000, options.timeout_ms % 1000 * 1000 };

	if (address(endpoint, kind)) {
		errno = EINVAL;
		return -1;
	}
	endpoint->fd = socket(kind == V4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
	if (endpoint->fd < 0 || setsockopt(endpoint->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)))
		return -1;
	if (options.source_port && bind_source_port(endpoint->fd, kind))
		return -1;
	if (connected)
		return connect(endpoint->fd, (struct sockaddr *)&endpoint->server, endpoint->server_length);
	return 0;
}

/* Sends COUNT messages; returns how many left, or -1 with errno when none did. */
static int send_messages(struct endpoint *to, struct ring *ring, enum send_way way, struct message *messages, int count)
{
	struct mmsghdr headers[BATCH] = { 0 };
	struct iovec parts[BATCH];
	struct sockaddr *server = (struct sockaddr *)&to->server;
	ssize_t sent = -1;

	for (int i = 0; i < count; i++) {
		parts[i] = (struct iovec){ messages[i].bytes, messages[i].length };
		headers[i].msg_hdr = (struct msghdr){
			.msg_name = server, .msg_namelen = to->server_length, .msg_iov = &parts[i], .msg_iovlen = 1
		};
	}
	switch (way) {
	case SENDMMSG:
		return sendmmsg(to->fd, headers, (unsigned)count, 0);
	case SENDTO:
		sent = sendto(to->fd, messages->bytes, messages->length, 0, server, to->server_length);
		break;
	case SEND:
		sent = send(to->fd, messages->bytes, messages->length, 0);
		break;
	case SENDMSG:
		sent = sendmsg(to->fd, &headers[0].msg_hdr, 0);
		break;
	case WRITE:
		sent = write(to->fd, messages->bytes, messages->length);
		break;
	case SEND_URING:
		sent = ring_message(ring, IORING_OP_SENDMSG, to->fd, &headers[0].msg_hdr);
		break;
	case SEND_WAYS:
		break;
	}
	return sent < 0 ? -1 : 1;
}

/* Receives at least one and at most COUNT messages; returns how many, or -1 with errno. */
static int receive_messages(struct endpoint *from, struct ring *ring, enum receive_way way, struct message *messages,
			    int count)
{
	struct mmsghdr headers[BATCH] = { 0 };
	struct iovec parts[BATCH];
	struct sockaddr_storage names[BATCH];
	struct pollfd readable = { .fd = from->fd, .events = POLLIN };
	socklen_t name_length = sizeof(names[0]);
	ssize_t received = -1;

	for (int i = 0; i < count; i++) {
		parts[i] = (struct iovec){ messages[i].bytes, sizeof(messages[i].bytes) };
		headers[i].msg_hdr = (struct msghdr){
			.msg_name = &names[i], .msg_namelen = sizeof(names[i]), .msg_iov = &parts[i], .msg_iovlen = 1
		};
	}
	switch (way) {
	case RECVMMSG:
		received = recvmmsg(from->fd, headers, (unsigned)count, MSG_WAITFORONE, NULL);
		for (int i = 0; i < received; i++)
			messages[i].length = headers[i].msg_len;
		return (int)received;
	case RECVFROM:
		received = recvfrom(from->fd, messages->bytes, sizeof(messages->bytes), 0, (struct sockaddr *)&names[0],
				    &name_length);
		break;
	case RECVMSG:
		received = recvmsg(from->fd, &headers[0].msg_hdr, 0);
		break;
	case READ:
		received = read(from->fd, messages->bytes, sizeof(messages->bytes));
		break;
	case RECEIVE_URING:
		/* io_uring does not know SO_RCVTIMEO. */
		if (poll(&readable, 1, options.timeout_ms) == 1)
			received = ring_message(ring, IORING_OP_RECVMSG, from->fd, &headers[0].msg_hdr);
		else
			errno = EAGAIN;
		break;
	case RECEIVE_WAYS:
		break;
	}
	if (received < 0)
		return -1;
	messages->length = (size_t)received;
	return 1;
}

/* Counts a received message if it answers one of the ids still waited for, and forgets that id. */
static bool take_answer(struct tally *tally, const struct message *message, int *waiting, size_t slots)
{
	int id = response_id(message);

	for (size_t i = 0; id >= 0 && i < slots; i++) {
		if (waiting[i] == id) {
			waiting[i] = -1;
			tally->received++;
			return true;
		}
	}
	tally->unexpected++;
	return false;
}

static void note_error(struct tally *tally)
{
	/* A timeout of the receive call is a missing answer, not an error. */
	if (errno == EAGAIN)
		return;
	tally->errors++;
	tally->error = errno;
}

/* Sends a batch of messages; forgets the ids of those that could not leave. */
static void send_batch(struct tally *tally, struct endpoint *endpoint, struct ring *ring, enum send_way way,
		       struct message *messages, int *waiting, int count)
{
	for (int at = 0; at < count;) {
		int sent = send_messages(endpoint, ring, way, &messages[at], way == SENDMMSG ? count - at : 1);

		if (sent < 0) {
			note_error(tally);
			waiting[at++] = -1;
		} else {
			tally->sent += (unsigned long)sent;
			at += sent;
		}
	}
}

/* Receives until every id has its answer or none comes any more. */
static void receive_batch(struct tally *tally, struct endpoint *endpoint, struct ring *ring, enum receive_way way,
			  struct message *messages, int *waiting)
{
	int missing = 0;

	for (int i = 0; i < BATCH; i++)
		missing += waiting[i] >= 0;
	while (missing > 0) {
		int received = receive_messages(endpoint, ring, way, messages, missing);

		if (received < 0) {
			note_error(tally);
			return;
		}
		for (int i = 0; i < received; i++)
			missing -= take_answer(tally, &messages[i], waiting, BATCH);
	}
}

/* Asks COUNT questions by one way of sending, of receiving and one kind of socket. */
static void run_way(struct tally *tally, enum send_way send_way, enum receive_way receive_way, enum socket_kind kind)
{
	static struct message messages[BATCH];
	struct endpoint endpoint = { .fd = -1 };
	struct ring ring = { .fd = -1 };
	bool uring = send_way == SEND_URING || receive_way == RECEIVE_URING;
	int size = send_way == SENDMMSG || receive_way == RECVMMSG ? BATCH : 1;

	if ((uring && ring_open(&ring)) || open_endpoint(&endpoint, kind, send_way == SEND || send_way == WRITE)) {
		note_error(tally);
		goto done;
	}
	for (unsigned long n = 0; n < options.count;) {
		int waiting[BATCH] = { -1, -1, -1, -1 };
		int batch = 0;

		for (; batch < size && n < options.count; batch++, n++) {
			char name[256];

			snprintf(name, sizeof(name), "%s-%lu.%s.test.cluster.local", tally->way, n, options.tag);
			waiting[batch] = write_query(&messages[batch], name, n % 2 ? TYPE_AAAA : TYPE_A);
		}
		send_batch(tally, &endpoint, &ring, send_way, messages, waiting, batch);
		receive_batch(tally, &endpoint, &ring, receive_way, messages, waiting);
	}
done:
	if (endpoint.fd >= 0)
		close(endpoint.fd);
	if (ring.fd >= 0)
		close(ring.fd);
}

/* Asks questions on one connected socket, a window of them at a time. */
static void run_bulk(struct tally *tally)
{
	static struct message message;
	static int waiting[WINDOW_MAX];
	struct endpoint endpoint = { .fd = -1 };
	unsigned long n = 0, outstanding = 0;

	if (open_endpoint(&endpoint, options.server ? V4 : V6, true)) {
		note_error(tally);
		return;
	}
	memset(waiting, -1, sizeof(waiting));
	while (n < options.bulk || outstanding) {
		while (n < options.bulk && outstanding < options.window) {
			char name[256];
			size_t slot = 0;
			uint16_t id;

			snprintf(name, sizeof(name), "bulk-%lu.%s.test.cluster.local", n++, options.tag);
			id = write_query(&message, name, TYPE_A);
			if (send(endpoint.fd, message.bytes, message.length, 0) < 0) {
				note_error(tally);
				continue;
			}
			tally->sent++;
			outstanding++;
			while (waiting[slot] >= 0)
				slot++;
			waiting[slot] = id;
		}
		if (!outstanding)
			continue;
		if (receive_messages(&endpoint, NULL, RECVFROM, &message, 1) < 0) {
			note_error(tally);
			/* None of those waited for will come any more. */
			memset(waiting, -1, sizeof(waiting));
			outstanding = 0;
		} else if (take_answer(tally, &message, waiting, options.window)) {
			outstanding--;
		}
	}
	close(endpoint.fd);
}

/* Runs every way that was asked for; returns how many tallies were filled. */
static size_t run_ways(struct tally *tallies)
{
	size_t used = 0;

	for (int kind = 0; kind < SOCKET_KINDS; kind++) {
		if (!(kind == V6 ? options.server6 : options.server))
			continue;
		for (int send = 0; send < SEND_WAYS; send++) {
			for (int receive = 0; receive < RECEIVE_WAYS; receive++) {
				struct tally *tally = &tallies[used];

				snprintf(tally->way, sizeof(tally->way), "%s-%s-%s", send_names[send], receive_names[receive],
					 kind_names[kind]);
				if (options.only && strcmp(options.only, tally->way))
					continue;
				run_way(tally, send, receive, kind);
				used++;
			}
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
	}
	printf("{\"client\":\"sockets\",\"pid\":%d,\"tag\":\"%s\",\"sent\":%lu,\"received\":%lu,\"unexpected\":%lu,\"ways\":[",
	       (int)getpid(), options.tag, sum.sent, sum.received, sum.unexpected);
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
		{ "server", required_argument, NULL, 's' },	 { "server6", required_argument, NULL, '6' },
		{ "port", required_argument, NULL, 'p' },	 { "tag", required_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'n' },	 { "only", required_argument, NULL, 'o' },
		{ "bulk", required_argument, NULL, 'b' },	 { "window", required_argument, NULL, 'w' },
		{ "source-port", required_argument, NULL, 'f' }, { "first-id", required_argument, NULL, 'i' },
		{ "timeout-ms", required_argument, NULL, 'T' },	 { 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 's': options.server = optarg; break;
		case '6': options.server6 = optarg; break;
		case 't': options.tag = optarg; break;
		case 'o': options.only = optarg; break;
		case 'p': options.port = (uint16_t)atoi(optarg); break;
		case 'f': options.source_port = (uint16_t)atoi(optarg); break;
		case 'i': options.next_id = (uint16_t)atoi(optarg); break;
		case 'n': options.count = strtoul(optarg, NULL, 10); break;
		case 'b': options.bulk = strtoul(optarg, NULL, 10); break;
		case 'w': options.window = strtoul(optarg, NULL, 10); break;
		case 'T': options.timeout_ms = atoi(optarg); break;
		default: exit(2);
		}
	}
	if ((!options.server && !options.server6) || options.window < 1 || options.window > WINDOW_MAX) {
		fprintf(stderr, "sockets: --server or --server6 is needed, and a --window of 1 to %d\n", WINDOW_MAX);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	static struct tally tallies[SEND_WAYS * RECEIVE_WAYS * SOCKET_KINDS];
	size_t used = 1;

	parse_options(argc, argv);
	if (options.bulk) {
		snprintf(tallies[0].way, sizeof(tallies[0].way), "bulk");
		run_bulk(&tallies[0]);
	} else {
		used = run_ways(tallies);
	}
	print_tallies(tallies, used);
	return 0;
}
