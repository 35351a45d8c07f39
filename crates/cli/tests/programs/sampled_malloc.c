// Four threads take and free blocks of malloc, by all ways there are; a twentieth of them lives on. Prints bytes asked for, calls, and
// living bytes. A realloc counts as a new block of its size.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct counts {
    size_t bytes, blocks, living;
};

static void *work(void *argument)
{
    struct counts *counts = argument;
    static __thread void *kept[10000];
    size_t next = 0;
    for (int i = 0; i < 100000; i++) {
        size_t size = 16 + i * 31 % 700;
        void *block = NULL;
        switch (i % 4) {
        case 0: block = malloc(size); break;
        case 1: block = calloc(1, size); break;
        case 2: block = aligned_alloc(64, size &= ~(size_t)15); break;
        case 3:
            block = malloc(size);
            counts->bytes += size;
            counts->blocks++;
            size *= 2;
            block = realloc(block, size);
            break;
        }
        counts->bytes += size;
        counts->blocks++;
        if (i % 20 == 7) {
            kept[next++ % 10000] = block;
            counts->living += size;
        } else {
            free(block);
        }
    }
    return NULL;
}

int main(void)
{
    pthread_t threads[4];
    static struct counts counts[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, work, &counts[i]);
    struct counts sum = { 0, 0, 0 };
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        sum.bytes += counts[i].bytes;
        sum.blocks += counts[i].blocks;
        sum.living += counts[i].living;
    }
    fprintf(stderr, "%zu %zu %zu\n", sum.bytes, sum.blocks, sum.living);
    return 0;
}
