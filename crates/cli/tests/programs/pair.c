/* An arena small enough to come back in two registers (rax and rdx), and functions that return doubles and structs of
 * doubles (xmm0, xmm1) beside it.
 * Expect: output untouched; with roles given, 4 blocks. */
#include <stdio.h>
#include <stdlib.h>
#include "bump.h"

struct pair { char *base; unsigned at, end; };
struct point { double x, y; };

NOINLINE struct pair pair_new(unsigned size)
{
	struct pair p = { malloc(size), 0, size };

	return p;
}

NOINLINE void *pair_alloc(struct pair *p, unsigned size)
{
	char *block = p->base + p->at;

	if (p->base == NULL || size > p->end - p->at)
		return NULL;
	p->at += size;
	return block;
}

NOINLINE struct point pair_free(struct pair *p)
{
	struct point usage = { p->at, p->end };

	free(p->base);
	p->base = NULL;
	return usage;
}

int main(void)
{
	struct pair p = pair_new(256);
	struct point usage;

	for (int i = 0; i < 4; i++) {
		int *block = pair_alloc(&p, 16);
		if (block == NULL)
			return 1;
		*block = i;
	}
	usage = pair_free(&p);
	printf("%.1f of %.1f\n", usage.x, usage.y);
	return 0;
}
