/* An allocator that leaves by longjmp when it is full, as obstacks and Lua do.
 * Expect: 1000 calls seen to begin; 800 alloc events (200 calls never return); the output is right. */
#include <setjmp.h>
#include <stdio.h>
#include "bump.h"

static jmp_buf full;

NOINLINE void *must_alloc(struct bump *b, size_t size)
{
	char *block;

	if (size > b->capacity - b->offset)
		longjmp(full, 1);
	block = b->base + b->offset;
	b->offset += size;
	return block;
}

int main(void)
{
	struct bump b;
	volatile int jumps = 0, calls = 0;

	if (bump_init(&b, 64) != 0)
		return 1;
	while (calls < 1000) {
		if (setjmp(full) != 0) {
			jumps++;
			b.offset = 0;
			continue;
		}
		calls++;
		*(char *)must_alloc(&b, 16) = 'x';
	}
	printf("%d calls, %d jumps\n", calls, jumps);
	bump_destroy(&b);
	return 0;
}
