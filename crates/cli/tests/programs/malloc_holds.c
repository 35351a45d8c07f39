// A hand-made arena whose memory is one block of malloc. It moves once, by realloc, and a second one is freed.
#include <stdio.h>
#include <stdlib.h>

struct pool {
    char *base;
    size_t used, size;
};

__attribute__((noinline)) void pool_init(struct pool *pool, size_t size)
{
    pool->base = malloc(size);
    pool->used = 0;
    pool->size = size;
}

__attribute__((noinline)) void *pool_alloc(struct pool *pool, size_t size)
{
    if (pool->base == NULL || pool->size - pool->used < size)
        return NULL;
    pool->used += size;
    return pool->base + pool->used - size;
}

int main(void)
{
    static struct pool parser, dead;
    free(malloc(50));
    char *before = malloc(100);
    pool_init(&parser, 4096);
    pool_init(&dead, 8192);
    char *after = malloc(200);
    char *first = pool_alloc(&parser, 32);
    char *gone = pool_alloc(&dead, 64);
    char *second = pool_alloc(&parser, 48);
    int all = first && second && gone && before && after;
    free(dead.base);
    // Bound to move: another block lies behind it.
    parser.base = realloc(parser.base, 20000);
    char *third = pool_alloc(&parser, 16);
    printf("%d %td\n", all, third - parser.base);
    return 0;
}
