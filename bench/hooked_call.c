/* What one watched allocation costs. Eight frames deep, the loop calls an allocator of five instructions; the program
 * measures itself and prints nanoseconds per call, one batch a line. Run by `cargo xtask bench`, watched and not, by turns.
 * Build with -O2 -fno-omit-frame-pointer, so that a backtrace has eight frames to walk.
 * Arguments: batches, calls per batch, and "sites" to call from 64 different places instead of one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define NOINLINE __attribute__((noinline, noclone))

struct arena { char *base; size_t offset, capacity; };

NOINLINE void *take(struct arena *a, size_t size)
{
	char *block = a->base + a->offset;

	if (size > a->capacity - a->offset)
		return NULL;
	a->offset += size;
	return block;
}

/* The result is looked at, the memory is not touched: page faults are not what is measured. */
#define USE(block) __asm__ volatile("" :: "r"(block))

NOINLINE static void one_place(struct arena *a, long calls)
{
	for (long i = 0; i < calls; i++) {
		if (a->offset + 16 > a->capacity)
			a->offset = 0;
		USE(take(a, 16));
	}
}

#define CALL USE(take(a, 16));
#define CALL8 CALL CALL CALL CALL CALL CALL CALL CALL
NOINLINE static void many_places(struct arena *a, long calls)
{
	for (long i = 0; i < calls; i += 64) {
		if (a->offset + 64 * 16 > a->capacity)
			a->offset = 0;
		CALL8 CALL8 CALL8 CALL8 CALL8 CALL8 CALL8 CALL8
	}
}

static void (*body)(struct arena *, long) = one_place;

/* The asm after each call keeps it from becoming a jump, which would leave no frame. */
#define FRAME(name, inner) \
	NOINLINE static void name(struct arena *a, long calls) { inner(a, calls); __asm__ volatile(""); }
NOINLINE static void frame1(struct arena *a, long calls) { body(a, calls); __asm__ volatile(""); }
FRAME(frame2, frame1)
FRAME(frame3, frame2)
FRAME(frame4, frame3)
FRAME(frame5, frame4)
FRAME(frame6, frame5)

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
	long batches = argc > 1 ? atol(argv[1]) : 20, calls = argc > 2 ? atol(argv[2]) : 128000;
	struct arena a = { NULL, 0, 1 << 20 };

	a.base = mmap(NULL, a.capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a.base == MAP_FAILED)
		return 1;
	if (argc > 3 && strcmp(argv[3], "sites") == 0)
		body = many_places;
	/* main, six frames and the body: eight return addresses above take(). */
	for (long i = 0; i < batches; i++) {
		double start = now_ns();
		frame6(&a, calls);
		printf("%.3f\n", (now_ns() - start) / (double)calls);
	}
	return 0;
}
