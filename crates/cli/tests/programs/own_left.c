// A timer's handler leaves calls of an arena by siglongjmp, wherever it meets them, and the program goes on with the same arena: not what
// POSIX allows, but it works alone, so it has to work watched. Prints the calls it made, and how many were left.
#include <arenascope.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

static sigjmp_buf home;
static volatile sig_atomic_t armed;

static void leave(int signal)
{
    (void)signal;
    if (armed) {
        armed = 0;
        siglongjmp(home, 1);
    }
}

int main(void)
{
    signal(SIGALRM, leave);
    static volatile long calls;
    ascope_arena *arena = ascope_growing();
    static volatile int round;
    for (round = 0; round < 12; round++) {
        if (!sigsetjmp(home, 1)) {
            armed = 1;
            struct itimerval soon = { { 0, 0 }, { 0, 1500 } };
            setitimer(ITIMER_REAL, &soon, NULL);
            for (;;) {
                calls++;
                (void)!ascope_alloc(arena, 16);
                if (calls % 2000 == 0)
                    ascope_reset(arena);
            }
        }
    }
    for (int i = 0; i < 3000; i++) {
        calls++;
        (void)!ascope_alloc(arena, 16);
    }
    ascope_reset(arena);
    printf("calls %ld left 12\n", calls);
    ascope_destroy(arena);
    return 0;
}
