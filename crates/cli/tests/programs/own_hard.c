/* What makes recording hard, by one word: closes, execs, daemon, blocks, handles, faults, stack, chroots, forks. */
#define _GNU_SOURCE
#include <arenascope.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;
static unsigned long allocs;

static void handler(int signal)
{
    (void)signal;
    siglongjmp(back, 1);
}

static void use(ascope_arena *arena, int count)
{
    for (int i = 0; i < count; i++) {
        unsigned char *block = ascope_alloc(arena, 8 + i % 50);
        block[0] = 1;
        allocs++;
    }
}

static int with(const char *what, char **argv)
{
    ascope_arena *arena = ascope_growing_named("hard");
    use(arena, 100);
    if (strcmp(what, "closes") == 0) {
        for (int fd = 3; fd < 4096; fd++)
            close(fd);
    } else if (strcmp(what, "execs") == 0) {
        execl("/proc/self/exe", argv[0], "plain", (char *)NULL);
        return 9;
    } else if (strcmp(what, "daemon") == 0) {
        int ends[2];
        if (pipe(ends) != 0)
            return 9;
        pid_t child = fork();
        if (child == 0) {
            setsid();
            close(ends[0]);
            if (chdir("/") != 0)
                _exit(9);
            allocs = 0;
            use(arena, 300);
            char done = 'x';
            if (write(ends[1], &done, 1) != 1)
                _exit(9);
            _exit(0);
        }
        close(ends[1]);
        char done;
        if (read(ends[0], &done, 1) != 1)
            return 9;
        printf("allocs 300\n");
        return 0;
    } else if (strcmp(what, "blocks") == 0) {
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_BLOCK, &all, NULL);
    } else if (strcmp(what, "handles") == 0 || strcmp(what, "faults") == 0) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_handler = handler;
        sigaction(SIGSEGV, &action, NULL);
        if (sigsetjmp(back, 1) == 0)
            *(volatile int *)8 = 1;
        if (strcmp(what, "faults") == 0) {
            use(arena, 100);
            printf("allocs %lu\n", allocs);
            fflush(stdout);
            signal(SIGSEGV, SIG_DFL);
            *(volatile int *)8 = 1;
        }
    } else if (strcmp(what, "chroots") == 0) {
        if (chroot(".") != 0 || chdir("/") != 0)
            return 9;
    } else if (strcmp(what, "forks") == 0) {
        pid_t child = fork();
        use(arena, 50);
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
        allocs += 50;
    } else if (strcmp(what, "stack") == 0) {
        static char small[64 << 10];
        stack_t stack = {.ss_sp = small, .ss_size = 16 << 10};
        sigaltstack(&stack, NULL);
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_handler = handler;
        action.sa_flags = SA_ONSTACK;
        sigaction(SIGUSR1, &action, NULL);
        if (sigsetjmp(back, 1) == 0)
            raise(SIGUSR1);
    }
    use(arena, 100);
    ascope_destroy(arena);
    printf("allocs %lu\n", allocs);
    return 0;
}

int main(int argc, char **argv)
{
    return with(argc > 1 ? argv[1] : "plain", argv);
}
