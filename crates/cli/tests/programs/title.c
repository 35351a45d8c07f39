/* Overwrites its argument and environment strings, as programs do that set their title, and then execs.
 * Expect: output untouched; the image after exec still watched. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "bump.h"

extern char **environ;

int main(int argc, char **argv)
{
	struct bump b;

	if (bump_init(&b, 4096) != 0)
		return 1;
	strcpy(bump_alloc(&b, 16), "block");
	if (argc == 1) {
		static char *kept[] = { "A=b", NULL };
		for (char **e = environ; *e != NULL; e++)
			memset(*e, 'x', strlen(*e));
		memset(argv[0], 'y', strlen(argv[0]));
		execle("/proc/self/exe", "title", "again", (char *)NULL, kept);
		return 2;
	}
	for (char **e = environ; *e != NULL; e++)
		puts(*e);
	printf("%s %s\n", argv[0], argv[1]);
	bump_destroy(&b);
	return 0;
}
