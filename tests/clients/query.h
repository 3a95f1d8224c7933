/* DNS queries by hand, for clients that must say what leaves and when. */
#ifndef QUERY_H
#define QUERY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HEADER_SIZE 12
#define TYPE_A 1
#define TYPE_AAAA 28

/*
 * Writes a query for NAME, given in text without a final dot, to AT; returns its length. AT must have room for
 * HEADER_SIZE, the name and 6 bytes more.
 */
static size_t encode_query(uint8_t *at, uint16_t id, const char *name, uint16_t type)
{
	/* Id; recursion desired; one question. */
	const uint8_t header[HEADER_SIZE] = { (uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1 };
	const uint8_t tail[] = { 0, (uint8_t)(type >> 8), (uint8_t)type, 0, 1 };
	const uint8_t *start = at;

	memcpy(at, header, sizeof(header));
	at += sizeof(header);
	while (*name) {
		size_t length = strcspn(name, ".");

		*at++ = (uint8_t)length;
		memcpy(at, name, length);
		at += length;
		name += length + (name[length] == '.');
	}
	memcpy(at, tail, sizeof(tail));
	return (size_t)(at - start) + sizeof(tail);
}

#endif
