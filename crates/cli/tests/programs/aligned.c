/* Size times count, and an alignment: roles `count`, `size`, `align`.
 * Expect: aligned_take: 3 blocks of 40 at multiples of 64; take_array: 2 blocks of 12 * 5 = 60 bytes. */
#include <stdint.h>
#include <stdio.h>
#include "bump.h"

NOINLINE void *aligned_take(struct bump *b, size_t size, size_t align)
{
	size_t at = (b->offset + align - 1) / align * align;

	if (at > b->capacity || size > b->capacity - at)
		return NULL;
	b->offset = at + size;
	return b->base + at;
}

NOINLINE void *take_array(struct bump *b, size_t count, size_t size)
{
	if (size != 0 && count > (size_t)-1 / size)
		return NULL;
	return aligned_take(b, count * size, 4);
}

int main(void)
{
	struct bump b;
	uintptr_t low = 0;

	if (bump_init(&b, 4096) != 0)
		return 1;
	for (int i = 0; i < 3; i++) {
		char *block = aligned_take(&b, 40, 64);
		low |= (uintptr_t)block & 63;
		block[0] = 'x';
	}
	for (int i = 0; i < 2; i++) {
		int *array = take_array(&b, 12, 5);
		array[0] = i;
	}
	printf("%d, %zu bytes\n", (int)low, b.offset);
	bump_destroy(&b);
	return 0;
}
