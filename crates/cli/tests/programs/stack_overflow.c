/* Runs out of stack inside functions that allocate.
 * Expect: SIGSEGV (status 139) as without us; the trace whole; no null-used. */
#include <stdio.h>
#include "bump.h"

static struct bump b;

NOINLINE static long deeper(long n)
{
	volatile char room[4096];
	long *block = bump_alloc(&b, 8);

	room[0] = (char)n;
	if (block == NULL)
		b.offset = 0;
	else
		*block = n;
	return n == -1 ? 0 : deeper(n + 1) + room[0];
}

int main(void)
{
	if (bump_init(&b, 4096) != 0)
		return 1;
	puts("down");
	fflush(stdout);
	return (int)deeper(0);
}
