/* What markers cost unwatched: `marked_cost` allocates 300,000 blocks out of line and inlined. Nothing counts here but the program. */
#include "../../../capi/include/arenascope-mark.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

struct arena {
	char *cursor, *end;
};

static inline void *bump(struct arena *arena, size_t size)
{
	char *block = arena->cursor;

	if (size > (size_t)(arena->end - block)) {
		ARENASCOPE_ALLOC(arena, NULL, size);
		return NULL;
	}
	arena->cursor = block + size;
	ARENASCOPE_ALLOC(arena, block, size);
	return block;
}

__attribute__((noinline)) static void *out_of_line(struct arena *arena, size_t size)
{
	return bump(arena, size);
}

/* The blocks are kept, as a parser keeps its nodes. */
__attribute__((noinline)) static void inlined(struct arena *arena, void **kept, unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		kept[i] = bump(arena, 24);
}

__attribute__((noinline)) static void reset(struct arena *arena, char *base)
{
	ARENASCOPE_RESET(arena);
	arena->cursor = base;
}

int main(void)
{
	struct arena *arena = malloc(sizeof *arena);
	char *base = malloc(1 << 16);
	void *kept[1000];
	unsigned long sum = 0, i;

	arena->end = base + (1 << 16);
	for (i = 0; i < 200; i++) {
		unsigned long block;
		reset(arena, base);
		for (block = 0; block < 500; block++)
			kept[block] = out_of_line(arena, 16 + block % 3 * 8);
		inlined(arena, kept, 1000);
		sum += (unsigned long)((char *)kept[999] - base);
	}
	printf("%lu\n", sum);
	return 0;
}
