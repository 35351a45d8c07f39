/* A list of numbers that grows by one chunk at a time in an arena where other blocks follow it, so that every growth copies it and
   leaves the old place behind. With -DMENDED it asks for its final size at once. Expectation: growth-waste at the line marked
   GROWS, nothing when mended. */
#include "bump.h"

#include <stdio.h>
#include <string.h>

NOINLINE void *bump_resize(struct bump *b, void *block, size_t old_size, size_t size)
{
	char *moved;

	if (block && (char *)block + old_size == b->base + b->offset && size <= b->capacity - (b->offset - old_size)) {
		b->offset += size - old_size;
		return block;
	}
	if (size > b->capacity - b->offset)
		return NULL;
	moved = b->base + b->offset;
	b->offset += size;
	if (block)
		memcpy(moved, block, old_size);
	return moved;
}

int main(void)
{
	size_t room = 0, used = 0, names = 0;
	long *list = NULL, total = 0;
	struct bump arena;

	if (bump_init(&arena, 1 << 20))
		return 1;
#ifdef MENDED
	room = 1000;
	list = bump_alloc(&arena, room * sizeof *list);
#endif
	for (long number = 0; number < 1000; number++) {
		if (used == room) {
			long *longer = bump_resize(&arena, list, room * sizeof *list, (room + 64) * sizeof *list); /* GROWS */

			if (!longer)
				return 2;
			list = longer;
			room += 64;
		}
		list[used++] = number;
		if (number % 32 == 0) {
			char *name = bump_alloc(&arena, 24);

			if (!name)
				return 2;
			snprintf(name, 24, "number %ld", number);
			names += strlen(name) > 0;
		}
	}
	for (size_t i = 0; i < used; i++)
		total += list[i];
	printf("%ld, %zu names\n", total, names);
	bump_destroy(&arena);
	return 0;
}
