/* Ends, and leaves a child behind that waits for the file `go` and then makes N blocks (the first argument) in pieces of 50,000 with 20 ms
 * between them, and says `bye`.
 * Expect: N allocs of the child recorded or counted as lost, more than memory for the trace holds at once. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "bump.h"

int main(int argc, char **argv)
{
	long count = atol(argv[1]);
	struct bump b;
	char go;
	int pipes[2];

	if (argc < 2 || bump_init(&b, (size_t)count * 16 + 4096) || pipe(pipes))
		return 1;
	if (fork() == 0) {
		setsid();
		freopen("/dev/null", "w", stdout);
		freopen("/dev/null", "w", stderr);
		write(pipes[1], "g", 1);
		for (int tries = 0; access("go", F_OK); tries++) {
			if (tries == 36000)
				_exit(9);
			usleep(5000);
		}
		for (long i = 0; i < count; i++) {
			*(volatile long *)bump_alloc(&b, 16) = i;
			if (i % 50000 == 0)
				usleep(20000);
		}
		close(open("bye", O_CREAT | O_WRONLY, 0644));
		_exit(0);
	}
	return read(pipes[0], &go, 1) != 1;
}
