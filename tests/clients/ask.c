/*
 * Asks DNS questions from one UDP socket, all of them in one sendmmsg, as glibc sends A and AAAA; and says of each what
 * the system calls said.
 *
 *   ask [OPTION]... NAME/TYPE@SERVER...        TYPE is A, AAAA or a number; SERVER an IPv4 address
 *
 *   --port N           the servers' port (53)
 *   --source-port N    bind to this port first
 *   --first-id N       the id of the first question, the others count on from it (1)
 *   --copies N         ask each question N times: as 0-NAME, 1-NAME and so on
 *   --connect          connect to the first question's server, and send without an address
 *   --tries N          send what has no answer again on the same socket, N times in all (1)
 *   --timeout-ms N     wait so long for answers after each sending (1000)
 *   --receive-buffer N set SO_RCVBUF
 *   --linger-ms N      read only so long after the first answer has arrived
 *   --unread           close the socket without reading, as soon as an answer has arrived
 *   --until-told       after the first sending, wait until standard input ends before the time-out begins
 *
 * Prints one JSON line, with an errno's name or null for each sending and for each failed receiving:
 *   {"client":"ask","pid":..,"port":..,"questions":[{"name":"..","type":1,"id":1,"sends":[null,"EPERM"],"rcode":0}],
 *    "receive_errors":["ECONNREFUSED"],"strangers":0}
 * `rcode` is null without an answer; `strangers` counts datagrams that answer nothing or come from another address.
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
#include <time.h>
#include <unistd.h>

#include "query.h"

#define MESSAGE_SIZE 512
#define NAME_SIZE 256
#define QUESTIONS_MAX 256
#define TRIES_MAX 8
#define ERRORS_MAX 64

static struct {
	uint16_t port, source_port, first_id;
	int copies, tries, timeout_ms, receive_buffer, linger_ms;
	bool connect, unread, until_told;
} options = { .port = 53, .first_id = 1, .copies = 1, .tries = 1, .timeout_ms = 1000 };

struct question {
	char name[NAME_SIZE];
	uint16_t type, id;
	struct sockaddr_in server;
	uint8_t bytes[MESSAGE_SIZE];
	size_t length;
	/* An errno for each sending; 0 is success. */
	int sends[TRIES_MAX];
	/* -1 while there is no answer. */
	int rcode;
};

static struct question questions[QUESTIONS_MAX];
static int question_count;
static int receive_errors[ERRORS_MAX];
static int receive_error_count, strangers;

