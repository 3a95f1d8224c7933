/*
 * The least of io_uring that sends or receives one message at a time, by the system calls themselves.
 */
#ifndef IO_URING_CLIENT_H
#define IO_URING_CLIENT_H

#include <errno.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ring {
	int fd;
	struct io_uring_sqe *entries;
	_Atomic unsigned *submit_tail;
	unsigned *submit_array;
	unsigned submit_mask;
	_Atomic unsigned *complete_head;
	struct io_uring_cqe *completions;
	unsigned complete_mask;
};

/* Returns 0, or -1 with errno: ENOSYS where the kernel has no io_uring, EPERM where it is forbidden. */
static int ring_open(struct ring *ring)
{
	struct io_uring_params params = { 0 };
	size_t submit_size, complete_size, size;
	char *rings;

	ring->fd = (int)syscall(__NR_io_uring_setup, 4, &params);
	if (ring->fd < 0)
		return -1;
	if (!(params.features & IORING_FEAT_SINGLE_MMAP)) {
		errno = ENOSYS;
		return -1;
	}
	submit_size = params.sq_off.array + params.sq_entries * sizeof(unsigned);
	complete_size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	size = submit_size > complete_size ? submit_size : complete_size;
	rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, IORING_OFF_SQ_RING);
	if (rings == MAP_FAILED)
		return -1;
	ring->entries = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE, MAP_SHARED,
			     ring->fd, IORING_OFF_SQES);
	if (ring->entries == MAP_FAILED)
		return -1;
	ring->submit_tail = (_Atomic unsigned *)(rings + params.sq_off.tail);
	ring->submit_mask = *(unsigned *)(rings + params.sq_off.ring_mask);
	ring->submit_array = (unsigned *)(rings + params.sq_off.array);
	ring->complete_head = (_Atomic unsigned *)(rings + params.cq_off.head);
	ring->complete_mask = *(unsigned *)(rings + params.cq_off.ring_mask);
	ring->completions = (struct io_uring_cqe *)(rings + params.cq_off.cqes);
	return 0;
}

/* Does one IORING_OP_SENDMSG or IORING_OP_RECVMSG and waits for it. Returns as sendmsg and recvmsg do. */
static ssize_t ring_message(struct ring *ring, int operation, int fd, struct msghdr *message)
{
	unsigned tail = atomic_load_explicit(ring->submit_tail, memory_order_relaxed);
	unsigned slot = tail & ring->submit_mask;
	struct io_uring_sqe *entry = &ring->entries[slot];
	unsigned head;
	int result;

	memset(entry, 0, sizeof(*entry));
	entry->opcode = (uint8_t)operation;
	entry->fd = fd;
	entry->addr = (uint64_t)(uintptr_t)message;
	entry->len = 1;
	ring->submit_array[slot] = slot;
	atomic_store_explicit(ring->submit_tail, tail + 1, memory_order_release);
	if (syscall(__NR_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -1;
	head = atomic_load_explicit(ring->complete_head, memory_order_acquire);
	result = ring->completions[head & ring->complete_mask].res;
	atomic_store_explicit(ring->complete_head, head + 1, memory_order_release);
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return result;
}

#endif
