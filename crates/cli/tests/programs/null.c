/* The allocator says NULL and the program uses it.
 * Expect: SIGSEGV (status 139) and one null-used finding at the line marked REFUSED; one refused allocation.
 * -DIN_CALLEE: the fault lies inside strcpy's code. null_mended.c asks first: silent, but the refusal is told. */
#include <stdio.h>
#include <string.h>
#include "bump.h"

int main(void)
{
	struct bump b;
	char *first, *second;

	if (bump_init(&b, 64) != 0)
		return 1;
	first = bump_alloc(&b, 48);
	strcpy(first, "fits");
	puts(first);
	fflush(stdout);
	second = bump_alloc(&b, 48); /* REFUSED */
#ifdef MENDED
	if (second == NULL) {
		puts("full");
		bump_destroy(&b);
		return 0;
	}
#endif
#ifdef IN_CALLEE
	strcpy(second, first);
#else
	second[8] = 'x';
#endif
	puts(second);
	bump_destroy(&b);
	return 0;
}
