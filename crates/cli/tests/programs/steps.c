/* Works in steps that files allow: says `ready`, waits for `go`, makes FIRST blocks of 16 bytes, says `done`, waits for `end`, makes SECOND
 * blocks of 24 bytes with a millisecond between them, says `bye`.
 * Expect: FIRST + SECOND allocs recorded or counted as lost, whatever happens to the launcher meanwhile. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "bump.h"

static void say(const char *name)
{
	close(open(name, O_CREAT | O_WRONLY, 0644));
}

static void wait_for(const char *name)
{
	for (int tries = 0; access(name, F_OK); tries++) {
		if (tries == 36000)
			_exit(9);
		usleep(5000);
	}
}

int main(int argc, char **argv)
{
	long first = argc > 1 ? atol(argv[1]) : 1000, second = argc > 2 ? atol(argv[2]) : 0;
	struct bump b;

	if (bump_init(&b, (size_t)first * 16 + (size_t)second * 32 + 4096) != 0)
		return 1;
	say("ready");
	wait_for("go");
	for (long i = 0; i < first; i++)
		*(volatile long *)bump_alloc(&b, 16) = i;
	say("done");
	wait_for("end");
	for (long i = 0; i < second; i++) {
		*(volatile long *)bump_alloc(&b, 24) = i;
		usleep(1000);
	}
	say("bye");
	return 0;
}
