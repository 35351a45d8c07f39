// 2,500 threads, one after another, each with a block of malloc's and blocks of a pool: more than any table of threads holds. Prints how
// many blocks of the pool there were.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct pool {
    char *base;
    size_t used, size;
};

static char memory[1 << 20];
static struct pool pool = { memory, 0, sizeof memory };
static long blocks;

__attribute__((noinline)) void *pool_alloc(struct pool *pool, size_t size)
{
    if (pool->size - pool->used < size)
        return NULL;
    void *block = pool->base + pool->used;
    pool->used += size;
    return block;
}

static void *work(void *argument)
{
    free(malloc(200));
    for (int i = 0; i < 5; i++) {
        *(char *)pool_alloc(&pool, 8) = 1;
        blocks++;
    }
    return argument;
}

int main(void)
{
    for (int i = 0; i < 2500; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, NULL) || pthread_join(thread, NULL))
            return 1;
    }
    printf("%ld\n", blocks);
    return 0;
}
