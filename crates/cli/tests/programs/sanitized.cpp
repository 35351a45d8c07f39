// For the sanitizers, as C and as C++: an arena on malloc, used rightly. With an argument also a block of malloc that is
// lost and a signed overflow: what the runtime says about that must not change because we are there.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>

typedef struct {
    char *base;
    size_t cap, off;
} Arena;

static void arena_init(Arena *a, size_t n)
{
    a->base = (char *)malloc(n);
    a->cap = n;
    a->off = 0;
}

__attribute__((noinline)) static void *arena_alloc(Arena *a, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (a->off + n > a->cap)
        return NULL;
    void *p = a->base + a->off;
    a->off += n;
    return p;
}

static void arena_free(Arena *a)
{
    free(a->base);
    a->base = NULL;
}

int main(int count, char **arguments)
{
    Arena arena;
    const char *preload = getenv("LD_PRELOAD");
    arena_init(&arena, 4096);
    char *p = (char *)arena_alloc(&arena, 10), *q = (char *)arena_alloc(&arena, 20);
    p[0] = 1;
    q[0] = 2;
    printf("%d %s\n", p[0] + q[0], preload ? preload : "none");
    fflush(stdout);
    arena_free(&arena);
    if (count == 2 && arguments[1][0] == 'e')
        execl(arguments[0], arguments[0], (char *)NULL);
    if (count == 2) {
        int *volatile lost = (int *)malloc(40);
        volatile int most = 0x7fffffff;
        printf("%d\n", lost != NULL && most + 1 < 0);
        lost = NULL;
    }
    return 0;
}
