/*
 * One TCP connection to a DNS server, step by step as told; and what the system calls said of each step.
 *
 *   talk [OPTION]... SERVER STEP...
 *
 *   --port N           the server's port (53)
 *   --source-port N    bind to this port first
 *   --first-id N       the id of the first query, the others count on from it (1)
 *   --timeout-ms N     wait so long for a connection, and for each message (5000)
 *
 *   connect            opens a connection
 *   send:NAME/TYPE     sends a query; TYPE is A, AAAA or a number
 *   half:NAME/TYPE     sends the first half of a query; `rest` sends the other
 *   answers:N          receives so many messages
 *   drain              receives messages until the connection ends
 *   linger             waits until the peer has ended the connection, and reads nothing
 *   text:TEXT          sends this text with CR and LF behind it
 *   more:N             sends N bytes that are no DNS
 *   until-end          receives bytes, whatever they are, until the connection ends
 *   wait               prints `ready` and waits for a line on standard input
 *   sleep:MS
 *   shutdown           ends its own direction
 *   close
 *   reset              closes with SO_LINGER 0
 *
 * A step that fails ends the talk; what is open is closed at its end.
 *
 * Prints one JSON line, with an errno's name or null for each step that was tried:
 *   {"client":"talk","pid":..,"port":..,"queries":..,"answers":[{"id":1,"rcode":0}],"bytes":..,
 *    "steps":[{"step":"connect","error":"ECONNREFUSED"}]}
 * `bytes` counts all that was received; `ENODATA` stands for an end of the connection where a message was due.
 */
#define _GNU_SOURCE
#include <errno.h>
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
#include <unistd.h>

#include "query.h"

#define PREFIX_SIZE 2
#define MESSAGE_SIZE 65536
#define NAME_SIZE 240
#define STEPS_MAX 128
#define ANSWERS_MAX 1024

static struct {
	const char *port;
	uint16_t source_port, next_id;
	int timeout_ms;
} options = { .port = "53", .next_id = 1, .timeout_ms = 5000 };

static struct addrinfo *server;
static int fd = -1;
static uint16_t own_port;
static unsigned long queries, received_bytes;

/* The query that was begun, and how much of it has been sent. */
static uint8_t query[PREFIX_SIZE + 512];
static size_t query_length, query_sent;

static struct {
	uint16_t id;
	int rcode;
} answers[ANSWERS_MAX];
static int answer_count;

static struct {
	const char *step;
	int error;
} steps[STEPS_MAX];
static int step_count;

static int fail(int error)
{
	errno = error;
	return -1;
}

static int open_connection(void)
{
	struct timeval timeout = { options.timeout_ms / 1000, options.timeout_ms % 1000 * 1000 };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(options.source_port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(options.source_port) };
	struct sockaddr_storage own = { 0 };
	socklen_t own_length = sizeof(own);
	bool is_v4 = server->ai_family == AF_INET;
	int one = 1;

	fd = socket(server->ai_family, SOCK_STREAM, 0);
	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		return -1;
	if (options.source_port &&
	    bind(fd, is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, is_v4 ? sizeof(v4) : sizeof(v6)))
		return -1;
	if (connect(fd, server->ai_addr, server->ai_addrlen))
		return -1;
	getsockname(fd, (struct sockaddr *)&own, &own_length);
	own_port = ntohs(is_v4 ? ((struct sockaddr_in *)&own)->sin_port : ((struct sockaddr_in6 *)&own)->sin6_port);
	return 0;
}

static int close_connection(bool reset)
{
	struct linger none = { .l_onoff = 1, .l_linger = 0 };
	int result;

	if (reset && setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)))
		return -1;
	result = close(fd);
	fd = -1;
	return result;
}

static int send_bytes(const void *bytes, size_t length)
{
	ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);

	if (sent < 0)
		return -1;
	return (size_t)sent == length ? 0 : fail(EMSGSIZE);
}

/* Makes the query that NAME/TYPE says. */
static int begin_query(const char *text)
{
	char name[NAME_SIZE], type[16];

	if (sscanf(text, "%239[^/]/%15s", name, type) != 2)
		return fail(EINVAL);
	query_length = encode_query(query + PREFIX_SIZE, options.next_id++, name,
				    !strcmp(type, "A") ? 1 : !strcmp(type, "AAAA") ? 28 : (uint16_t)atoi(type));
	query[0] = (uint8_t)(query_length >> 8);
	query[1] = (uint8_t)query_length;
	query_length += PREFIX_SIZE;
	query_sent = 0;
	return 0;
}

/* Sends the query up to this byte. */
static int send_query(size_t end)
{
	size_t from = query_sent;

	query_sent = end;
	queries += end == query_length;
	return send_bytes(query + from, end - from);
}

static int send_junk(const char *count)
{
	static uint8_t junk[MESSAGE_SIZE];
	size_t length = strtoul(count, NULL, 10);

	/* Each byte is its place: the kernel and whoever looks on can tell which they are. */
	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)i;
	return send_bytes(junk, length < sizeof(junk) ? length : sizeof(junk));
}

