/* Started as root: gives up its rights (chroot to the directory named by the first argument, then setuid 65534), as
 * servers do, and goes on allocating. Not root: says so and ends with 77.
 * Expect: 10 + 10 alloc events in a whole trace. */
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "bump.h"

int main(int argc, char **argv)
{
	struct bump b;

	if (geteuid() != 0) {
		puts("not root");
		return 77;
	}
	if (bump_init(&b, 4096) != 0)
		return 1;
	for (int i = 0; i < 20; i++) {
		if (i == 10 && (chroot(argc > 1 ? argv[1] : ".") != 0 || chdir("/") != 0 || setgroups(0, NULL) != 0
				|| setgid(65534) != 0 || setuid(65534) != 0))
			return 2;
		strcpy(bump_alloc(&b, 16), "block");
	}
	printf("%zu bytes\n", b.offset);
	bump_destroy(&b);
	return 0;
}
