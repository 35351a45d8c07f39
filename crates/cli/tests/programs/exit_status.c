/* Ends with the status of its first argument; "return", "exit", "_exit" or "quick" as second says how.
 * Expect: the same status with and without us; the trace is whole every way. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "bump.h"

int main(int argc, char **argv)
{
	int status = argc > 1 ? atoi(argv[1]) : 0;
	const char *how = argc > 2 ? argv[2] : "return";
	struct bump b;

	if (bump_init(&b, 4096) != 0)
		return 1;
	puts(strcpy(bump_alloc(&b, 16), how));
	fprintf(stderr, "status %d\n", status);
	fflush(stdout);
	bump_destroy(&b);
	if (strcmp(how, "exit") == 0)
		exit(status);
	if (strcmp(how, "_exit") == 0)
		_exit(status);
	if (strcmp(how, "quick") == 0)
		quick_exit(status);
	return status;
}
