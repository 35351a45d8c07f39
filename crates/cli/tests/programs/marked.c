/* Arenas with markers in every place a compiler may put them: `marked WHAT`. Prints what it computed, and what it told. */
#define _GNU_SOURCE
#include "marked.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static char memory[1 << 20];
static struct arena shared;

static void print_told(const char *who)
{
	printf("%s creates %lu allocs %lu resizes %lu frees %lu marks %lu rewinds %lu resets %lu destroys %lu\n", who, told.creates,
	       told.allocs, told.resizes, told.frees, told.marks, told.rewinds, told.resets, told.destroys);
	fflush(stdout);
}

/* Every role, on the stack, in static memory, by macro, refused. */
static void roles(void)
{
	struct arena local;
	char *first, *second;
	size_t mark;
	int i;

	arena_init(&local, memory, 4096);
	first = arena_alloc(&local, 24);
	strcpy(first, "first");
	mark = arena_mark(&local);
	for (i = 0; i < 10; i++) {
		second = arena_alloc(&local, (size_t)i * 8 + 1);
		second[0] = (char)i;
	}
	second = arena_grow(&local, second, 200);
	if (arena_alloc(&local, 1 << 20))
		abort();
	arena_rewind(&local, mark);
	second = MACRO_ALLOC(&local, 40);
	strcpy(second, "second");
	arena_free(&local, second);
	ARENASCOPE_MOMENT("before the reset");
	printf("%s %s\n", first, second);
	arena_reset(&local);
	arena_destroy(&local);
	arena_init(&shared, memory + 4096, 4096);
	for (i = 0; i < 5; i++)
		memset(arena_alloc(&shared, 16), i, 16);
	arena_destroy(&shared);
}

/* A leaf function whose variables lie in the red zone, below the stack pointer. */
__attribute__((noinline)) static long leaf(struct arena *arena, const long *in)
{
	volatile long kept[14];
	long sum = 0;
	int i;

	for (i = 0; i < 14; i++)
		kept[i] = in[i] * 3;
	ARENASCOPE_ALLOC(arena, arena->base + arena->offset, kept[3]);
	told.allocs++;
	for (i = 0; i < 14; i++)
		sum = sum * 31 + kept[i];
	return sum;
}

/* Values that live in vector and general registers, and in flags, across a marker in a loop. */
__attribute__((noinline)) static double busy(struct arena *arena, const double *in, unsigned long n)
{
	double a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
	unsigned long x = 1, y = 2, z = 3, carry = 0, i;

	for (i = 0; i < n; i++) {
		a += in[i & 7];
		b *= 1.0000001;
		c -= a / 3;
		d += b * c;
		e = e * 0.5 + d;
		f += e - a;
		carry = __builtin_add_overflow(x, y * 0x9e3779b97f4a7c15ul, &x);
		ARENASCOPE_ALLOC(arena, arena->base + (i & 255) * 8, (i & 7) + 1);
		told.allocs++;
		y += z + carry;
		z ^= x >> 7;
	}
	return a + b + c + d + e + f + (double)(x ^ y ^ z);
}

static void registers(void)
{
	struct arena arena;
	long in[14], sum = 0;
	double numbers[8];
	int i;

	arena_init(&arena, memory, sizeof memory);
	for (i = 0; i < 14; i++)
		in[i] = i * 7919;
	for (i = 0; i < 1000; i++) {
		in[i % 14] += i;
		sum ^= leaf(&arena, in);
	}
	for (i = 0; i < 8; i++)
		numbers[i] = i / 3.0;
	printf("%ld %.17g\n", sum, busy(&arena, numbers, 5000));
}

#define EACH 250000

struct result {
	unsigned long allocs, sum;
};

__attribute__((noinline)) static unsigned long work(struct arena *arena, unsigned long sum)
{
	int i;

	for (i = 0; i < EACH; i++) {
		unsigned char *block = arena_alloc(arena, (size_t)(i % 5) * 8 + 8);
		if (!block) {
			arena_reset(arena);
			continue;
		}
		block[0] = (unsigned char)i;
		sum = sum * 31 + block[0];
	}
	return sum;
}

