/* A program with handlers of its own for SIGSEGV. argv[1] says what the handler does, argv[2] how the fault comes about: "unmap"
 * touches an arena after it was unmapped, "null" uses the NULL of a full one. argv[3] "alt": on an alternate stack.
 * Expect: exit, _exit, abort, reraise, refault, once: the fault is told, and output and status are as without us.
 * recover, deep, longjmp, retry, fork, later: the program goes on, and nothing is told. */
#include "bump.h"

#include <execinfo.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *what;
static sigjmp_buf back;
static jmp_buf plain_back;
static struct bump arena, other;
static long faults;
static char *retried;

static void say(const char *text)
{
	if (write(1, text, strlen(text)) < 0)
		_exit(9);
}

static void back_to_default(int number)
{
	signal(number, SIG_DFL);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	void *frames[64];
	int depth;

	(void)context;
	faults++;
	if (!strcmp(what, "retry")) {
		mprotect((void *)((uintptr_t)info->si_addr & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE);
		return;
	}
	if (!strcmp(what, "recover") || !strcmp(what, "deep"))
		siglongjmp(back, 1);
	if (!strcmp(what, "longjmp"))
		longjmp(plain_back, 1);
	depth = backtrace(frames, 64);
	say(info->si_signo == signal && depth > 2 ? "crash\n" : "?\n");
	/* As many frames as without us. */
	say(depth > 40 ? "deep\n" : (char[]){ (char)('0' + depth), '\n', 0 });
	if (!strcmp(what, "fork")) {
		int status;

		if (fork() == 0)
			_exit(5);
		wait(&status);
		siglongjmp(back, 1);
	}
	if (!strcmp(what, "later")) {
		/* A page where there was none: the fault does not come again. */
		mmap((void *)((uintptr_t)info->si_addr & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		return;
	}
	if (!strcmp(what, "exit"))
		exit(3);
	if (!strcmp(what, "_exit"))
		_exit(4);
	if (!strcmp(what, "abort"))
		abort();
	if (!strcmp(what, "reraise")) {
		struct sigaction action;

		memset(&action, 0, sizeof action);
		action.sa_handler = SIG_DFL;
		sigaction(signal, &action, NULL);
		raise(signal);
	}
	if (!strcmp(what, "refault"))
		back_to_default(signal);
}

static NOINLINE int deep(int depth)
{
	char room[4096];

	memset(room, depth, sizeof room);
	if (depth > 0)
		return deep(depth - 1) + room[depth];
	_exit(0);
}

static NOINLINE void fault(char *wild)
{
	*(volatile char *)wild = 'x';
}

int main(int argc, char **argv)
{
	struct sigaction action, old;
	char *wild;

	if (argc < 3)
		return 1;
	what = argv[1];
	memset(&action, 0, sizeof action);
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO | (strcmp(what, "once") ? 0 : SA_RESETHAND);
	if (argc > 3) {
		stack_t stack = { .ss_sp = malloc(65536), .ss_size = 65536 };

		sigaltstack(&stack, NULL);
		action.sa_flags |= SA_ONSTACK;
	}
	/* Before the fault, so that backtrace has loaded what it needs. */
	backtrace((void *[2]){ NULL, NULL }, 2);
	if (sigaction(SIGSEGV, &action, &old) || sigaction(SIGSEGV, NULL, &action))
		return 1;
	printf("%d %d %x\n", old.sa_handler == SIG_DFL, action.sa_sigaction == on_fault, action.sa_flags & 0xfbffffffu);
	fflush(stdout);
	if (bump_init(&arena, 4096) || bump_init(&other, 4096))
		return 1;
	if (!strcmp(what, "retry")) {
		retried = bump_alloc(&other, 64);
		for (int i = 0; i < 100000; i++) {
			mprotect(other.base, 4096, PROT_READ);
			*(volatile char *)retried = 1;
		}
		printf("%ld faults\n", faults);
		return 0;
	}
	if (!strcmp(argv[2], "unmap")) {
		wild = bump_alloc(&arena, 64);
		strcpy(wild, "here");
		bump_destroy(&arena);
	} else {
		strcpy(bump_alloc(&other, 4000), "full");
		wild = bump_alloc(&other, 4000); /* REFUSED */
	}
	if (!strcmp(what, "longjmp") ? setjmp(plain_back) == 0 : sigsetjmp(back, 1) == 0)
		fault(wild); /* TOUCHED */
	printf("went on, %ld faults\n", faults);
	fflush(stdout);
	if (!strcmp(what, "deep") || !strcmp(what, "longjmp"))
		return deep(20);
	return 0;
}
