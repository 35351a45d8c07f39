/* Correct, and of unusual style: threads, handles that take each other's blocks, arenas that move between threads, places that are used again at
 * once, buffers, pools, forks, jumps, huge alignments. Nothing is to be found in it. */
#include <arenascope.h>
#include <arenascope_shared.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/time.h>
#include <unistd.h>
#include <setjmp.h>

static ascope_shared *shared;
static void *volatile sink;

/* threads: each with arenas of its own, made here and ended there */
static void *worker(void *arg)
{
    uintptr_t seed = (uintptr_t)arg;
    for (int round = 0; round < 200; round++) {
        ascope_arena *a = round % 3 ? ascope_growing() : ascope_init_named("mine", 3000 + seed * 64);
        char *last = NULL;
        size_t size = 0;
        for (int i = 0; i < 20; i++) {
            ascope_marker m = ascope_mark(a);
            char *p = ascope_alloc(a, 1 + (seed * 7 + i * 13) % 90);
            if (p == NULL) break;
            memset(p, 'x', 1 + (seed * 7 + i * 13) % 90);
            if (i % 4 == 1) ascope_rewind(a, m);
            if (i % 4 == 2) { ascope_free(a, p, 1 + (seed * 7 + i * 13) % 90); }
            char *v = ascope_alloc(a, 0);
            ascope_free(a, v, 0);
            last = ascope_realloc(a, last, size, size + 17);
            if (last) { memset(last + size, 'y', 17); size += 17; } else { size = 0; }
            if (i % 7 == 6) { ascope_reset(a); last = NULL; size = 0; }
        }
        char *s = ascope_printf(a, "%d %s", round, "text");
        sink = s;
        char *d = ascope_strdup(a, "dup");
        if (d) ascope_free(a, d, 4);
        ascope_destroy(a);
    }
    /* shared: two handles in one thread, blocks given to each other */
    ascope_arena *h1 = ascope_local(shared), *h2 = ascope_local(shared);
    for (int i = 0; i < 100; i++) {
        char *p = ascope_alloc(h1, 40);
        memset(p, 's', 40);
        ascope_free(h2, p, 40);
        char *q = ascope_alloc(h1, 24);
        memset(q, 't', 24);
        q = ascope_realloc(h2, q, 24, 80);
        if (q) memset(q, 'u', 80);
    }
    ascope_local_end(h2);
    ascope_local_end(h1);
    return NULL;
}

/* an arena that moves from thread to thread */
static void *consume(void *arg)
{
    ascope_arena *a = arg;
    char *p = ascope_alloc(a, 100);
    memset(p, 'c', 100);
    ascope_destroy(a);
    return NULL;
}

static void bad_order(void)
{
    /* an arena whose header's place is used again at once */
    for (int i = 0; i < 300; i++) {
        ascope_arena *a = ascope_init(4096);
        ascope_arena *b = ascope_init(400000);
        char *p = ascope_alloc(a, 10), *q = ascope_alloc(b, 300000);
        memset(p, 1, 10);
        memset(q, 2, 300000);
        ascope_destroy(a);
        q = ascope_realloc(b, q, 300000, 350000);
        memset(q, 3, 350000);
        ascope_destroy(b);
    }
}

static char buffer[5000];
static void in_buffer(void)
{
    ascope_arena *a = ascope_in_buffer(buffer, sizeof buffer);
    char *p = ascope_alloc(a, 100);
    memset(p, 9, 100);
    ascope_destroy(a);
    memset(buffer, 0, sizeof buffer);
    a = ascope_in_buffer(buffer, sizeof buffer);
    p = ascope_alloc(a, 100);
    memset(p, 9, 100);
    ascope_destroy(a);
    memset(buffer, 0x41, sizeof buffer);
}

static void pools(void)
{
    ascope_options o = {ASCOPE_OPTIONS_INIT};
    o.capacity = 8192;
    ascope_pool *pool = ascope_pool_create(&o, 1 << 20, 8);
    for (int i = 0; i < 200; i++) {
        ascope_arena *a = ascope_pool_take(pool), *b = ascope_pool_take(pool);
        char *p = ascope_alloc(a, 64), *q = ascope_alloc(b, 640);
        memset(p, 5, 64);
        memset(q, 6, 640);
        ascope_pool_return(pool, a);
        ascope_pool_return(pool, b);
    }
    ascope_pool_destroy(pool);
}

static void forks(void)
{
    ascope_arena *a = ascope_init_named("inherited", 1 << 16);
    char *p = ascope_alloc(a, 1000);
    memset(p, 'f', 1000);
    for (int i = 0; i < 4; i++) {
        pid_t child = fork();
        if (child == 0) {
            char *q = ascope_alloc(a, 100);
            memset(q, 'g', 100);
            ascope_free(a, q, 100);
            ascope_reset(a);
            ascope_arena *own = ascope_growing();
            char *r = ascope_alloc(own, 9000);
            memset(r, 'h', 9000);
            ascope_destroy(own);
            ascope_destroy(a);
            ascope_arena *more = ascope_init(1 << 16);
            sink = ascope_alloc(more, 10);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    ascope_destroy(a);
}

static jmp_buf out;
static void unwinds(void)
{
    ascope_arena *a = ascope_growing_named("jumps");
    for (volatile int i = 0; i < 100; i++) {
        ascope_marker m = ascope_mark(a);
        if (setjmp(out) == 0) {
            char *p = ascope_alloc(a, 300);
            memset(p, 'j', 300);
            longjmp(out, 1);
        }
        ascope_rewind(a, m);
    }
    char *aligned = ascope_alloc_aligned(a, 100, 4096);
    memset(aligned, 1, 100);
    aligned = ascope_alloc_aligned(a, 100, 65536);
    memset(aligned, 1, 100);
    char *big = ascope_alloc(a, 3 << 20);
    memset(big, 1, 3 << 20);
    big = ascope_realloc(a, big, 3 << 20, 5 << 20);
    memset(big, 1, 5 << 20);
    ascope_free(a, big, 5 << 20);
    ascope_free(a, NULL, 0);
    ascope_destroy(a);
    ascope_destroy(NULL);
}

int main(void)
{
    shared = ascope_shared_growing();
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++) pthread_create(&t[i], NULL, worker, (void *)i);
    for (int i = 0; i < 100; i++) {
        ascope_arena *a = ascope_init_named("passed on", 8192);
        sink = memset(ascope_alloc(a, 50), 'm', 50);
        pthread_t c;
        pthread_create(&c, NULL, consume, a);
        pthread_join(c, NULL);
    }
    for (int i = 0; i < 4; i++) pthread_join(t[i], NULL);
    ascope_shared_reset(shared);
    ascope_shared_destroy(shared);
    bad_order();
    in_buffer();
    pools();
    forks();
    unwinds();
    puts("done");
    return 0;
}
