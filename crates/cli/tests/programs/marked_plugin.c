/* A library with markers. */
#include "marked.h"

static char memory[65536];
static struct arena arena;

unsigned long plugin_work(int blocks)
{
	int i;

	arena_init(&arena, memory, sizeof memory);
	for (i = 0; i < blocks; i++)
		*(char *)arena_alloc(&arena, 16) = (char)i;
	arena_destroy(&arena);
	return told.allocs;
}