static void die(const char *what)
{
	fprintf(stderr, "ask: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads NAME/TYPE@SERVER into as many questions as there are copies. Returns 0, or -1 if it is none. */
static int add_questions(const char *text)
{
	char name[NAME_SIZE - 16], type[16], server[INET_ADDRSTRLEN];

	if (sscanf(text, "%239[^/]/%15[^@]@%15s", name, type, server) != 3)
		return -1;
	for (int copy = 0; copy < options.copies; copy++) {
		struct question *question = &questions[question_count];

		if (question_count == QUESTIONS_MAX)
			return -1;
		if (options.copies > 1)
			snprintf(question->name, sizeof(question->name), "%d-%s", copy, name);
		else
			snprintf(question->name, sizeof(question->name), "%s", name);
		question->type = !strcmp(type, "A") ? 1 : !strcmp(type, "AAAA") ? 28 : (uint16_t)atoi(type);
		question->id = (uint16_t)(options.first_id + question_count);
		question->rcode = -1;
		question->server.sin_family = AF_INET;
		question->server.sin_port = htons(options.port);
		if (inet_pton(AF_INET, server, &question->server.sin_addr) != 1)
			return -1;
		question->length = encode_query(question->bytes, question->id, question->name, question->type);
		question_count++;
	}
	return 0;
}

static int open_socket(void)
{
	struct sockaddr_in own = { .sin_family = AF_INET, .sin_port = htons(options.source_port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		die("socket");
	if (options.receive_buffer &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &options.receive_buffer, sizeof(options.receive_buffer)))
		die("SO_RCVBUF");
	if (bind(fd, (struct sockaddr *)&own, sizeof(own)))
		die("bind");
	if (options.connect && connect(fd, (struct sockaddr *)&questions[0].server, sizeof(questions[0].server)))
		die("connect");
	return fd;
}

/* Sends all that has no answer. A message that fails does not keep the next ones from being sent. */
static void send_all(int fd, int try)
{
	static struct mmsghdr headers[QUESTIONS_MAX];
	static struct iovec parts[QUESTIONS_MAX];
	struct question *waiting[QUESTIONS_MAX];
	int count = 0;

	for (int i = 0; i < question_count; i++) {
		struct question *question = &questions[i];

		if (question->rcode >= 0)
			continue;
		parts[count] = (struct iovec){ question->bytes, question->length };
		headers[count].msg_hdr = (struct msghdr){ .msg_iov = &parts[count], .msg_iovlen = 1 };
		if (!options.connect) {
			headers[count].msg_hdr.msg_name = &question->server;
			headers[count].msg_hdr.msg_namelen = sizeof(question->server);
		}
		waiting[count++] = question;
	}
	for (int at = 0; at < count;) {
		int sent = sendmmsg(fd, &headers[at], (unsigned)(count - at), 0);

		if (sent < 0)
			waiting[at++]->sends[try] = errno;
		else
			at += sent;
	}
}

/* Takes one datagram, or the socket's error. */
static void receive(int fd)
{
	uint8_t bytes[MESSAGE_SIZE];
	struct sockaddr_in from;
	socklen_t from_length = sizeof(from);
	ssize_t length = recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&from, &from_length);

	if (length < 0) {
		if (errno != EAGAIN && receive_error_count < ERRORS_MAX)
			receive_errors[receive_error_count++] = errno;
		return;
	}
	for (int i = 0; i < question_count; i++) {
		struct question *question = &questions[i];

		if (length >= HEADER_SIZE && bytes[2] & 0x80 && bytes[0] << 8 == (question->id & 0xff00) &&
		    bytes[1] == (question->id & 0xff) && question->rcode < 0 &&
		    from.sin_addr.s_addr == question->server.sin_addr.s_addr) {
			question->rcode = bytes[3] & 0xf;
			return;
		}
	}
	strangers++;
}

static bool all_answered(void)
{
	for (int i = 0; i < question_count; i++) {
		if (questions[i].rcode < 0)
			return false;
	}
	return true;
}

/* Waits for answers until there are all, or for the time-out; errors of the socket do not end the wait. */
static void receive_all(int fd)
{
	int64_t end = now_ms() + options.timeout_ms;
	struct pollfd readable = { .fd = fd, .events = POLLIN };

	while (!all_answered()) {
		int64_t left = end - now_ms();

		if (left <= 0 || poll(&readable, 1, (int)left) <= 0)
			return;
		if (options.unread)
			return;
		if (options.linger_ms) {
			usleep((useconds_t)options.linger_ms * 1000);
			options.linger_ms = 0;
		}
		receive(fd);
	}
}

/* Whoever holds the packets needs its own time until they can be answered. */
static void wait_until_told(void)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

static const char *quoted(int error)
{
	static char text[32];

	if (!error)
		return "null";
	snprintf(text, sizeof(text), "\"%s\"", strerrorname_np(error));
	return text;
}

static void print_result(int fd, int tries)
{
	struct sockaddr_in own = { 0 };
	socklen_t own_length = sizeof(own);

	getsockname(fd, (struct sockaddr *)&own, &own_length);
	printf("{\"client\":\"ask\",\"pid\":%d,\"port\":%d,\"questions\":[", (int)getpid(), ntohs(own.sin_port));
	for (int i = 0; i < question_count; i++) {
		const struct question *question = &questions[i];

		printf("%s{\"name\":\"%s\",\"type\":%d,\"id\":%d,\"sends\":[", i ? "," : "", question->name, question->type,
		       question->id);
		for (int try = 0; try < tries; try++)
			printf("%s%s", try ? "," : "", quoted(question->sends[try]));
		printf("],\"rcode\":");
		if (question->rcode < 0)
			printf("null}");
		else
			printf("%d}", question->rcode);
	}
	printf("],\"receive_errors\":[");
	for (int i = 0; i < receive_error_count; i++)
		printf("%s%s", i ? "," : "", quoted(receive_errors[i]));
	printf("],\"strangers\":%d}\n", strangers);
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "port", required_argument, NULL, 'p' },	{ "source-port", required_argument, NULL, 'f' },
		{ "first-id", required_argument, NULL, 'i' },	{ "copies", required_argument, NULL, 'n' },
		{ "connect", no_argument, NULL, 'c' },		{ "tries", required_argument, NULL, 't' },
		{ "timeout-ms", required_argument, NULL, 'T' }, { "receive-buffer", required_argument, NULL, 'b' },
		{ "linger-ms", required_argument, NULL, 'l' },	{ "unread", no_argument, NULL, 'u' },
		{ "until-told", no_argument, NULL, 'w' },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'p': options.port = (uint16_t)atoi(optarg); break;
		case 'f': options.source_port = (uint16_t)atoi(optarg); break;
		case 'i': options.first_id = (uint16_t)atoi(optarg); break;
		case 'n': options.copies = atoi(optarg); break;
		case 'c': options.connect = true; break;
		case 't': options.tries = atoi(optarg); break;
		case 'T': options.timeout_ms = atoi(optarg); break;
		case 'b': options.receive_buffer = atoi(optarg); break;
		case 'l': options.linger_ms = atoi(optarg); break;
		case 'u': options.unread = true; break;
		case 'w': options.until_told = true; break;
		default: exit(2);
		}
	}
	for (; optind < argc; optind++) {
		if (add_questions(argv[optind])) {
			fprintf(stderr, "ask: not NAME/TYPE@SERVER, or too many: %s\n", argv[optind]);
			exit(2);
		}
	}
	if (!question_count || options.tries < 1 || options.tries > TRIES_MAX) {
		fprintf(stderr, "ask: at least one question is needed, and 1 to %d tries\n", TRIES_MAX);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	int fd, tries = 0;

	parse_options(argc, argv);
	fd = open_socket();
	do {
		send_all(fd, tries++);
		if (options.until_told && tries == 1)
			wait_until_told();
		receive_all(fd);
	} while (tries < options.tries && !all_answered() && !options.unread);
	print_result(fd, tries);
	close(fd);
	return 0;
}
