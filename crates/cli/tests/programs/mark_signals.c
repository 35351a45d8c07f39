/* Signals that set a mark (--mark-on USR1 and the like), in every place where one may arrive. argv[1] says which.
 * Expect: with a handler of its own, output and status as without us, and the handler runs each time. "default" has none and
 * is not ended. Blocks are written between marks, so that the marks can be compared. */
#include "bump.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct bump arena;
static volatile sig_atomic_t handled;
static volatile int with_info;

static void plain_handler(int signal)
{
	(void)signal;
	handled++;
}

static void info_handler(int signal, siginfo_t *info, void *context)
{
	with_info = info->si_signo == signal && info->si_pid == getpid() && context != NULL;
	handled++;
}

static void set(int signal, void (*handler)(int), int flags)
{
	struct sigaction action;

	memset(&action, 0, sizeof action);
	action.sa_handler = handler;
	action.sa_flags = flags;
	sigaddset(&action.sa_mask, SIGUSR2);
	if (sigaction(signal, &action, NULL))
		exit(1);
}

static void tell(const char *what, const struct sigaction *action)
{
	void *handler = (void *)action->sa_handler;

	printf("%s: %s, flags %x, USR2 %s\n", what,
	       handler == (void *)SIG_DFL ? "default" : handler == (void *)SIG_IGN ? "ignore" :
	       handler == (void *)plain_handler ? "plain" : handler == (void *)info_handler ? "info" : "somebody else's",
	       action->sa_flags & 0xfbffffffu, sigismember(&action->sa_mask, SIGUSR2) ? "blocked" : "open");
}

static void ask(const char *what, int signal)
{
	struct sigaction action;

	sigaction(signal, NULL, &action);
	tell(what, &action);
}

static void *in_thread(void *argument)
{
	(void)argument;
	for (int i = 0; i < 50; i++) {
		strcpy(bump_alloc(&arena, 16), "thread");
		pthread_kill(pthread_self(), SIGUSR1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "default";
	char *block;

	if (bump_init(&arena, 1 << 20))
		return 1;
	block = bump_alloc(&arena, 32);
	strcpy(block, "before");
	if (!strcmp(what, "default")) {
		raise(SIGUSR1);
		strcpy(block, "behind");
		raise(SIGUSR1);
		bump_alloc(&arena, 64);
		raise(SIGUSR1);
	} else if (!strcmp(what, "handler")) {
		struct sigaction action, old;

		ask("at first", SIGUSR1);
		printf("signal: %s\n", signal(SIGUSR1, plain_handler) == SIG_DFL ? "was default" : "was something");
		ask("after signal", SIGUSR1);
		raise(SIGUSR1);
		printf("%d handled\n", (int)handled);
		memset(&action, 0, sizeof action);
		action.sa_sigaction = info_handler;
		action.sa_flags = SA_SIGINFO | SA_NODEFER;
		sigaddset(&action.sa_mask, SIGUSR2);
		printf("%d\n", sigaction(SIGUSR1, &action, &old));
		tell("before sigaction", &old);
		ask("after sigaction", SIGUSR1);
		raise(SIGUSR1);
		printf("%d handled, information %d\n", (int)handled, with_info);
		printf("signal: %s\n", signal(SIGUSR1, SIG_IGN) == (void (*)(int))info_handler ? "was info" : "was something");
		ask("ignored", SIGUSR1);
		raise(SIGUSR1);
		printf("signal: %s\n", signal(SIGUSR1, plain_handler) == SIG_IGN ? "was ignored" : "was something");
		set(SIGUSR1, SIG_DFL, SA_RESTART);
		ask("default again", SIGUSR1);
		printf("signal: %s\n", signal(SIGUSR1, plain_handler) == SIG_DFL ? "was default" : "was something");
		printf("%d %d\n", sigaction(65, &action, NULL), sigaction(SIGKILL, &action, NULL));
		raise(SIGUSR1);
		set(SIGUSR1, plain_handler, SA_RESETHAND);
		ask("once", SIGUSR1);
		raise(SIGUSR1);
		ask("after once", SIGUSR1);
	} else if (!strcmp(what, "thread")) {
		pthread_t threads[4];

		set(SIGUSR1, plain_handler, SA_RESTART);
		for (int i = 0; i < 4; i++)
			pthread_create(&threads[i], NULL, in_thread, NULL);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
	} else if (!strcmp(what, "fork")) {
		int status;

		set(SIGUSR1, plain_handler, 0);
		if (fork() == 0) {
			strcpy(bump_alloc(&arena, 16), "child");
			raise(SIGUSR1);
			_exit(handled);
		}
		wait(&status);
		printf("child %d\n", WEXITSTATUS(status));
		raise(SIGUSR1);
	} else if (!strcmp(what, "altstack")) {
		stack_t stack = { .ss_sp = malloc(8192), .ss_size = 8192 };

		sigaltstack(&stack, NULL);
		set(SIGUSR1, plain_handler, SA_ONSTACK);
		for (int i = 0; i < 20; i++)
			raise(SIGUSR1);
	} else if (!strcmp(what, "blocked")) {
		sigset_t set_of_one, old;

		set(SIGUSR1, plain_handler, 0);
		sigemptyset(&set_of_one);
		sigaddset(&set_of_one, SIGUSR1);
		sigprocmask(SIG_BLOCK, &set_of_one, &old);
		raise(SIGUSR1);
		printf("blocked: %d\n", (int)handled);
		sigprocmask(SIG_SETMASK, &old, NULL);
	} else if (!strcmp(what, "flood")) {
		pid_t parent = getpid(), child;
		long taken = 0;

		set(SIGUSR1, plain_handler, SA_RESTART | SA_NODEFER);
		child = fork();
		if (child == 0) {
			for (int i = 0; i < 20000; i++)
				kill(parent, SIGUSR1);
			_exit(0);
		}
		while (waitpid(child, NULL, WNOHANG) == 0) {
			if (bump_alloc(&arena, 8) == NULL)
				arena.offset = 32;
			taken++;
		}
		printf("%d %d\n", handled > 0, taken > 0);
		handled = 0;
	} else if (!strcmp(what, "many")) {
		for (int i = 0; i < 300; i++) {
			bump_alloc(&arena, 16);
			raise(SIGRTMIN + 2);
		}
	}
	printf("%d handled\n", (int)handled);
	bump_destroy(&arena);
	return 0;
}
