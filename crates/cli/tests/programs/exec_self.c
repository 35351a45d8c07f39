/* Replaces itself by itself: same pid, new image, new arena.
 * Expect: 3 allocs of the first image and 5 of the second, each in a whole trace; status 5. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "bump.h"

int main(int argc, char **argv)
{
	struct bump b;
	int count = argc > 1 ? 5 : 3;

	if (bump_init(&b, 4096) != 0)
		return 1;
	for (int i = 0; i < count; i++)
		strcpy(bump_alloc(&b, 16), "image");
	printf("image %d: %zu bytes\n", argc, b.offset);
	fflush(stdout);
	if (argc == 1) {
		execl("/proc/self/exe", argv[0], "again", (char *)NULL);
		return 2;
	}
	bump_destroy(&b);
	return count;
}
