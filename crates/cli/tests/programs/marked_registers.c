/* Every register, every flag and the red zone on both sides of a marker in assembly, many times over. Says which changed. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../../../capi/include/arenascope-mark.h"

struct kept {
	uint64_t general[16], flags, redzone[16];
	uint8_t vector[16][32];
};

struct kept before, after;

#define SAVE(kept) \
	"mov %rax, " kept "+0(%rip)\n mov %rcx, " kept "+8(%rip)\n mov %rdx, " kept "+16(%rip)\n mov %rbx, " kept "+24(%rip)\n" \
	"mov %rsp, " kept "+32(%rip)\n mov %rbp, " kept "+40(%rip)\n mov %rsi, " kept "+48(%rip)\n mov %rdi, " kept "+56(%rip)\n" \
	"mov %r8, " kept "+64(%rip)\n mov %r9, " kept "+72(%rip)\n mov %r10, " kept "+80(%rip)\n mov %r11, " kept "+88(%rip)\n" \
	"mov %r12, " kept "+96(%rip)\n mov %r13, " kept "+104(%rip)\n mov %r14, " kept "+112(%rip)\n mov %r15, " kept "+120(%rip)\n"
#define VECTORS(move, kept) \
	move(0, kept) move(1, kept) move(2, kept) move(3, kept) move(4, kept) move(5, kept) move(6, kept) move(7, kept) \
	move(8, kept) move(9, kept) move(10, kept) move(11, kept) move(12, kept) move(13, kept) move(14, kept) move(15, kept)
#define TO(n, kept) "vmovdqu %ymm" #n ", " kept "+264+32*" #n "(%rip)\n"
#define FROM(n, kept) "vmovdqu " kept "+264+32*" #n "(%rip), %ymm" #n "\n"

/* Loads what `before` holds, passes a marker, stores into `after`. The red zone holds `before.redzone`. */
__asm__(
	".text\n.globl across\n.type across, @function\nacross:\n"
	"push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
	VECTORS(FROM, "before")
	"lea before+136(%rip), %rsi\n lea -128(%rsp), %rdi\n mov $16, %ecx\n cld\n rep movsq\n"
	"mov before+0(%rip), %rax\n mov before+8(%rip), %rcx\n mov before+16(%rip), %rdx\n mov before+24(%rip), %rbx\n"
	"mov before+40(%rip), %rbp\n mov before+48(%rip), %rsi\n mov before+56(%rip), %rdi\n mov before+64(%rip), %r8\n"
	"mov before+72(%rip), %r9\n mov before+80(%rip), %r10\n mov before+88(%rip), %r11\n mov before+96(%rip), %r12\n"
	"mov before+104(%rip), %r13\n mov before+112(%rip), %r14\n mov before+120(%rip), %r15\n"
	"mov %rsp, before+32(%rip)\n"
	/* Flags without touching the red zone: from a compare that `before.flags` chooses. */
	"cmpq $5, before+128(%rip)\n"
	ARENASCOPE_MARKER_("alloc", "8@%rdi 8@%rsi 8@-128(%rsp)")
	SAVE("after")
	"setc after+128(%rip)\n setz after+129(%rip)\n sets after+130(%rip)\n seto after+131(%rip)\n setp after+132(%rip)\n"
	"cmpq $5, before+128(%rip)\n"
	"setc before+132(%rip)\n setz before+133(%rip)\n"
	VECTORS(TO, "after")
	"lea -128(%rsp), %rsi\n lea after+136(%rip), %rdi\n mov $16, %ecx\n cld\n rep movsq\n"
	"vzeroupper\n"
	"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n.size across, . - across\n");

void across(void);

static uint64_t next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

int main(void)
{
	uint64_t state = 88172645463325252u;
	long round, wrong = 0, i;

	if (!__builtin_cpu_supports("avx")) {
		puts("no AVX here");
		return 2;
	}
	for (round = 0; round < 20000; round++) {
		uint8_t *bytes = (uint8_t *)&before;
		uint64_t chosen = next(&state) % 11;

		for (i = 0; i < (long)sizeof before; i++)
			bytes[i] = (uint8_t)next(&state);
		/* One of 64 arenas; the size is small. */
		before.general[7] = (next(&state) & 63) << 12;
		before.redzone[0] = round & 255;
		before.flags = chosen;
		memset(&after, 0, sizeof after);
		across();
		for (i = 0; i < 16; i++)
			wrong += before.general[i] != after.general[i];
		for (i = 0; i < 16; i++)
			wrong += before.redzone[i] != after.redzone[i];
		wrong += memcmp(before.vector, after.vector, sizeof after.vector) != 0;
		wrong += (after.flags & 255) != (chosen < 5) || ((after.flags >> 8) & 255) != (chosen == 5);
		wrong += ((after.flags >> 16) & 255) != (chosen < 5) || ((after.flags >> 24) & 255) != 0;
	}
	printf("%ld rounds, %ld wrong\n", round, wrong);
	return wrong != 0;
}
