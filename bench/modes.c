/* What each way of watching costs: pairs of alloc and free, twelve frames deep, through malloc or through a small pool of its own.
 *
 * The program measures itself and prints nanoseconds per pair, one batch a line, so that starting and finishing are not counted.
 * It pins itself to the last CPU: what a tool does in other processes may run beside it. 64 blocks live at any time and the oldest
 * is freed; sizes go from 16 to 271 bytes. Run by `cargo xtask bench modes`. Build with -O2 -fno-omit-frame-pointer, so that a
 * backtrace has twelve frames to walk, and -fno-builtin, so that malloc and free stay calls.
 * Arguments: "malloc" or "pool", batches, pairs per batch. */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline, noclone))

enum { CLASSES = 64, LIVING = 64 };

/* Sizes go up to multiples of 16; each has a list of what was freed. A block's class lies in the 16 bytes before it. */
struct head { struct head *next; size_t class; };
struct pool { char *base; size_t offset, capacity; struct head *given_back[CLASSES]; };

NOINLINE void *pool_alloc(struct pool *p, size_t size)
{
	size_t class = (size + 15) / 16;
	struct head *h;

	if (class >= CLASSES)
		return NULL;
	h = p->given_back[class];
	if (h != NULL) {
		p->given_back[class] = h->next;
		return h + 1;
	}
	if ((class + 1) * 16 > p->capacity - p->offset)
		return NULL;
	h = (struct head *)(p->base + p->offset);
	p->offset += (class + 1) * 16;
	h->class = class;
	return h + 1;
}

NOINLINE void pool_free(struct pool *p, void *block)
{
	struct head *h = (struct head *)block - 1;

	h->next = p->given_back[h->class];
	p->given_back[h->class] = h;
}

static struct pool pool = { NULL, 0, 1 << 20, { NULL } };
static char *living[LIVING];
static unsigned seed = 1;

/* The next size: the high bits of a linear congruence, the same in every run. */
static inline size_t next_size(void)
{
	seed = seed * 1103515245u + 12345u;
	return 16 + (seed >> 16 & 0xff);
}

NOINLINE static void with_malloc(long pairs)
{
	for (long i = 0; i < pairs; i++) {
		char **place = &living[i % LIVING];
		free(*place);
		*place = malloc(next_size());
		**place = 1;
	}
}

NOINLINE static void with_pool(long pairs)
{
	for (long i = 0; i < pairs; i++) {
		char **place = &living[i % LIVING];
		if (*place != NULL)
			pool_free(&pool, *place);
		*place = pool_alloc(&pool, next_size());
		**place = 1;
	}
}

static void (*body)(long) = with_malloc;

/* The asm after each call keeps it from becoming a jump, which would leave no frame. */
#define FRAME(name, inner) \
	NOINLINE static void name(long pairs) { inner(pairs); __asm__ volatile(""); }
FRAME(frame1, body)
FRAME(frame2, frame1)
FRAME(frame3, frame2)
FRAME(frame4, frame3)
FRAME(frame5, frame4)
FRAME(frame6, frame5)
FRAME(frame7, frame6)
FRAME(frame8, frame7)
FRAME(frame9, frame8)
FRAME(frame10, frame9)

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
	long batches = argc > 2 ? atol(argv[2]) : 5, pairs = argc > 3 ? atol(argv[3]) : 100000;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t last;

	CPU_ZERO(&last);
	CPU_SET(cpus > 0 ? cpus - 1 : 0, &last);
	sched_setaffinity(0, sizeof last, &last);
	if (argc > 1 && strcmp(argv[1], "pool") == 0)
		body = with_pool;
	pool.base = mmap(NULL, pool.capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pool.base == MAP_FAILED)
		return 1;
	/* main, ten frames and the body: twelve return addresses above the allocator. */
	for (long i = 0; i < batches; i++) {
		double start = now_ns();
		frame10(pairs);
		printf("%.3f\n", (now_ns() - start) / (double)pairs);
	}
	return 0;
}
