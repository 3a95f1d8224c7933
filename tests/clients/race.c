/*
 * Sends several queries of one socket at the same moment from several CPUs: no packet finds another one of its flow in
 * the connection tracking table, so all are new and meet when they are inserted. With two at a time this is what
 * glibc's getaddrinfo does (A and AAAA of a name from one socket) where its two packets end up on two CPUs.
 *
 *   race --server 10.96.0.10 --tag t1 --seconds 10
 *       an A and an AAAA query of a fresh name from a fresh socket, again and again
 *   race --server 10.96.0.10 --tag t1 --seconds 10 --direct 10.244.1.7
 *       from every second socket the AAAA query goes to that endpoint of the Service itself: should the A query be
 *       translated to it too, both flows want the same answers, and the later one's insertion fails
 *   race --server 10.96.0.10 --tag t1 --seconds 10 --at-once 4
 *       four queries of one socket at once: A and AAAA of two names
 *
 * There is a thread for each of the queries that leave at once. A round opens --sockets sockets; the threads, bound to
 * the CPUs in turn, walk along them and wait for each other before each; then the round's answers are read until all
 * are there or none has come for --timeout-ms. What is unanswered then is given up and never asked for again.
 *
 * The query names are race-N.TAG.test.cluster.local., N counted over all names. Prints one JSON line:
 *   {"client":"race","pid":..,"tag":"..","sockets":..,"sent":..,"errors":..,"received":..,"unexpected":..}
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "query.h"

#define SOCKETS_MAX 256
#define AT_ONCE_MAX 128
#define QUERY_SIZE 256
#define ANSWER_SIZE 1024
/* A thread that waits longer than this lets others have the CPU: the one it waits for may need it. */
#define SPINS 2000

static struct {
	const char *tag;
	struct sockaddr_in server, direct;
	unsigned long seconds, sockets, at_once;
	int timeout_ms;
} options = { .tag = "x", .server = { .sin_family = AF_INET }, .direct = { .sin_family = AF_INET }, .seconds = 5,
	      .sockets = 32, .at_once = 2, .timeout_ms = 500 };

struct query {
	uint8_t bytes[QUERY_SIZE];
	size_t length;
	bool waited_for;
};

/* One round. Only the first thread writes it, and only while the others wait for the next one. */
static struct {
	int fds[SOCKETS_MAX];
	struct query queries[SOCKETS_MAX][AT_ONCE_MAX];
	bool is_last;
} round_;

static pthread_barrier_t round_starts, round_ends;
/* Arrivals at the sockets of a round, of all threads together. */
static atomic_ulong arrivals;
static atomic_ulong sent, errors;
static unsigned long opened, received, unexpected, names;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Writes the query of this place among those that leave at once. Its id is that place, so that it tells them apart. */
static void write_query(struct query *query, unsigned long name, unsigned long place)
{
	uint16_t type = place % 2 ? TYPE_AAAA : TYPE_A;
	uint16_t id = (uint16_t)((name >> 1 & 0xff) << 8 | (place & 0xff));
	char text[QUERY_SIZE / 2];

	snprintf(text, sizeof(text), "race-%lu.%s.test.cluster.local", name, options.tag);
	query->length = encode_query(query->bytes, id, text, type);
	query->waited_for = false;
}

static void open_round(void)
{
	/* Two threads that send from a socket without a port race in the kernel, too: one leaves from port 0. */
	struct sockaddr_in any = { .sin_family = AF_INET };

	for (unsigned long s = 0; s < options.sockets; s++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

		if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)))
			die("socket");
		round_.fds[s] = fd;
		for (unsigned long place = 0; place < options.at_once; place++)
			write_query(&round_.queries[s][place], names + place / 2, place);
		names += (options.at_once + 1) / 2;
		opened++;
	}
	atomic_store(&arrivals, 0);
}

/* Waits until all threads have come to this socket of the round. */
static void meet(unsigned long socket)
{
	unsigned long all = (socket + 1) * options.at_once;

	atomic_fetch_add(&arrivals, 1);
	for (unsigned long spins = 0; atomic_load_explicit(&arrivals, memory_order_acquire) < all; spins++) {
		if (spins % SPINS == SPINS - 1)
			sched_yield();
	}
}

static void send_round(unsigned long place)
{
	for (unsigned long s = 0; s < options.sockets; s++) {
		struct query *query = &round_.queries[s][place];
		bool direct = options.direct.sin_port && s % 2 && place % 2;
		struct sockaddr_in *to = direct ? &options.direct : &options.server;

		meet(s);
		if (sendto(round_.fds[s], query->bytes, query->length, 0, (struct sockaddr *)to, sizeof(*to)) < 0) {
			atomic_fetch_add(&errors, 1);
		} else {
			atomic_fetch_add(&sent, 1);
			query->waited_for = true;
		}
	}
}

