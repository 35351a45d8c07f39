/* A pool of slots of 128 bytes with a free list that lives in the freed slots. FAULT chooses: 0 nothing, 1 a write after
 * free, found when the slot is handed out again, 2 one byte past the end of a block, found when the block is freed.
 * Expect under --check: 1 use-after-free of block 2, 2 overflow of block 2, 0 silent and the same output. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef FAULT
#define FAULT 0
#endif
#define CALLED __attribute__((noinline, noclone))
enum { SLOT = 128 };

typedef struct Slot { struct Slot *next, *before; } Slot;
typedef struct Pool { char *base; size_t at, cap; Slot *freed; } Pool;

CALLED void pool_open(Pool *p, size_t cap)
{
    p->base = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p->cap = cap;
    p->at = 0;
    p->freed = NULL;
}

CALLED void *pool_alloc(Pool *p, size_t size)
{
    if (size > SLOT)
        return NULL;
    if (p->freed) {
        Slot *slot = p->freed;
        p->freed = slot->next;
        if (p->freed)
            p->freed->before = NULL;
        return slot;
    }
    if (p->cap - p->at < SLOT)
        return NULL;
    p->at += SLOT;
    return p->base + p->at - SLOT;
}

/* Writes into its neighbour on the list too, as doubly linked lists do. */
CALLED void pool_free(Pool *p, void *block)
{
    Slot *slot = block;
    slot->next = p->freed;
    slot->before = NULL;
    if (p->freed)
        p->freed->before = slot;
    p->freed = slot;
}

CALLED void pool_close(Pool *p) { munmap(p->base, p->cap); p->base = NULL; }

int main(void)
{
    Pool p;
    pool_open(&p, 4096);
    char *one = pool_alloc(&p, 40);
    char *two = pool_alloc(&p, 40);
    char *three = pool_alloc(&p, 100);
    memset(one, '1', 40);
    memset(two, '2', 40);
    memset(three, '3', 100);
#if FAULT == 2
    two[40] = 'A'; /* TOUCH */
#endif
    pool_free(&p, one);
    pool_free(&p, two); /* FREED */
#if FAULT == 1
    two[20] = 'B'; /* TOUCH */
#endif
    char *four = pool_alloc(&p, 40);
    char *five = pool_alloc(&p, 64);
    memset(four, '4', 40);
    memset(five, '5', 64);
    printf("%c%c%c %d%d\n", three[99], four[39], five[63], four == two, five == one);
    for (int round = 0; round < 100; round++) {
        char *blocks[8];
        for (int i = 0; i < 8; i++)
            memset(blocks[i] = pool_alloc(&p, 33 + i), i, 33 + i);
        for (int i = 0; i < 8; i++)
            pool_free(&p, blocks[(i * 3) % 8]);
    }
    pool_close(&p);
    puts("end");
    return 0;
}
