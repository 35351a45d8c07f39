/* Allocates 1000 blocks under whatever limits it was started with (ulimit -n, -v, -f, -l) and prints none of them.
 * Expect: same output and status; what could not be recorded is counted and said. */
#include <stdio.h>
#include "bump.h"

int main(void)
{
	struct bump b;
	long sum = 0;

	if (bump_init(&b, 65536) != 0)
		return 1;
	for (int i = 0; i < 1000; i++) {
		int *block = bump_alloc(&b, 16);
		*block = i;
		sum += *block;
	}
	printf("%ld\n", sum);
	bump_destroy(&b);
	return 0;
}
