/* An allocator that calls itself: each block gets a note, each note's block gets a note, down to depth 3.
 * Expect: 100 alloc events, one for each call from main: of calls inside each other on one arena the outermost counts. */
#include <stdio.h>
#include "bump.h"

struct note { struct note *inner; size_t size; int depth; };

NOINLINE void *noted_alloc(struct bump *b, size_t size, int depth)
{
	struct note *note = NULL;
	char *block;

	if (depth > 0)
		note = noted_alloc(b, sizeof *note, depth - 1);
	size = (size + 7) & ~(size_t)7;
	if (size > b->capacity - b->offset)
		return NULL;
	block = b->base + b->offset;
	b->offset += size;
	if (note != NULL)
		*note = (struct note){ NULL, size, depth };
	return block;
}

int main(void)
{
	struct bump b;
	int sum = 0;

	if (bump_init(&b, 65536) != 0)
		return 1;
	for (int i = 0; i < 100; i++) {
		int *block = noted_alloc(&b, 16, 3);
		*block = i;
		sum += *block;
	}
	printf("%d, %zu bytes\n", sum, b.offset);
	bump_destroy(&b);
	return 0;
}