/* Takes one message from a socket of the round. Returns false when there is none. */
static bool receive(unsigned long s)
{
	uint8_t answer[ANSWER_SIZE];
	ssize_t length = recv(round_.fds[s], answer, sizeof(answer), 0);
	struct query *query;

	if (length < 0)
		return false;
	query = &round_.queries[s][answer[1] % AT_ONCE_MAX];
	if (length < HEADER_SIZE || !query->waited_for || memcmp(answer, query->bytes, 2)) {
		unexpected++;
		return true;
	}
	query->waited_for = false;
	received++;
	return true;
}

static void receive_round(void)
{
	struct pollfd fds[SOCKETS_MAX];
	unsigned long all = atomic_load(&sent);

	for (unsigned long s = 0; s < options.sockets; s++)
		fds[s] = (struct pollfd){ .fd = round_.fds[s], .events = POLLIN };
	/* Those that earlier rounds gave up are part of neither side. */
	static unsigned long given_up;
	while (received + given_up < all && poll(fds, options.sockets, options.timeout_ms) > 0) {
		for (unsigned long s = 0; s < options.sockets; s++) {
			while (fds[s].revents && receive(s))
				;
		}
	}
	given_up = all - received;
}

static void close_round(void)
{
	for (unsigned long s = 0; s < options.sockets; s++)
		close(round_.fds[s]);
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void bind_to_cpu(unsigned long place)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(place % (unsigned long)cpus, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

/* A thread other than the first: sends when the first one says so. */
static void *follow(void *argument)
{
	unsigned long place = (unsigned long)argument;

	bind_to_cpu(place);
	for (;;) {
		pthread_barrier_wait(&round_starts);
		if (round_.is_last)
			return NULL;
		send_round(place);
		pthread_barrier_wait(&round_ends);
	}
}

static void lead(void)
{
	double end = now() + (double)options.seconds;

	bind_to_cpu(0);
	while (now() < end) {
		open_round();
		pthread_barrier_wait(&round_starts);
		send_round(0);
		pthread_barrier_wait(&round_ends);
		receive_round();
		close_round();
	}
	round_.is_last = true;
	pthread_barrier_wait(&round_starts);
}

static void parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "server", required_argument, NULL, 's' },  { "tag", required_argument, NULL, 't' },
		{ "seconds", required_argument, NULL, 'd' }, { "sockets", required_argument, NULL, 'n' },
		{ "at-once", required_argument, NULL, 'o' }, { "timeout-ms", required_argument, NULL, 'T' },
		{ "direct", required_argument, NULL, 'e' },  { 0 },
	};
	bool has_server = false, has_direct = false;
	int option;

	options.server.sin_port = htons(53);
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 's': has_server = inet_pton(AF_INET, optarg, &options.server.sin_addr) == 1; break;
		case 'e': has_direct = inet_pton(AF_INET, optarg, &options.direct.sin_addr) == 1; break;
		case 't': options.tag = optarg; break;
		case 'd': options.seconds = strtoul(optarg, NULL, 10); break;
		case 'n': options.sockets = strtoul(optarg, NULL, 10); break;
		case 'o': options.at_once = strtoul(optarg, NULL, 10); break;
		case 'T': options.timeout_ms = atoi(optarg); break;
		default: exit(2);
		}
	}
	options.direct.sin_port = has_direct ? htons(53) : 0;
	if (!has_server || strlen(options.tag) > 63 || options.sockets < 1 || options.sockets > SOCKETS_MAX ||
	    options.at_once < 1 || options.at_once > AT_ONCE_MAX) {
		fprintf(stderr, "race: --server is needed, --sockets of 1 to %d, --at-once of 1 to %d\n", SOCKETS_MAX,
			AT_ONCE_MAX);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	pthread_t threads[AT_ONCE_MAX];

	parse_options(argc, argv);
	pthread_barrier_init(&round_starts, NULL, (unsigned)options.at_once);
	pthread_barrier_init(&round_ends, NULL, (unsigned)options.at_once);
	for (unsigned long place = 1; place < options.at_once; place++) {
		if (pthread_create(&threads[place], NULL, follow, (void *)place))
			die("pthread_create");
	}
	lead();
	for (unsigned long place = 1; place < options.at_once; place++)
		pthread_join(threads[place], NULL);
	printf("{\"client\":\"race\",\"pid\":%d,\"tag\":\"%s\",\"sockets\":%lu,\"sent\":%lu,\"errors\":%lu,\"received\":%lu,"
	       "\"unexpected\":%lu}\n",
	       (int)getpid(), options.tag, opened, atomic_load(&sent), atomic_load(&errors), received, unexpected);
	return 0;
}
