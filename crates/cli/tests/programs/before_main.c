/* Allocations before main: from .preinit_array and from a constructor; and one after main, from a destructor.
 * Expect: one arena, 1 + 2 + 1 + 1 alloc events. */
#include <stdio.h>
#include "bump.h"

static struct bump b;
static int *blocks[5];

static void first_of_all(void)
{
	if (bump_init(&b, 4096) == 0)
		blocks[0] = bump_alloc(&b, 8);
}
__attribute__((section(".preinit_array"), used)) static void (*const preinit)(void) = first_of_all;

__attribute__((constructor)) static void before(void)
{
	__asm__ volatile("" ::: "memory"); /* clang would run this at compile time, before .preinit_array exists */
	blocks[1] = bump_alloc(&b, 16);
	blocks[2] = bump_alloc(&b, 16);
}

__attribute__((destructor)) static void after(void)
{
	blocks[4] = bump_alloc(&b, 32);
	printf("after main: %zu bytes\n", b.offset);
}

int main(void)
{
	blocks[3] = bump_alloc(&b, 24);
	printf("in main: %zu bytes\n", b.offset);
	return blocks[0] == NULL;
}