static void *thread(void *number)
{
	struct result *result = malloc(sizeof *result);
	char *own = malloc(1 << 16);
	struct arena arena;

	arena_init(&arena, own, 1 << 16);
	result->sum = work(&arena, (unsigned long)number);
	arena_destroy(&arena);
	result->allocs = told.allocs;
	free(own);
	return result;
}

static void threads(int count)
{
	pthread_t all[4];
	unsigned long allocs = 0, sum = 0, i;

	for (i = 0; i < (unsigned long)count; i++)
		pthread_create(&all[i], NULL, thread, (void *)i);
	for (i = 0; i < (unsigned long)count; i++) {
		void *result;
		pthread_join(all[i], &result);
		allocs += ((struct result *)result)->allocs;
		sum ^= ((struct result *)result)->sum;
	}
	printf("allocs %lu sum %lx\n", allocs, sum);
}

static struct arena of_handler;
static volatile unsigned long in_handler;
static unsigned long jumps;
static sigjmp_buf back;
static volatile sig_atomic_t jumping;

static void handler(int signal)
{
	(void)signal;
	ARENASCOPE_ALLOC(&of_handler, memory + (in_handler & 1023) * 8, 8);
	in_handler++;
	if (jumping && in_handler % 3 == 0)
		siglongjmp(back, 1);
}

/* A handler with a marker interrupts markers, and leaves by a jump. */
static void signals(int jump)
{
	struct itimerval often = { { 0, 100 }, { 0, 100 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction action;
	struct arena arena;
	volatile unsigned long done = 0;

	memset(&action, 0, sizeof action);
	action.sa_handler = handler;
	action.sa_flags = jump ? SA_NODEFER : 0;
	arena_init(&arena, memory + (1 << 19), 1 << 19);
	sigaction(SIGALRM, &action, NULL);
	if (jump && sigsetjmp(back, 1))
		jumps++;
	jumping = jump;
	setitimer(ITIMER_REAL, &often, NULL);
	while (done < 1000000) {
		ARENASCOPE_ALLOC(&arena, memory + (1 << 19) + (done & 4095) * 8, 8);
		done++;
	}
	jumping = 0;
	setitimer(ITIMER_REAL, &never, NULL);
	printf("allocs %lu jumps %lu\n", done + in_handler, jumps);
}

static void forks(void)
{
	struct arena arena;
	int i;

	arena_init(&arena, memory, 65536);
	for (i = 0; i < 3; i++)
		arena_alloc(&arena, 8);
	print_told("both");
	if (fork() == 0) {
		for (i = 0; i < 7; i++)
			arena_alloc(&arena, 8);
		arena_reset(&arena);
		_exit(0);
	}
	wait(NULL);
	arena_alloc(&arena, 8);
}

/* A block is given back twice; not with -DMENDED. */
static void planted(void)
{
	struct arena arena;
	char *first, *second;

	arena_init(&arena, memory, 4096);
	first = arena_alloc(&arena, 32); /* ALLOCATED */
	second = arena_alloc(&arena, 32);
	strcpy(first, "first");
	strcpy(second, "second");
	printf("%s %s\n", first, second);
	arena_free(&arena, first); /* FIRST FREE */
	arena_free(&arena, second);
#ifndef MENDED
	arena_free(&arena, first); /* SECOND FREE */
#endif
	arena_destroy(&arena);
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "roles";

	if (!strcmp(what, "roles"))
		roles();
	else if (!strcmp(what, "registers"))
		registers();
	else if (!strcmp(what, "threads"))
		threads(4);
	else if (!strcmp(what, "thread"))
		threads(1);
	else if (!strcmp(what, "signals"))
		signals(0);
	else if (!strcmp(what, "jumps"))
		signals(1);
	else if (!strcmp(what, "fork"))
		forks();
	else if (!strcmp(what, "planted"))
		planted();
	print_told("told");
	return 0;
}
