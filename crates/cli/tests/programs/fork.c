/* A child goes on allocating in the arena it inherited.
 * Expect: two traces, tied by the fork event. Parent: 3 + 2 allocs, exit 0. Child: 5 allocs, exit 7, and none of the
 * parent's events inside its own part. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bump.h"

static void fill(struct bump *b, int count, const char *who)
{
	for (int i = 0; i < count; i++) {
		char *block = bump_alloc(b, 32);
		snprintf(block, 32, "%s %d", who, i);
		puts(block);
	}
	fflush(stdout);
}

int main(void)
{
	struct bump b;
	int status;
	pid_t child;

	if (bump_init(&b, 4096) != 0)
		return 1;
	fill(&b, 3, "before");
	child = fork();
	if (child == 0) {
		fill(&b, 5, "child");
		bump_destroy(&b);
		_exit(7);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 2;
	printf("child exited with %d\n", WEXITSTATUS(status));
	fill(&b, 2, "after");
	bump_destroy(&b);
	return 0;
}
