/* A program on our library that counts what it does. */
#include <arenascope.h>
#include <stdio.h>
#include <string.h>

static unsigned long creates, allocs, frees, resizes, marks, rewinds, resets;

static ascope_arena *begin(size_t capacity)
{
    creates++;
    return ascope_init_named("lines", capacity); /* the arena */
}

int main(void)
{
    for (int round = 0; round < 50; round++) {
        ascope_arena *arena = begin(4096);
        for (int i = 0; i < 30; i++) {
            char *block = ascope_alloc(arena, 20 + i); /* a block */
            memset(block, 'x', 20 + i);
            allocs++;
        }
        ascope_marker mark = ascope_mark(arena); /* the mark */
        marks++;
        char *copy = ascope_strdup(arena, "a text");
        allocs++;
        copy = ascope_realloc(arena, copy, 7, 40);
        resizes++;
        ascope_free(arena, copy, 40);
        frees++;
        if (ascope_rewind(arena, mark) != ASCOPE_OK)
            return 1;
        rewinds++;
        ascope_reset(arena); /* the reset */
        resets++;
        if (ascope_alloc(arena, 5000) != NULL)
            return 2;
        allocs++;
        ascope_destroy(arena);
    }
    printf("creates %lu allocs %lu frees %lu resizes %lu scopes 0 marks %lu rewinds %lu resets %lu\n", creates, allocs, frees,
           resizes, marks, rewinds, resets);
    return 0;
}
