/* Arenas of every kind, for those who look from outside. Prints what it has itself, as JSON on a line, and waits for a line on stdin:
 * "hard": its threads change arenas as fast as they can until stdin ends; "abort": it dies by SIGABRT; end of file: it exits.
 * With an argument: so many small arenas (else 1000). Built on libarenascope. */
#include <arenascope.h>
#include <arenascope_shared.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4 };

static _Alignas(128) char static_buffer[4096];
static ascope_shared *together;
static pthread_barrier_t held, done;
static atomic_int stop;
static atomic_long rounds;

static void *member(void *number)
{
    ascope_arena *local = ascope_local(together);
    for (long i = 0; local != NULL && i < 10 * ((long)number + 1); i++)
        if (ascope_alloc(local, 64) == NULL)
            abort();
    pthread_barrier_wait(&held);
    pthread_barrier_wait(&done);
    /* The hard part: an arena of its own that fills and empties, leases, and arenas that come and go. */
    ascope_arena *own = ascope_init_named("hard", 100000);
    while (!atomic_load(&stop)) {
        while (ascope_alloc(own, 24) != NULL) {
        }
        ascope_reset(own);
        for (int i = 0; i < 20; i++) {
            ascope_arena *brief = ascope_init_named("brief", (size_t)(100 + 500 * i));
            if (ascope_alloc(brief, 40) == NULL)
                abort();
            ascope_destroy(brief);
        }
        /* Its value is of no use to anybody. */
        if (local != NULL && ascope_alloc(local, 16) == NULL)
            local = NULL;
        atomic_fetch_add(&rounds, 1);
    }
    ascope_destroy(own);
    return NULL;
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? (size_t)atol(argv[1]) : 1000, used = 0, capacity = 0;
    ascope_arena **small = malloc(count * sizeof *small);
    for (size_t i = 0; i < count; i++) {
        small[i] = ascope_init_named("small", 100 + i % 3000);
        if (small[i] == NULL || ascope_alloc(small[i], 1 + i % 64) == NULL)
            abort();
        used += ascope_offset(small[i]);
        capacity += ascope_capacity(small[i]);
    }
    ascope_arena *big = ascope_growing_named("big");
    char *text = ascope_alloc(big, 3 << 20);
    memcpy(text, "read me from outside", 21);
    ascope_marker mark = ascope_mark(big);
    if (ascope_alloc(big, 5000) == NULL)
        abort();
    ascope_rewind(big, mark);

    char stack_buffer[2048];
    ascope_arena *buffers[] = {ascope_in_buffer(static_buffer, sizeof static_buffer),
                               ascope_in_buffer(malloc(10000), 10000),
                               ascope_in_buffer(stack_buffer, sizeof stack_buffer)};
    for (int i = 0; i < 3; i++)
        if (ascope_alloc(buffers[i], 100) == NULL)
            abort();

    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.name = "together";
    options.capacity = 16 << 20;
    together = ascope_shared_create(&options);
    pthread_barrier_init(&held, NULL, THREADS + 1);
    pthread_barrier_init(&done, NULL, THREADS + 1);
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, member, (void *)i);
    pthread_barrier_wait(&held);

    ascope_share *between = ascope_share_create(1 << 20);
    ascope_share_handle *handle = ascope_share_local(between);
    for (int i = 0; i < 50; i++)
        if (ascope_share_alloc(handle, 100, 8) == 0)
            abort();

    options.name = "secret";
    options.capacity = 5000;
    ascope_wiped *wiped = ascope_wiped_create(&options);
    if (wiped == NULL || ascope_alloc(ascope_wiped_arena(wiped), 100) == NULL)
        abort();

    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int i = 0; i < 7; i++)
            if (ascope_alloc(big, 1000) == NULL)
                abort();
        pause();
        _exit(0);
    }
    ascope_shared_use use = ascope_shared_stats(together);
    printf("{\"pid\":%d,\"child\":%d,\"small\":%zu,\"small_used\":%zu,\"small_capacity\":%zu,\"big_used\":%zu,"
           "\"big_base\":\"%p\",\"together_leased\":%llu,\"together_used\":%llu}\n",
           (int)getpid(), (int)child, count, used, capacity, ascope_offset(big), ascope_base(big),
           (unsigned long long)use.leased_bytes,
           (unsigned long long)(use.leased_bytes - use.unused_bytes - use.lost_bytes));
    fflush(stdout);

    char line[16] = "";
    int c;
    if (fgets(line, sizeof line, stdin) != NULL && strcmp(line, "abort\n") == 0)
        abort();
    if (strcmp(line, "hard\n") != 0)
        atomic_store(&stop, 1);
    pthread_barrier_wait(&done);
    while ((c = getchar()) != EOF)
        if (c == '?')
            printf("%ld\n", atomic_load(&rounds)), fflush(stdout);
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    kill(child, 9);
    waitpid(child, NULL, 0);
    return 0;
}
