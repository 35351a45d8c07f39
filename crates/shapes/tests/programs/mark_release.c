// Marks are offsets. `used` has the shape and the effect of a mark, and nobody goes back to what it returns.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct stack { unsigned char *mem; size_t top, limit; } stack_t_;

stack_t_ *m_make(size_t bytes) {
    stack_t_ *s = malloc(sizeof *s);
    if (!s) return NULL;
    s->mem = aligned_alloc(64, bytes);
    s->top = 0;
    s->limit = bytes;
    return s;
}

void *m_alloc(stack_t_ *s, size_t n) {
    size_t at = (s->top + 15) & ~(size_t)15;
    if (at + n > s->limit) return NULL;
    s->top = at + n;
    return s->mem + at;
}

size_t m_mark(stack_t_ *s) { return s->top; }
size_t m_used(stack_t_ *s) { return s->top; }
void m_release(stack_t_ *s, size_t to) { if (to <= s->top) s->top = to; }
void m_destroy(stack_t_ *s) { free(s->mem); free(s); }

static size_t work(stack_t_ *s, int depth) {
    size_t m = m_mark(s);
    char *p = m_alloc(s, 100);
    memset(p, depth, 100);
    size_t r = depth ? work(s, depth - 1) + (size_t)p[5] : 0;
    m_release(s, m);
    return r;
}

int main(void) {
    stack_t_ *s = m_make(65536);
    printf("%zu\n", work(s, 10));
    printf("%zu used\n", m_used(s));
    m_destroy(s);
    return 0;
}
