/* posix_spawn of another program with the environment passed on.
 * Expect: the parent's trace has 1 + 1 allocs; the child prints one line; status 0. */
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bump.h"

extern char **environ;

int main(void)
{
	char *arguments[] = { "echo", "spawned", NULL };
	struct bump b;
	int status = 0;
	pid_t child;

	if (bump_init(&b, 4096) != 0)
		return 1;
	puts(strcpy(bump_alloc(&b, 16), "before"));
	fflush(stdout);
	if (posix_spawn(&child, "/bin/echo", NULL, NULL, arguments, environ) != 0)
		return 2;
	if (waitpid(child, &status, 0) != child)
		return 3;
	puts(strcpy(bump_alloc(&b, 16), "after"));
	bump_destroy(&b);
	return WEXITSTATUS(status);
}
