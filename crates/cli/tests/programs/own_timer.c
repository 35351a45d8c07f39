/* A timer's handler has an arena of its own, and uses it while the program is in the midst of using another. */
#include <arenascope.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

static ascope_arena *of_handler;
static volatile sig_atomic_t handled;

static void tick(int signal)
{
    (void)signal;
    for (int i = 0; i < 8; i++) {
        char *block = ascope_alloc(of_handler, 24);
        if (block != NULL) {
            memset(block, 'h', 24);
        }
    }
    ascope_reset(of_handler);
    handled++;
}

int main(void)
{
    of_handler = ascope_init_named("of the handler", 4096);
    ascope_arena *arena = ascope_init_named("of the program", 1 << 20);
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval often = {{0, 200}, {0, 200}};
    setitimer(ITIMER_REAL, &often, NULL);
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < 200; i++) {
            char *block = ascope_alloc(arena, 40);
            memset(block, 'p', 40);
        }
        ascope_reset(arena);
    }
    while (handled < 20) {
    }
    struct itimerval never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &never, NULL);
    puts("done");
    ascope_destroy(arena);
    ascope_destroy(of_handler);
    return 0;
}
