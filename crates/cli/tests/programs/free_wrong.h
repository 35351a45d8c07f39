/* A pool of slots by hand: a mapping, an offset, and a list of what was given back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NOINLINE __attribute__((noinline))
#define POOL 4096
#define SLOT 32

typedef struct slot { struct slot *next; } slot;
typedef struct pool { char *base; size_t offset, capacity; slot *given_back; } pool;

NOINLINE static void pool_init(pool *p, size_t size)
{
	p->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->base == MAP_FAILED)
		exit(9);
	p->offset = 0;
	p->capacity = size;
	p->given_back = NULL;
}

NOINLINE static void *pool_alloc(pool *p, size_t size)
{
	if (p->given_back != NULL && size <= SLOT) {
		slot *s = p->given_back;
		p->given_back = s->next;
		return s;
	}
	size = (size + SLOT - 1) / SLOT * SLOT;
	if (size > p->capacity - p->offset)
		return NULL;
	p->offset += size;
	return p->base + p->offset - size;
}

NOINLINE static void pool_free(pool *p, void *block)
{
	slot *s = block;

	if (s == NULL)
		return;
	s->next = p->given_back;
	p->given_back = s;
}

NOINLINE static void pool_destroy(pool *p)
{
	munmap(p->base, p->capacity);
	p->base = NULL;
}
