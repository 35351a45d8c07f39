/* Closes every descriptor above 2, as daemons do, changes directory to /, and goes on allocating.
 * Expect: 10 + 10 alloc events in a whole trace at the place where it was begun. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "bump.h"

int main(void)
{
	struct bump b;

	if (bump_init(&b, 4096) != 0)
		return 1;
	for (int i = 0; i < 20; i++) {
		if (i == 10) {
			for (int d = 3; d < 1024; d++)
				close(d);
			if (chdir("/") != 0)
				return 2;
		}
		strcpy(bump_alloc(&b, 16), "block");
	}
	printf("%zu bytes\n", b.offset);
	bump_destroy(&b);
	return 0;
}
