/* An allocator with nine arguments, one of them a struct by value, so that the size lies on the stack; and one that
 * takes its arguments among doubles.
 * Expect: 5 blocks of 40 (wide_alloc) and 5 of 24 (mixed_alloc). */
#include <stdio.h>
#include "bump.h"

struct where { long line, column, depth, kind, flags; };

NOINLINE void *wide_alloc(struct bump *b, int a, int c, int d, double x, struct where w, int e, int f, long size)
{
	char *block = b->base + b->offset;

	if ((size_t)size > b->capacity - b->offset)
		return NULL;
	b->offset += (size_t)size;
	*(long *)block = a + c + d + (long)x + w.line + w.flags + e + f;
	return block;
}

NOINLINE void *mixed_alloc(double x, struct bump *b, float y, unsigned short size)
{
	char *block = b->base + b->offset;

	if (size > b->capacity - b->offset)
		return NULL;
	b->offset += size;
	*(long *)block = (long)(x + (double)y);
	return block;
}

int main(void)
{
	struct where w = { 10, 20, 30, 40, 50 };
	struct bump b;
	long sum = 0;

	if (bump_init(&b, 4096) != 0)
		return 1;
	for (int i = 0; i < 5; i++) {
		long *block = wide_alloc(&b, 1, 2, 3, 4.5, w, 6, i, 40);
		sum += *block;
		block = mixed_alloc(1.5, &b, 2.5f, 24);
		sum += *block;
	}
	printf("%ld, %zu bytes\n", sum, b.offset);
	bump_destroy(&b);
	return 0;
}
