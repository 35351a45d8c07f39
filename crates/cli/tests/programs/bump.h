/* The smallest arena, for programs whose subject is something else. One mapping, one offset, blocks of 8-byte multiples.
   NOINLINE stands for "lives in another file": without it gcc -O2 leaves no call to watch (which short.c is about). */
#ifndef BUMP_H
#define BUMP_H

#include <stddef.h>
#include <sys/mman.h>

#define NOINLINE __attribute__((noinline))

struct bump {
	char *base;
	size_t offset;
	size_t capacity;
};

NOINLINE int bump_init(struct bump *b, size_t capacity)
{
	void *region = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (region == MAP_FAILED)
		return -1;
	b->base = region;
	b->offset = 0;
	b->capacity = capacity;
	return 0;
}

NOINLINE void *bump_alloc(struct bump *b, size_t size)
{
	char *block;

	size = (size + 7) & ~(size_t)7;
	if (size > b->capacity - b->offset)
		return NULL;
	block = b->base + b->offset;
	b->offset += size;
	return block;
}

NOINLINE void bump_destroy(struct bump *b)
{
	munmap(b->base, b->capacity);
	b->base = NULL;
	b->offset = b->capacity = 0;
}

#endif