static int receive_exactly(uint8_t *bytes, size_t length)
{
	ssize_t received = recv(fd, bytes, length, MSG_WAITALL);

	if (received < 0)
		return -1;
	received_bytes += (unsigned long)received;
	return (size_t)received == length ? 0 : fail(ENODATA);
}

static int receive_message(void)
{
	static uint8_t message[MESSAGE_SIZE];
	uint8_t prefix[PREFIX_SIZE];
	size_t length;

	if (receive_exactly(prefix, sizeof(prefix)))
		return -1;
	length = (size_t)(prefix[0] << 8 | prefix[1]);
	if (receive_exactly(message, length))
		return -1;
	if (length < HEADER_SIZE || !(message[2] & 0x80) || answer_count == ANSWERS_MAX)
		return fail(EBADMSG);
	answers[answer_count].id = (uint16_t)(message[0] << 8 | message[1]);
	answers[answer_count++].rcode = message[3] & 0xf;
	return 0;
}

static int receive_messages(int count)
{
	while (count--) {
		if (receive_message())
			return -1;
	}
	return 0;
}

static int receive_all_messages(void)
{
	while (!receive_message())
		;
	return errno == ENODATA ? 0 : -1;
}

static int receive_to_end(void)
{
	static uint8_t bytes[MESSAGE_SIZE];
	ssize_t received;

	while ((received = recv(fd, bytes, sizeof(bytes), 0)) > 0)
		received_bytes += (unsigned long)received;
	return received < 0 ? -1 : 0;
}

/* Until a FIN or a RST has come. */
static int linger(void)
{
	struct pollfd ended = { .fd = fd, .events = POLLRDHUP };

	return poll(&ended, 1, options.timeout_ms) == 1 ? 0 : fail(EAGAIN);
}

static int wait_for_line(void)
{
	char line[16];

	printf("ready\n");
	fflush(stdout);
	return fgets(line, sizeof(line), stdin) ? 0 : fail(EPIPE);
}

/* Does one step. Returns 0, or -1 with errno. */
static int do_step(const char *step)
{
	const char *colon = strchr(step, ':');
	const char *argument = colon ? colon + 1 : "";
	size_t length = colon ? (size_t)(colon - step) : strlen(step);
	char line[256];

#define IS(name) (strlen(name) == length && !strncmp(step, name, length))
	if (IS("connect"))
		return open_connection();
	if (IS("send"))
		return begin_query(argument) ? -1 : send_query(query_length);
	if (IS("half"))
		return begin_query(argument) ? -1 : send_query(query_length / 2);
	if (IS("rest"))
		return send_query(query_length);
	if (IS("answers"))
		return receive_messages(atoi(argument));
	if (IS("drain"))
		return receive_all_messages();
	if (IS("linger"))
		return linger();
	if (IS("text")) {
		snprintf(line, sizeof(line), "%s\r\n", argument);
		return send_bytes(line, strlen(line));
	}
	if (IS("more"))
		return send_junk(argument);
	if (IS("until-end"))
		return receive_to_end();
	if (IS("wait"))
		return wait_for_line();
	if (IS("sleep"))
		return usleep((useconds_t)atoi(argument) * 1000);
	if (IS("shutdown"))
		return shutdown(fd, SHUT_WR);
	if (IS("close"))
		return close_connection(false);
	if (IS("reset"))
		return close_connection(true);
#undef IS
	return fail(ENOSYS);
}

static void print_result(void)
{
	printf("{\"client\":\"talk\",\"pid\":%d,\"port\":%d,\"queries\":%lu,\"answers\":[", (int)getpid(), own_port, queries);
	for (int i = 0; i < answer_count; i++)
		printf("%s{\"id\":%d,\"rcode\":%d}", i ? "," : "", answers[i].id, answers[i].rcode);
	printf("],\"bytes\":%lu,\"steps\":[", received_bytes);
	for (int i = 0; i < step_count; i++) {
		printf("%s{\"step\":\"%s\",\"error\":", i ? "," : "", steps[i].step);
		if (steps[i].error)
			printf("\"%s\"}", strerrorname_np(steps[i].error));
		else
			printf("null}");
	}
	printf("]}\n");
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "source-port", required_argument, NULL, 'f' },
		{ "first-id", required_argument, NULL, 'i' },
		{ "timeout-ms", required_argument, NULL, 'T' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'p': options.port = optarg; break;
		case 'f': options.source_port = (uint16_t)atoi(optarg); break;
		case 'i': options.next_id = (uint16_t)atoi(optarg); break;
		case 'T': options.timeout_ms = atoi(optarg); break;
		default: exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };

	parse_options(argc, argv);
	if (argc - optind < 2 || argc - optind > STEPS_MAX || getaddrinfo(argv[optind], options.port, &hints, &server)) {
		fprintf(stderr, "talk: an address is needed, and 1 to %d steps\n", STEPS_MAX);
		return 2;
	}
	for (int i = optind + 1; i < argc; i++) {
		int error = do_step(argv[i]) ? errno : 0;

		steps[step_count].step = argv[i];
		steps[step_count++].error = error;
		if (error)
			break;
	}
	if (fd >= 0)
		close(fd);
	print_result();
	freeaddrinfo(server);
	return 0;
}
