/* Three correct ways to use blocks whose addresses nobody keeps; with -DLOST one block is really lost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct { char *mem; size_t cap, pos; char *last; } Stack;

#define CALLED __attribute__((noinline, noclone))

CALLED void stack_open(Stack *s, size_t cap)
{
    s->mem = mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    s->cap = cap;
    s->pos = 0;
    s->last = NULL;
}

CALLED void *stack_push(Stack *s, size_t size)
{
    if (s->cap - s->pos < size) return NULL;
    s->last = s->mem + s->pos;
    s->pos += size;
    return s->last;
}

CALLED void stack_close(Stack *s)
{
    munmap(s->mem, s->cap);
    s->mem = NULL;
}

int main(void)
{
    Stack s;
    stack_open(&s, 1 << 16);
    /* An array that grows by calls. */
    int *squares = stack_push(&s, sizeof *squares);
    squares[0] = 0;
    for (int i = 1; i < 100; i++) {
        stack_push(&s, sizeof *squares);
        squares[i] = i * i % 10;
    }
    /* An object built step by step. */
    char *text = stack_push(&s, 4);
    memcpy(text, "abc", 4);
    stack_push(&s, 12);
    strcpy(text + 3, "defghijkl");
    /* The allocator keeps the address too. */
    stack_push(&s, 32);
    strcpy(s.last, "by another pointer");
#ifdef LOST
    stack_push(&s, 48); /* LOST */
#endif
    char *end = stack_push(&s, 8);
    strcpy(end, "end");
    printf("%d %s %s %s\n", squares[99], text, s.mem + s.pos - 40, end);
    stack_close(&s);
    return 0;
}
