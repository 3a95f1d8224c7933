/*
 * DNS over UDP in bursts: several messages in one call, which the kernel cuts up (UDP_SEGMENT) or does not (UDP_GRO).
 *
 *   offload serve PORT             answers each burst of queries by one burst of answers, until killed
 *   offload ask SERVER PORT TAG N  sends N bursts of queries, and takes the answers in as they come
 *
 * The query names are burst-N-M.TAG.test.cluster.local., all of one length. Prints one JSON line:
 *   {"client":"offload","pid":..,"sent":..,"received":..,"coalesced":..}
 * where `coalesced` counts calls that received more than one message. The server prints `listening` first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "query.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

#define BURST 4
#define BUFFER_SIZE 65536

static void die(const char *what)
{
	fprintf(stderr, "offload: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Sends LENGTH bytes, which are messages of SIZE bytes each, in one call. */
static void send_burst(int fd, const struct sockaddr *to, socklen_t to_length, uint8_t *bytes, size_t length, uint16_t size)
{
	char control[CMSG_SPACE(sizeof(size))] = { 0 };
	struct iovec part = { bytes, length };
	struct msghdr message = { .msg_name = (void *)to, .msg_namelen = to_length, .msg_iov = &part, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_UDP;
	header->cmsg_type = UDP_SEGMENT;
	header->cmsg_len = CMSG_LEN(sizeof(size));
	memcpy(CMSG_DATA(header), &size, sizeof(size));
	if (sendmsg(fd, &message, 0) != (ssize_t)length)
		die("sendmsg");
}

/* Receives messages of SIZE bytes each; returns the bytes of all, or -1 with errno. */
static ssize_t receive_burst(int fd, struct sockaddr_storage *from, socklen_t *from_length, uint8_t *bytes, int *size)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { bytes, BUFFER_SIZE };
	struct msghdr message = { .msg_name = from, .msg_namelen = sizeof(*from), .msg_iov = &part, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = sizeof(control) };
	ssize_t length = recvmsg(fd, &message, 0);

	*from_length = message.msg_namelen;
	*size = (int)length;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level == SOL_UDP && header->cmsg_type == UDP_GRO)
			memcpy(size, CMSG_DATA(header), sizeof(*size));
	}
	return length;
}

static int open_socket(int family)
{
	struct timeval timeout = { 5, 0 };
	int one = 1, fd = socket(family, SOCK_DGRAM, 0);

	if (fd < 0 || setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof(one)))
		die("UDP_GRO");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)))
		die("SO_RCVTIMEO");
	return fd;
}

static void serve(const char *port)
{
	static uint8_t bytes[BUFFER_SIZE], answers[BUFFER_SIZE];
	struct sockaddr_in6 own = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port)) };
	size_t waiting = 0;
	int fd = open_socket(AF_INET6);

	if (bind(fd, (struct sockaddr *)&own, sizeof(own)))
		die("bind");
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		struct sockaddr_storage from;
		socklen_t from_length;
		int size;
		ssize_t length = receive_burst(fd, &from, &from_length, bytes, &size);

		if (length <= 0)
			continue;
		for (ssize_t at = 0; at + HEADER_SIZE <= length; at += size) {
			/* The query is its own answer: a response without a record. */
			bytes[at + 2] |= 0x80;
			memcpy(answers + waiting, bytes + at, (size_t)size);
			waiting += (size_t)size;
		}
		if (waiting >= BURST * (size_t)size) {
			send_burst(fd, (struct sockaddr *)&from, from_length, answers, waiting, (uint16_t)size);
			waiting = 0;
		}
	}
}

static void ask(const char *server, const char *port, const char *tag, unsigned long count)
{
	static uint8_t bytes[BUFFER_SIZE];
	struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *to;
	unsigned long sent = 0, received = 0, coalesced = 0;
	int fd;

	if (getaddrinfo(server, port, &hints, &to)) {
		fprintf(stderr, "offload: not an address: %s\n", server);
		exit(2);
	}
	fd = open_socket(to->ai_family);
	for (unsigned long n = 0; n < count; n++) {
		struct sockaddr_storage from;
		socklen_t from_length;
		size_t length = 0, size = 0;
		int missing = BURST;

		for (int m = 0; m < BURST; m++, length += size) {
			char name[256];

			snprintf(name, sizeof(name), "burst-%03lu-%d.%s.test.cluster.local", n, m, tag);
			size = encode_query(bytes + length, (uint16_t)(n * BURST + (unsigned)m), name, TYPE_A);
		}
		send_burst(fd, to->ai_addr, to->ai_addrlen, bytes, length, (uint16_t)size);
		sent += BURST;
		while (missing > 0) {
			int each;
			ssize_t got = receive_burst(fd, &from, &from_length, bytes, &each);

			if (got < 0)
				die("recvmsg");
			coalesced += got > each;
			received += (unsigned long)(got / each);
			missing -= (int)(got / each);
		}
	}
	printf("{\"client\":\"offload\",\"pid\":%d,\"sent\":%lu,\"received\":%lu,\"coalesced\":%lu}\n", (int)getpid(), sent,
	       received, coalesced);
	freeaddrinfo(to);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]);
	if (argc != 6 || strcmp(argv[1], "ask")) {
		fprintf(stderr, "usage: offload serve PORT | offload ask SERVER PORT TAG N\n");
		return 2;
	}
	ask(argv[2], argv[3], argv[4], strtoul(argv[5], NULL, 10));
	return 0;
}
