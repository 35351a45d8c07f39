// Shared with a child, no create, no destroy, an atomic cursor.
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct shared { _Atomic unsigned long cursor; unsigned long size; char *base; } shared;

char *s_alloc(shared *s, unsigned long n) {
    unsigned long at = atomic_fetch_add(&s->cursor, n);
    if (at + n > s->size) return 0;
    return s->base + at;
}

int main(void) {
    shared *s = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    s->base = (char *)s;
    s->cursor = sizeof *s;
    s->size = 8192;
    char *a = s_alloc(s, 64);
    a[0] = 'p';
    if (fork() == 0) {
        char *b = s_alloc(s, 32);
        b[0] = 'c';
        _exit(0);
    }
    wait(0);
    printf("%c %lu\n", a[0], (unsigned long)s->cursor);
    return 0;
}
