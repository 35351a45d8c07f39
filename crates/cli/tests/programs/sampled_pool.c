// A pool by hand, with an alloc that does its work by another one, resets, single frees, and blocks larger than the distance between
// samples. Prints what it allocated: bytes, blocks, bytes of the large ones, and what lives at the end.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pool {
    char *base;
    size_t used, size, given_back;
};

static size_t bytes, blocks, large, living;

__attribute__((noinline)) void *pool_alloc(struct pool *pool, size_t size)
{
    size_t need = (size + 7) & ~(size_t)7;
    if (pool->size - pool->used < need)
        return NULL;
    void *block = pool->base + pool->used;
    pool->used += need;
    return block;
}

__attribute__((noinline)) void *pool_zalloc(struct pool *pool, size_t size)
{
    void *block = pool_alloc(pool, size);
    return block ? memset(block, 0, size) : NULL;
}

__attribute__((noinline)) void pool_reset(struct pool *pool)
{
    pool->used = 0;
}

__attribute__((noinline)) void pool_free(struct pool *pool, void *block)
{
    // Long enough to be hooked.
    *(volatile char *)block = 0;
    pool->given_back++;
}

static void take(struct pool *pool, size_t size, int how)
{
    char *block = how ? pool_zalloc(pool, size) : pool_alloc(pool, size);
    bytes += size;
    blocks++;
    living += size;
    if (size >= 65536)
        large += size;
    if (how == 2) {
        pool_free(pool, block);
        living -= size;
    }
}

int main(void)
{
    struct pool pool = { malloc(64 << 20), 0, 64 << 20, 0 };
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 10000; i++)
            take(&pool, 8 + i * 37 % 400, i % 3);
        take(&pool, 65536 + round * 100, 0);
        pool_reset(&pool);
        living = 0;
    }
    for (int i = 0; i < 40000; i++)
        take(&pool, 8 + i * 37 % 400, i % 3);
    printf("%zu %zu %zu %zu\n", bytes, blocks, large, living);
    return 0;
}
