/* A bump arena and what goes wrong in its blocks. FAULT chooses: 0 nothing, 1 one byte past the end of block 2,
 * 2 one byte before block 3, 3 a write after reset, 4 a write after rewind, 5 a read after the arena was unmapped,
 * 6 a long overflow over the next block, 7 fills the arena to its last byte, 8 a write after reset that nothing follows.
 * Expect under --check: 1 overflow, 2 underflow, 3 and 8 use-after-reset, 4 use-after-rewind, 5 use-after-unmap (also
 * without), 6 overflow; 0 and 7 silent, and every refusal is one that the program gets without us too. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef FAULT
#define FAULT 0
#endif
#define CALLED __attribute__((noinline, noclone))

typedef struct Arena { char *base; size_t at, cap; } Arena;

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

CALLED size_t arena_mark(Arena *a) { __asm__ volatile("" ::: "memory"); return a->at; }
CALLED void arena_rewind(Arena *a, size_t mark) { __asm__ volatile("" ::: "memory"); a->at = mark; }
CALLED void arena_reset(Arena *a) { __asm__ volatile("" ::: "memory"); a->at = 0; }
CALLED void arena_close(Arena *a) { munmap(a->base, a->cap); a->base = NULL; }

int main(void)
{
    Arena a;
    arena_open(&a, 4096);
    char *one = arena_alloc(&a, 32);
    char *two = arena_alloc(&a, 32);
    char *three = arena_alloc(&a, 32);
    memset(one, '1', 32);
    memset(two, '2', 32);
    memset(three, '3', 32);
#if FAULT == 1
    two[32] = 'A'; /* TOUCH */
#elif FAULT == 2
    three[-1] = 'B'; /* TOUCH */
#elif FAULT == 6
    memset(one, 'C', 80); /* TOUCH */
#endif
    char *four = arena_alloc(&a, 100);
    memset(four, '4', 100);
    size_t mark = arena_mark(&a);
    char *five = arena_alloc(&a, 48);
    memset(five, '5', 48);
    arena_rewind(&a, mark);
#if FAULT == 4
    five[3] = 'D'; /* TOUCH */
#endif
    char *six = arena_alloc(&a, 24);
    memset(six, '6', 24);
    printf("%c%c%c%c%c\n", one[0], two[31], three[0], four[99], six[23]);
    arena_reset(&a); /* RESET */
#if FAULT == 3
    two[5] = 'E'; /* TOUCH */
#endif
#if FAULT == 8
    three[5] = 'F'; /* TOUCH */
    arena_close(&a);
    puts("end");
    return 0;
#endif
    char *seven = arena_alloc(&a, 1000);
    memset(seven, '7', 1000);
#if FAULT == 7
    int blocks = 0;
    for (char *more; (more = arena_alloc(&a, 16)) != NULL; blocks++)
        memset(more, 'm', 16);
    printf("%d more\n", blocks > 0);
    arena_reset(&a);
    char *all = arena_alloc(&a, 4096);
    memset(all, 'a', 4096);
    arena_reset(&a);
    char *half = arena_alloc(&a, 2048), *rest = arena_alloc(&a, 2048);
    printf("%d %d\n", half != NULL, rest != NULL);
    memset(rest, 'r', 2048);
#endif
    arena_close(&a);
#if FAULT == 5
    printf("%c\n", seven[7]); /* TOUCH */
#endif
    puts("end");
    return 0;
}
