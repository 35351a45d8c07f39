/* Forks by a system call made by hand, which no hook of the C library sees; the child goes on allocating.
 * Expect: output untouched; the parent's trace has 3 + 2 allocs and no damage; the child's 5 are in a trace of its own or in
 * none, never in its parent's. */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bump.h"

int main(void)
{
	struct bump b;
	int status = 0;
	long child;

	if (bump_init(&b, 4096) != 0)
		return 1;
	for (int i = 0; i < 3; i++)
		strcpy(bump_alloc(&b, 16), "before");
	child = syscall(SYS_fork);
	if (child == 0) {
		for (int i = 0; i < 5; i++)
			strcpy(bump_alloc(&b, 16), "child");
		_exit((int)b.offset / 8);
	}
	if (child < 0 || waitpid((pid_t)child, &status, 0) != child)
		return 2;
	for (int i = 0; i < 2; i++)
		strcpy(bump_alloc(&b, 16), "after");
	printf("child %d, parent %zu bytes\n", WEXITSTATUS(status), b.offset);
	bump_destroy(&b);
	return 0;
}
