/* A thin layer over our library, as programs have one: its functions have the shape of an allocator of their own. With "keeps" it also counts
 * on the last block's staying in place when it is resized, as the library's manual says. */
#include <arenascope.h>
#include <stdio.h>
#include <string.h>

struct pool {
    ascope_arena *arena;
    unsigned long blocks;
};

__attribute__((noinline)) static void *pool_alloc(struct pool *pool, size_t size)
{
    pool->blocks++;
    return ascope_alloc(pool->arena, size);
}

__attribute__((noinline)) static void *pool_grow(struct pool *pool, void *block, size_t old, size_t size)
{
    return ascope_realloc(pool->arena, block, old, size);
}

__attribute__((noinline)) static void pool_clear(struct pool *pool)
{
    ascope_reset(pool->arena);
}

int main(int argc, char **argv)
{
    int keeps = argc > 1 && strcmp(argv[1], "keeps") == 0;
    struct pool pool = {ascope_init_named("läyer", 3000), 0};
    for (int round = 0; round < 5; round++) {
        size_t refused = 0;
        for (int i = 0; i < 30; i++) {
            char *block = pool_alloc(&pool, 40 + (size_t)i % 9);
            if (block == NULL) {
                refused++;
                continue;
            }
            memset(block, 'a' + i % 26, 40);
            char *grown = pool_grow(&pool, block, 40 + (size_t)i % 9, 90);
            if (grown != NULL)
                memset(keeps ? block : grown, 'z', 60);
            else
                refused++;
        }
        printf("%zu bytes, %zu refused, %lu blocks\n", ascope_offset(pool.arena), refused, pool.blocks);
        pool_clear(&pool);
    }
    ascope_destroy(pool.arena);
    return 0;
}
