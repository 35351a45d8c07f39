// 📦 File: 08a_malloc_arenas_of_threads.c
// 🔬 Goal: Make malloc()'s own arenas visible: four threads, and which heap each of their blocks comes from
// 08b is this very program under MALLOC_ARENA_MAX=1

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <unistd.h>
#include <pthread.h>

#define THREADS 4
#define BLOCKS 3
#define BLOCK_SIZE 1000

// glibc gives a thread's arena heaps of 64 MiB, each at a multiple of 64 MiB. Nobody promises that: it is how it is.
#define HEAP_SIZE ((uintptr_t)64 << 20)

typedef struct s_worker
{
	int			number;
	pthread_t	thread;
	char		*block[BLOCKS];
}	t_worker;

static pthread_barrier_t	g_all_here;
static char					*g_heap_start;

static void	*work(void *argument)
{
	t_worker *w = argument;

	// A thread that ends gives its arena to the next one. So all begin before anyone allocates, and end after all did.
	pthread_barrier_wait(&g_all_here);
	for (int i = 0; i < BLOCKS; i++)
	{
		w->block[i] = malloc(BLOCK_SIZE);
		if (w->block[i] != NULL)
			snprintf(w->block[i], BLOCK_SIZE, "thread %d, block %d", w->number, i + 1);
	}
	pthread_barrier_wait(&g_all_here);
	return (NULL);
}

static const char	*home(const char *block)
{
	if (block >= g_heap_start && block < (char *)sbrk(0))
		return ("the main heap");
	return ("a heap of its own");
}

static uintptr_t	heap_of(const char *block)
{
	return ((uintptr_t)block & ~(HEAP_SIZE - 1));
}

int	main(void)
{
	t_worker	worker[THREADS];
	int			shared = 0;

	g_heap_start = malloc(BLOCK_SIZE);
	printf("📦 main: malloc(%d) → %p\n", BLOCK_SIZE, (void *)g_heap_start);
	pthread_barrier_init(&g_all_here, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
	{
		worker[i].number = i + 1;
		if (pthread_create(&worker[i].thread, NULL, work, &worker[i]) != 0)
			return (perror("pthread_create"), 1);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);

	for (int i = 0; i < THREADS; i++)
		printf("✅ thread %d: %d blocks, first at %p, in %s\n", worker[i].number, BLOCKS, (void *)worker[i].block[0],
			home(worker[i].block[0]));
	for (int i = 0; i < THREADS; i++)
		for (int k = 0; k < i; k++)
			shared += heap_of(worker[i].block[0]) == heap_of(worker[k].block[0]);
	printf("🧠 pairs of threads that share a heap: %d of %d\n", shared, THREADS * (THREADS - 1) / 2);

	// Freed by another thread than the one that asked: the block goes back to the arena it came from.
	for (int i = 0; i < THREADS; i++)
		for (int k = 0; k < BLOCKS; k++)
			free(worker[i].block[k]);
	free(g_heap_start);
	printf("🧹 main freed what the threads allocated\n");
	pthread_barrier_destroy(&g_all_here);
	return (0);
}
