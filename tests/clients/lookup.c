/*
 * Resolves names with the C library's own resolver, as most programs do. Built twice: with glibc (A and AAAA from one
 * socket in one sendmmsg) and static with musl (every nameserver at once).
 *
 *   lookup NAME...           resolves each name and prints a JSON line for it
 *   lookup --bulk N TAG      resolves bulk-0.TAG.test.cluster.local. to bulk-(N-1), without lines of their own
 *
 * The last line is the tally: {"client":"lookup","pid":..,"lookups":..,"resolved":..}
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for a domain name and its final zero. */
#define NAME_SIZE 256

static void print_addresses(const char *name, const struct addrinfo *list)
{
	const char *comma = "";

	printf("{\"name\":\"%s\",\"addresses\":[", name);
	for (const struct addrinfo *info = list; info; info = info->ai_next) {
		char text[NI_MAXHOST];

		if (getnameinfo(info->ai_addr, info->ai_addrlen, text, sizeof(text), NULL, 0, NI_NUMERICHOST))
			continue;
		printf("%s\"%s\"", comma, text);
		comma = ",";
	}
	printf("]}\n");
}

/* Returns 1 if the name has an address. */
static int resolve(const char *name, int quiet)
{
	/* One entry an address, not one for each kind of socket. */
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int error = getaddrinfo(name, NULL, &hints, &list);

	if (!quiet) {
		if (error)
			printf("{\"name\":\"%s\",\"error\":\"%s\"}\n", name, gai_strerror(error));
		else
			print_addresses(name, list);
	}
	if (!error)
		freeaddrinfo(list);
	return !error;
}

int main(int argc, char **argv)
{
	unsigned long lookups = 0, resolved = 0;

	if (argc == 4 && !strcmp(argv[1], "--bulk")) {
		unsigned long count = strtoul(argv[2], NULL, 10);

		for (; lookups < count; lookups++) {
			char name[NAME_SIZE];

			snprintf(name, sizeof(name), "bulk-%lu.%s.test.cluster.local.", lookups, argv[3]);
			resolved += resolve(name, 1);
		}
	} else if (argc > 1 && argv[1][0] != '-') {
		for (; lookups < (unsigned long)argc - 1; lookups++)
			resolved += resolve(argv[lookups + 1], 0);
	} else {
		fprintf(stderr, "usage: lookup NAME... | lookup --bulk N TAG\n");
		return 2;
	}
	printf("{\"client\":\"lookup\",\"pid\":%d,\"lookups\":%lu,\"resolved\":%lu}\n", (int)getpid(), lookups, resolved);
	return resolved == lookups ? 0 : 1;
}
