/* Many arenas, one after another and nested: 2000 short ones of three blocks, 100 alive at once.
 * Expect: 2100 arenas, 6000 + 100 blocks; the screen stays short. */
#include <stdio.h>
#include "bump.h"

int main(void)
{
	static struct bump standing[100];
	long sum = 0;

	for (int i = 0; i < 100; i++) {
		if (bump_init(&standing[i], 4096) != 0)
			return 1;
		*(int *)bump_alloc(&standing[i], 64) = i;
	}
	for (int i = 0; i < 2000; i++) {
		struct bump b;
		if (bump_init(&b, 4096) != 0)
			return 2;
		for (int k = 0; k < 3; k++) {
			int *block = bump_alloc(&b, 100);
			*block = k;
			sum += *block;
		}
		bump_destroy(&b);
	}
	for (int i = 0; i < 100; i++) {
		sum += *(int *)standing[i].base;
		bump_destroy(&standing[i]);
	}
	printf("%ld\n", sum);
	return 0;
}
