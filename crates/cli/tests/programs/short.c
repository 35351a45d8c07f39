/* Functions that cannot be watched: one of 4 bytes with its neighbour directly behind, one that has no body left because
 * it was inlined everywhere; and one, beside them, that can.
 * Expect: short_alloc and inlined_alloc each reported with the reason, never half-hooked; bump_alloc still watched. */
#include <stdio.h>
#include "bump.h"

/* mov %rdi,%rax ; ret   then at once the next function: any 5-byte patch would break short_next. */
__asm__(".text\n"
	".globl short_alloc\n.type short_alloc,@function\n"
	"short_alloc: .byte 0x48,0x89,0xf8,0xc3\n.size short_alloc,4\n"
	".globl short_next\n.type short_next,@function\n"
	"short_next: lea 1(%rdi),%rax\n ret\n.size short_next,.-short_next\n");
void *short_alloc(void *arena, size_t size);
long short_next(long n);

static inline __attribute__((always_inline)) void *inlined_alloc(struct bump *b, size_t size)
{
	char *block = b->base + b->offset;

	if (size > b->capacity - b->offset)
		return NULL;
	b->offset += size;
	return block;
}

int main(void)
{
	struct bump b;
	long sum = 0;

	if (bump_init(&b, 4096) != 0)
		return 1;
	for (int i = 0; i < 3; i++) {
		long *one = short_alloc(b.base, 8);
		long *two = inlined_alloc(&b, 16);
		long *three = bump_alloc(&b, 16);
		*one = i, *two = i + 1, *three = i + 2;
		sum += *two + *three + short_next(i);
	}
	printf("%ld\n", sum);
	bump_destroy(&b);
	return 0;
}
