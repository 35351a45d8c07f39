/* Notes that lie: none may be followed, and those beside them count. */
#include "../../../capi/include/arenascope-mark.h"

#include <stdio.h>

static char block[64];
static void *arena = block;

#define NOTE(place, role, arguments) \
	".pushsection .note.stapsdt,\"?\",\"note\"\n .balign 4\n .4byte 992f-991f, 994f-993f, 3\n" \
	"991: .asciz \"stapsdt\"\n 992: .balign 4\n 993: .8byte " place "\n .8byte _.stapsdt.base\n .8byte 0\n" \
	".asciz \"arenascope\"\n .asciz \"" role "\"\n .asciz \"" arguments "\"\n 994: .balign 4\n .popsection\n"

__attribute__((noinline)) static long odd(long n)
{
	long result = n;

	/* Not a nop of five bytes. */
	__asm__ volatile("990: add $1, %0\n" NOTE("990b", "alloc", "8@%%rdi 8@%%rsi 8@$8") : "+r"(result));
	/* The middle of one. */
	__asm__ volatile("990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n" NOTE("990b+2", "alloc", "8@%rdi 8@%rsi 8@$8"));
	/* A branch leads into the middle, where two bytes do nothing that matters: add %al, (%rax). */
	__asm__ volatile(
		"jmp 1f\n 990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n 1: xor $1, %0\n test $1, %b0\n jz 2f\n lea block(%%rip), %%rax\n jmp 990b+3\n 2:\n"
		NOTE("990b", "alloc", "8@%%rdi 8@%%rsi 8@$8") : "+r"(result) : : "rax", "memory", "cc");
	/* Arguments that are none, a role that is none, too few, nowhere at all. */
	__asm__ volatile("990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n" NOTE("990b", "alloc", "8@%xmm0 8@%rsi 8@$8"));
	__asm__ volatile("990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n" NOTE("990b", "gambol", "8@%rdi"));
	__asm__ volatile("990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n" NOTE("990b", "reset", ""));
	__asm__ volatile("" NOTE("0x123456789", "alloc", "8@%rdi 8@%rsi 8@$8"));
	/* Memory that is not there. */
	__asm__ volatile("990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n" NOTE("990b", "mark", "8@$64 8@0x10(%rbx,%r12,8)"));
	return result;
}

int main(void)
{
	long sum = 0, i;

	for (i = 1; i < 20; i += 2) {
		ARENASCOPE_ALLOC(arena, block, sizeof block);
		sum += odd(i);
	}
	printf("%ld\n", sum);
	return 0;
}
