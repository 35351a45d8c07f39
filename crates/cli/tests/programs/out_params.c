/* Results by pointer: `int make(arena **out, size)`, `int grab(arena *, size, void **out)`.
 * Expect, with roles `make(*arena, size)` and `grab(arena, size, *block)`: one arena, 4 blocks, the fifth refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bump.h"

NOINLINE int make(struct bump **out, size_t size)
{
	struct bump *b = malloc(sizeof *b);

	if (b == NULL || bump_init(b, size) != 0)
		return -1;
	*out = b;
	return 0;
}

NOINLINE int grab(struct bump *b, size_t size, void **out)
{
	*out = NULL;
	if (size > b->capacity - b->offset)
		return -1;
	*out = b->base + b->offset;
	b->offset += size;
	return 0;
}

int main(void)
{
	struct bump *b;
	void *block;
	int got = 0;

	if (make(&b, 256) != 0)
		return 1;
	for (int i = 0; i < 5; i++)
		if (grab(b, 64, &block) == 0)
			memset(block, 'a' + i, 64), got++;
	printf("%d of 5\n", got);
	bump_destroy(b);
	free(b);
	return 0;
}
