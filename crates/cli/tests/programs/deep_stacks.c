/* Stacks of every make, told. Built with and without frame pointers, by gcc and clang. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include "told_stacks.h"

static volatile int sink;

NOINLINE static int leaf(int n) { char *p = take(&arena, 16); *p = n; STAY; return *p; }

/* The frame's size is known at run time only: rbp is used whatever the flags say. */
NOINLINE static int variable(int n)
{
	char room[n * 16 + 1];

	memset(room, n, sizeof room);
	sink += room[n];
	n = leaf(n) + room[0];
	STAY;
	return n;
}

/* Many callee-saved registers, rbp among them. */
NOINLINE static int busy(int a, int b, int c, int d)
{
	int e = a * b, f = b * c, g = c * d, h = d * a;

	for (int i = 0; i < 2; i++)
		sink += leaf(a + i) + variable(1 + i) + e + f + g + h;
	return a + b + c + d + e + f + g + h;
}

NOINLINE static int recursive(int n) { int r = n ? recursive(n - 1) + 1 : busy(1, 2, 3, 4); STAY; return r; }

static int compare(const void *a, const void *b) { leaf(3); return *(const int *)a - *(const int *)b; }

/* A frame that realigns the stack. */
NOINLINE static int aligned(int n)
{
	_Alignas(64) volatile char room[128];

	room[n] = 1;
	n = leaf(n) + room[n];
	STAY;
	return n;
}

NOINLINE __attribute__((force_align_arg_pointer)) static int realigned(int n)
{
	_Alignas(32) volatile char room[n * 32 + 32];

	room[0] = 1;
	n = aligned(n) + room[0];
	STAY;
	return n;
}

static void handler(int signal) { (void)signal; leaf(4); }

NOINLINE static int jumped(jmp_buf *to) { leaf(5); longjmp(*to, 1); }

NOINLINE static int tail_called(int n) { return leaf(n + 1); }
NOINLINE static int tail_calls(int n) { return tail_called(n + 1); }

/* Described by hand, and not at all. */
__asm__(
	".text\n"
	"by_hand:\n"
	".cfi_startproc\n"
	"	push %rbx\n"
	".cfi_def_cfa_offset 16\n"
	"	sub $32, %rsp\n"
	".cfi_def_cfa_offset 48\n"
	"	call leaf_for_assembly\n"
	"	add $32, %rsp\n"
	".cfi_def_cfa_offset 16\n"
	"	pop %rbx\n"
	".cfi_def_cfa_offset 8\n"
	"	ret\n"
	".cfi_endproc\n"
	"undescribed:\n"
	"	sub $40, %rsp\n"
	"	call leaf_for_assembly\n"
	"	add $40, %rsp\n"
	"	ret\n");
int by_hand(int), undescribed(int);
__attribute__((used)) int leaf_for_assembly(int n) { n = leaf(n); STAY; return n; }

static void *thread(void *argument)
{
	for (int i = 0; i < 20; i++)
		recursive((int)(intptr_t)argument + i % 3);
	return NULL;
}

int main(int argc, char **argv)
{
	int numbers[6] = { 3, 1, 2, 6, 5, 4 };
	jmp_buf here;
	pthread_t threads[3];

	begin(argc, argv);
	leaf(argc);
	recursive(3);
	qsort(numbers, 6, sizeof *numbers, compare);
	aligned(argc);
	realigned(argc);
	tail_calls(argc);
	by_hand(argc);
	signal(SIGUSR1, handler);
	raise(SIGUSR1);
	if (!setjmp(here))
		jumped(&here);
	leaf(argc);
	for (intptr_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, thread, (void *)i);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	puts("undescribed");
	undescribed(argc);
	return 0;
}
