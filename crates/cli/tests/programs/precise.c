/* A bump arena over one mapping, a free list beside it, and what reads and writes go wrong in their blocks. FAULT chooses:
 * 0 nothing, 1 reads one byte past the end of block 2, 2 writes it, 3 reads after reset, 4 reads after rewind, 5 reads a
 * freed node, 6 branches on a byte of a reused block that nobody wrote, 7 reads one byte before block 2, 8 reads by an old
 * pointer after a resize that moved the block.
 * Each fault has its twin in the same program without FAULT: the same calls, the access inside living, written bytes.
 * Expect under --precise: 1, 2 overflow, 3 use-after-reset, 4 use-after-rewind, 5 use-after-free, 6 stale-bytes, 7 underflow,
 * 8 stale-pointer-after-resize; 0 silent, though it reads zeros that the mapping, a clearing reset and a clearing alloc gave. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef FAULT
#define FAULT 0
#endif
#define CALLED __attribute__((noinline, noclone))

typedef struct Arena { char *base; size_t at, cap; } Arena;
typedef struct Node { struct Node *next; char text[24]; } Node;

static Node *freed;

CALLED void arena_open(Arena *a, size_t cap)
{
    a->base = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    a->cap = cap;
    a->at = 0;
}

CALLED void *arena_alloc(Arena *a, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    if (a->cap - a->at < size)
        return NULL;
    void *block = a->base + a->at;
    a->at += size;
    return block;
}

CALLED void *arena_zalloc(Arena *a, size_t size)
{
    void *block = arena_alloc(a, size);
    return block ? memset(block, 0, size) : NULL;
}

CALLED void *arena_resize(Arena *a, void *old, size_t before, size_t size)
{
    void *block = arena_alloc(a, size);
    return block ? memcpy(block, old, before < size ? before : size) : NULL;
}

CALLED size_t arena_mark(Arena *a) { __asm__ volatile("" ::: "memory"); return a->at; }
CALLED void arena_rewind(Arena *a, size_t mark) { __asm__ volatile("" ::: "memory"); a->at = mark; }
CALLED void arena_reset(Arena *a) { __asm__ volatile("" ::: "memory"); a->at = 0; }
CALLED void arena_clear(Arena *a) { memset(a->base, 0, a->at); a->at = 0; }
CALLED void arena_close(Arena *a) { munmap(a->base, a->cap); a->base = NULL; }

CALLED void *node_new(Arena *a, size_t size)
{
    Node *node = freed;
    if (node)
        freed = node->next;
    else
        node = arena_alloc(a, size);
    return node;
}

CALLED void node_free(Arena *a, Node *node)
{
    (void)a;
    node->next = freed;
    freed = node;
}

int main(void)
{
    Arena a;
    volatile int sum = 0;
    arena_open(&a, 1 << 16);
    char *one = arena_alloc(&a, 32);
    char *two = arena_alloc(&a, 30);
    char *three = arena_alloc(&a, 40);
    sum += one[5]; /* never written, and never anybody's: the mapping's zeros */
    memset(one, '1', 32);
    memset(two, '2', 30);
    memset(three, '3', 40);
#if FAULT == 1
    sum += two[30]; /* TOUCH */
#elif FAULT == 2
    two[30] = 'A'; /* TOUCH */
#elif FAULT == 7
    sum += two[-1]; /* TOUCH */
#else
    sum += two[29] + three[0];
#endif
    size_t mark = arena_mark(&a);
    char *four = arena_alloc(&a, 48);
    memset(four, '4', 48);
    sum += four[47];
    arena_rewind(&a, mark); /* DIED */
#if FAULT == 4
    sum += four[3]; /* TOUCH */
#endif
    char *five = arena_alloc(&a, 24);
#if FAULT != 6
    memset(five, '5', 24);
#endif
    if (five[7] == '4') /* STALE */
        sum++;
    char *six = arena_zalloc(&a, 64);
    if (six[63])
        sum++;
    arena_reset(&a); /* EMPTIED */
#if FAULT == 3
    sum += two[5]; /* TOUCH */
#endif
    char *seven = arena_alloc(&a, 100);
    memset(seven, '7', 100);
    char *eight = arena_resize(&a, seven, 100, 200);
#if FAULT == 8
    sum += seven[9]; /* TOUCH */
#endif
    sum += eight[9];
    eight[199] = 1;
    arena_clear(&a);
    char *nine = arena_alloc(&a, 100);
    if (nine[50]) /* cleared by the reset */
        sum++;
    arena_close(&a);

    Arena b;
    arena_open(&b, 1 << 16);
    Node *first = node_new(&b, sizeof *first), *second = node_new(&b, sizeof *second);
    strcpy(first->text, "first");
    strcpy(second->text, "second");
    first->next = second;
    node_free(&b, first);
#if FAULT == 5
    sum += first->text[2]; /* TOUCH */
#endif
    Node *third = node_new(&b, sizeof *third);
    strcpy(third->text, "third");
    printf("%s %s %d\n", second->text, third->text, sum != 0);
    arena_close(&b);
    return 3;
}
