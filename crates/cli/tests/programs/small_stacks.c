/* Arena calls, the first ones of all, on stacks as small as programs dare: each ends at an inaccessible page. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

typedef struct {
    char *base;
    size_t cap, off;
} Arena;

static char memory[1 << 20];
static Arena arena;
static ucontext_t outside, inside;
static char *volatile kept;

__attribute__((noinline, noclone)) void *arena_alloc(Arena *a, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (a->off + n > a->cap)
        return NULL;
    void *p = a->base + a->off;
    a->off += n;
    return p;
}

__attribute__((noinline, noclone)) void arena_reset(Arena *a)
{
    a->off = 0;
}

static void handler(int signal)
{
    (void)signal;
    kept = arena_alloc(&arena, 16);
    kept[0] = 1;
}

static void coroutine(void)
{
    for (;;) {
        kept = arena_alloc(&arena, 24);
        if (!kept)
            arena_reset(&arena);
        swapcontext(&inside, &outside);
    }
}

/* The highest `bytes` of a page-aligned area above an inaccessible page. */
static char *stack(size_t bytes)
{
    size_t whole = (bytes + 4095) & ~(size_t)4095;
    char *area = mmap(NULL, whole + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(area + 4096, whole, PROT_READ | PROT_WRITE);
    return area + 4096;
}

int main(int count, char **arguments)
{
    size_t bytes = count > 2 ? (size_t)atol(arguments[2]) : 8192;
    int signals = count > 1 && arguments[1][0] == 's';
    arena.base = memory;
    arena.cap = sizeof memory;
    if (signals) {
        stack_t alternate = {.ss_sp = stack(bytes), .ss_size = bytes};
        struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
        if (sigaltstack(&alternate, NULL) != 0)
            return 1;
        sigaction(SIGUSR1, &action, NULL);
        for (int i = 0; i < 1000; i++)
            raise(SIGUSR1);
    } else {
        getcontext(&inside);
        inside.uc_stack.ss_sp = stack(bytes);
        inside.uc_stack.ss_size = bytes;
        makecontext(&inside, coroutine, 0);
        /* 50,000 blocks: several segments of the trace are begun here. */
        for (int i = 0; i < 50000; i++)
            swapcontext(&outside, &inside);
    }
    printf("%zu %zu\n", bytes, arena.off);
    return 0;
}
