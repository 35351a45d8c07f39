// malloc before a fork, in both processes after it, in a handler, in a vfork child that fails to execute, and at exit.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t handled;

static void handler(int signal)
{
    (void)signal;
    handled++;
}

static void at_exit(void)
{
    free(malloc(33));
}

int main(void)
{
    atexit(at_exit);
    signal(SIGUSR1, handler);
    char *before[100];
    for (int i = 0; i < 100; i++)
        before[i] = malloc(64);
    raise(SIGUSR1);
    pid_t child = fork();
    for (int i = 0; i < 50; i++)
        free(before[i]);
    for (int i = 0; i < 50; i++)
        before[i] = strdup(child == 0 ? "in the child" : "in the parent");
    if (child == 0) {
        printf("child %s\n", before[49]);
        return 0;
    }
    int status = 0;
    waitpid(child, &status, 0);
    pid_t other = vfork();
    if (other == 0) {
        execl("/nowhere/at/all", "x", (char *)NULL);
        _exit(9);
    }
    waitpid(other, &status, 0);
    printf("parent %s %d %d\n", before[49], WEXITSTATUS(status), (int)handled);
    return 0;
}
