/* Makes N blocks (the first argument) in each of: itself, a forked child, and the program that this child then executes (itself again).
 * Expect: three traces, in each of which N allocs are recorded or counted as lost. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bump.h"

static int work(long count)
{
	struct bump b;

	if (bump_init(&b, (size_t)count * 16 + 4096) != 0)
		return 1;
	for (long i = 0; i < count; i++)
		*(volatile long *)bump_alloc(&b, 16) = i;
	return 0;
}

int main(int argc, char **argv)
{
	long count = atol(argv[1]);
	int status = 0;

	if (argc == 2) {
		pid_t child = fork();
		if (child == 0) {
			if (work(count))
				_exit(1);
			execl("/proc/self/exe", argv[0], argv[1], "executed", (char *)0);
			_exit(2);
		}
		if (work(count) || waitpid(child, &status, 0) != child)
			return 3;
	} else if (work(count)) {
		return 4;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 5;
}
