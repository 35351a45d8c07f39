/* Killed by SIGKILL after exactly N allocations (first argument, 1,000,000 when there is none).
 * Expect: N alloc events in the trace, at most 8 bytes of file for each, status 128 + 9. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "bump.h"

int main(int argc, char **argv)
{
	long count = argc > 1 ? atol(argv[1]) : 1000000;
	struct bump b;

	if (bump_init(&b, (size_t)count * 16 + 4096) != 0)
		return 1;
	for (long i = 0; i < count; i++) {
		long *block = bump_alloc(&b, 16);
		*(volatile long *)block = i;
	}
	printf("%ld blocks\n", count);
	fflush(stdout);
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}
