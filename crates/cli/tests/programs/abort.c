/* Ends by a signal: abort() without an argument, else the signal named by number.
 * Expect: status 128 + signal; trace whole; the arena, still alive, captured. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "bump.h"

int main(int argc, char **argv)
{
	struct bump b;

	if (bump_init(&b, 4096) != 0)
		return 1;
	puts(strcpy(bump_alloc(&b, 32), "last words"));
	fflush(stdout);
	if (argc > 1)
		raise(atoi(argv[1]));
	else
		abort();
	puts("survived");
	bump_destroy(&b);
	return 0;
}
