// Eight threads, each with blocks of its own and blocks that others allocated. At the end every living block is printed with
// the arena that its own chunk header names, and what malloc_info says of all arenas: both read without anybody's help.
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 8
#define KEPT 40
#define ROUNDS 3000

static void *exchange[256];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all;

static struct kept {
    char *block;
    size_t size;
} kept[THREADS + 1][KEPT];

static unsigned next(unsigned *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void *swap(unsigned at, void *mine)
{
    pthread_mutex_lock(&lock);
    void *theirs = exchange[at % 256];
    exchange[at % 256] = mine;
    pthread_mutex_unlock(&lock);
    return theirs;
}

static char *fresh(unsigned random, size_t size)
{
    switch (random % 5) {
    case 0: return calloc(size, 1);
    case 1: return realloc(malloc(size / 2 + 1), size);
    case 2: {
        void *block = NULL;
        return posix_memalign(&block, 64, size) == 0 ? block : NULL;
    }
    case 3: return memalign(32, size);
    default: return malloc(size);
    }
}

static void *work(void *argument)
{
    unsigned number = (unsigned)(uintptr_t)argument, state = number * 7919u + 1;
    pthread_barrier_wait(&all);
    for (int i = 0; i < ROUNDS; i++)
        free(swap(next(&state), fresh(next(&state), 1 + next(&state) % 700)));
    for (int i = 0; i < KEPT; i++) {
        size_t size = i == 7 ? 300000 : 1 + next(&state) % 3000;
        kept[number][i] = (struct kept){fresh(next(&state), size), size};
        memset(kept[number][i].block, 'k', size);
    }
    pthread_barrier_wait(&all);
    return NULL;
}

static void tell(void *block, size_t size)
{
    size_t word = ((size_t *)block)[-1];
    if (word & 2)
        printf("block %p %zu mapped\n", block, size);
    else if (word & 4)
        printf("block %p %zu %p\n", block, size, *(void **)((uintptr_t)block & ~(((uintptr_t)64 << 20) - 1)));
    else
        printf("block %p %zu main\n", block, size);
}

int main(void)
{
    static char room[1 << 16];
    pthread_t threads[THREADS];
    setvbuf(stdout, room, _IOFBF, sizeof room);
    pthread_barrier_init(&all, NULL, THREADS);
    for (int i = 0; i < KEPT; i++)
        kept[THREADS][i] = (struct kept){malloc(100), 100};
    for (uintptr_t i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 256; i++)
        free(exchange[i]);
    for (int i = 0; i <= THREADS; i++)
        for (int k = 0; k < KEPT; k++)
            tell(kept[i][k].block, kept[i][k].size);
    malloc_info(0, stdout);
    return 0;
}
