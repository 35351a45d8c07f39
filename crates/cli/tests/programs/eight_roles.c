/* All eight roles in one allocator, named so that nothing can be guessed from the names.
 * Expect, with the roles given: 1 create (parent NULL, name "aleph"), 1 create (parent the first, name "beth"),
 * 6 allocs (a seventh inside the resize that moves is part of it), 2 resizes, 1 free, 1 mark, 1 rewind, 1 reset, 2 destroys. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "bump.h"

struct qux { struct qux *up; const char *label; char *lo; size_t at, top; char room[2000]; };

NOINLINE int q1(struct qux **out, struct qux *up, const char *label)
{
	struct qux *q = malloc(sizeof *q);

	if (q == NULL)
		return -1;
	q->up = up, q->label = label, q->lo = q->room, q->at = 0, q->top = sizeof q->room;
	*out = q;
	return 0;
}

NOINLINE void *q2(struct qux *q, size_t n)
{
	char *p = q->lo + q->at;

	n = (n + 7) & ~(size_t)7;
	if (n > q->top - q->at)
		return NULL;
	q->at += n;
	return p;
}

NOINLINE void *q3(struct qux *q, void *block, size_t old, size_t n)
{
	char *p = block;

	old = (old + 7) & ~(size_t)7;
	if (p + old == q->lo + q->at && n <= q->top - (size_t)(p - q->lo)) {
		q->at = (size_t)(p - q->lo) + ((n + 7) & ~(size_t)7);
		return p;
	}
	p = q2(q, n);
	return p == NULL ? NULL : memcpy(p, block, old < n ? old : n);
}

NOINLINE void q4(struct qux *q, void *block)
{
	if ((char *)block + 8 == q->lo + q->at)
		q->at -= 8;
}

NOINLINE size_t q5(struct qux *q)
{
	return q->at;
}

NOINLINE void q6(struct qux *q, size_t mark)
{
	q->at = mark;
}

NOINLINE void q7(struct qux *q)
{
	q->at = 0;
}

NOINLINE void q8(struct qux *q)
{
	q->top = q->at = 0;
	free(q);
}

int main(void)
{
	struct qux *a, *b;
	char *x, *y, *z;
	size_t mark;

	if (q1(&a, NULL, "aleph") != 0 || q1(&b, a, "beth") != 0)
		return 1;
	x = strcpy(q2(a, 16), "sixteen");
	y = strcpy(q2(a, 8), "eight");
	x = q3(a, x, 16, 40);
	x = q3(a, x, 40, 48);
	mark = q5(a);
	z = strcpy(q2(a, 24), "after mark");
	puts(z);
	q6(a, mark);
	z = strcpy(q2(a, 8), "short");
	puts(z);
	q4(a, z);
	z = strcpy(q2(b, 32), "in beth");
	puts(z);
	q7(b);
	z = strcpy(q2(b, 32), "in beth again");
	puts(z);
	printf("%s %s %zu %zu\n", x, y, a->at, b->at);
	q8(b);
	q8(a);
	return 0;
}
