/* Handles its own SIGSEGV and goes on: faults on purpose, as garbage collectors do.
 * Expect: three faults handled by the program, not by us; output and status untouched; no finding. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "bump.h"

static sigjmp_buf back;

static void on_fault(int signal, siginfo_t *info, void *context)
{
	(void)signal, (void)context;
	siglongjmp(back, info->si_addr == (void *)16 ? 1 : 2);
}

int main(void)
{
	struct sigaction action;
	struct bump b;
	volatile int i, faults = 0;

	memset(&action, 0, sizeof action);
	action.sa_sigaction = on_fault;
	action.sa_flags = SA_SIGINFO;
	if (bump_init(&b, 4096) != 0 || sigaction(SIGSEGV, &action, NULL) != 0)
		return 1;
	for (i = 0; i < 3; i++) {
		char *volatile wild = (char *)16;
		strcpy(bump_alloc(&b, 16), "block");
		if (sigsetjmp(back, 1) == 0)
			*wild = 'x';
		else
			faults++;
	}
	printf("%d faults handled\n", faults);
	bump_destroy(&b);
	return 0;
}
