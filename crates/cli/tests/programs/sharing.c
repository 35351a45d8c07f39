/* Eight threads, one arena, blocks of 16 bytes. By the first argument the arena is used
 *   race      without a lock: unsynchronised-sharing, certain
 *   outer     under a lock of the callers: no finding
 *   inner     through a function that locks inside: no finding
 *   atomic    through a function that adds atomically: no finding
 *   parts     with a cursor for each thread in one object: no finding
 *   turns     by one thread after the other: no finding
 * The second argument is how many blocks each thread takes. Exit 0. Build with -pthread. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define THREADS 8
#define CAPACITY (1 << 24)
#define NOINLINE __attribute__((noinline))

typedef struct {
	char *base;
	size_t offset, capacity, parts[THREADS];
	pthread_mutex_t lock;
} t_arena;

static t_arena arena = {.lock = PTHREAD_MUTEX_INITIALIZER};
static pthread_mutex_t callers = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t start;
static const char *how;
static int blocks;

NOINLINE void arena_init(t_arena *a, size_t size)
{
	a->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a->base == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	a->capacity = size;
}

NOINLINE void *plain_alloc(t_arena *a, size_t size)
{
	size_t offset = a->offset;

	if (offset + size > a->capacity)
		return NULL;
	if (offset % 1024 == 0)
		sched_yield();
	a->offset = offset + size; /* between the read and this line the other threads are */
	return a->base + offset;
}

NOINLINE void *locked_alloc(t_arena *a, size_t size)
{
	pthread_mutex_lock(&a->lock);
	void *block = a->base + a->offset;
	a->offset += size;
	pthread_mutex_unlock(&a->lock);
	return block;
}

NOINLINE void *atomic_alloc(t_arena *a, size_t size)
{
	return a->base + __atomic_fetch_add(&a->offset, size, __ATOMIC_RELAXED);
}

NOINLINE void *part_alloc(t_arena *a, int thread, size_t size)
{
	size_t offset = a->parts[thread];

	a->parts[thread] = offset + size;
	return a->base + (size_t)thread * (CAPACITY / THREADS) + offset;
}

static void *take(int thread)
{
	void *block;

	switch (how[0]) {
	case 'o':
		pthread_mutex_lock(&callers);
		block = plain_alloc(&arena, 16);
		pthread_mutex_unlock(&callers);
		return block;
	case 'i':
		return locked_alloc(&arena, 16);
	case 'a':
		return atomic_alloc(&arena, 16);
	case 'p':
		return part_alloc(&arena, thread, 16);
	default:
		return plain_alloc(&arena, 16); /* the race */
	}
}

static void *work(void *number)
{
	int thread = (int)(long)number;

	if (how[0] != 't')
		pthread_barrier_wait(&start);
	for (int i = 0; i < blocks; i++) {
		char *block = take(thread);
		if (block)
			memset(block, 'a' + thread, 16);
	}
	return NULL;
}

int main(int count, char **words)
{
	pthread_t threads[THREADS];

	how = count > 1 ? words[1] : "race";
	blocks = count > 2 ? atoi(words[2]) : 2000;
	arena_init(&arena, CAPACITY);
	pthread_barrier_init(&start, NULL, THREADS);
	for (long i = 0; i < THREADS; i++) {
		if (pthread_create(&threads[i], NULL, work, (void *)i) != 0)
			return 2;
		if (how[0] == 't')
			pthread_join(threads[i], NULL);
	}
	for (int i = 0; i < THREADS; i++)
		if (how[0] != 't')
			pthread_join(threads[i], NULL);
	return 0;
}
