/* A handler that allocates from its own arena, raised between and inside allocations of the main arena.
 * Plain: 100 raises, 60 of them inside bump_alloc's caller and 40 inside an allocator (deterministic output).
 * With argument "timer": a real timer interrupts anything, and the program prints how many blocks it took.
 * Expect: alloc events + reported losses = allocations made. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include "bump.h"

static struct bump in_handler, in_main;
static volatile sig_atomic_t handled;

static void on_signal(int signal)
{
	(void)signal;
	if (bump_alloc(&in_handler, 16) != NULL)
		handled++;
}

NOINLINE void *raising_alloc(struct bump *b, size_t size)
{
	char *block = b->base + b->offset;

	if (size > b->capacity - b->offset)
		return NULL;
	raise(SIGALRM);
	b->offset += size;
	return block;
}

int main(int argc, char **argv)
{
	struct sigaction action;
	long taken = 0;

	memset(&action, 0, sizeof action);
	action.sa_handler = on_signal;
	if (bump_init(&in_handler, 1 << 20) != 0 || bump_init(&in_main, 1 << 28) != 0 || sigaction(SIGALRM, &action, NULL) != 0)
		return 1;
	if (argc > 1 && strcmp(argv[1], "timer") == 0) {
		struct itimerval every = { { 0, 500 }, { 0, 500 } }, never = { { 0, 0 }, { 0, 0 } };
		setitimer(ITIMER_REAL, &every, NULL);
		while (handled < 100 && taken < 16000000)
			if (bump_alloc(&in_main, 8) != NULL)
				taken++;
		setitimer(ITIMER_REAL, &never, NULL);
	} else {
		for (int i = 0; i < 60; i++) {
			taken += bump_alloc(&in_main, 8) != NULL;
			raise(SIGALRM);
		}
		for (int i = 0; i < 40; i++)
			taken += raising_alloc(&in_main, 8) != NULL;
	}
	printf("%ld in main, %d in the handler\n", taken, (int)handled);
	bump_destroy(&in_main);
	bump_destroy(&in_handler);
	return 0;
}
