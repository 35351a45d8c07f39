/* vfork, then exec of another program, while the parent's arena lives on.
 * Expect: the parent's trace has 2 + 2 allocs and no damage; the child prints one line and writes into no trace of ours. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bump.h"

int main(void)
{
	struct bump b;
	int status;
	pid_t child;

	if (bump_init(&b, 4096) != 0)
		return 1;
	strcpy(bump_alloc(&b, 16), "one");
	puts(strcpy(bump_alloc(&b, 16), "two"));
	fflush(stdout);
	child = vfork();
	if (child == 0) {
		execl("/bin/echo", "echo", "child of vfork", (char *)NULL);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 2;
	strcpy(bump_alloc(&b, 16), "three");
	puts(strcpy(bump_alloc(&b, 16), "four"));
	bump_destroy(&b);
	return WEXITSTATUS(status);
}
