/* A region with mark and rewind, written the way C was written in 1985: definitions without prototypes, a struct of
 * pointers and not one integer, memory from aligned_alloc, the mark a saved pointer.
 * Expect: correct and silent. One arena of 8192 bytes; 1 + 20 * 4 blocks, one block outlives the rewinds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

struct region { char *lo, *at, *peak, *hi; };

NOINLINE struct region *r_open(unsigned bytes);
NOINLINE char *r_take(struct region *r, unsigned long n);
NOINLINE char *r_mark(struct region *r);
NOINLINE void r_release(struct region *r, char *mark);
NOINLINE void r_close(struct region *r);

struct region *r_open(bytes)
	unsigned bytes;
{
	register struct region *r;

	if ((r = malloc(sizeof *r)) == NULL)
		return NULL;
	if ((r->lo = aligned_alloc(4096, bytes)) == NULL) {
		free(r);
		return NULL;
	}
	r->at = r->peak = r->lo;
	r->hi = r->lo + bytes;
	return r;
}

char *r_take(r, n)
	register struct region *r;
	unsigned long n;
{
	register char *p;

	n = (n + 7) & ~7UL;
	if (n > (unsigned long)(r->hi - r->at))
		return NULL;
	p = r->at;
	r->at += n;
	if (r->at > r->peak)
		r->peak = r->at;
	return p;
}

char *r_mark(r)
	struct region *r;
{
	return r->at;
}

void r_release(r, mark)
	struct region *r;
	char *mark;
{
	if (r->lo <= mark && mark <= r->at)
		r->at = mark;
}

void r_close(r)
	struct region *r;
{
	free(r->lo);
	free(r);
}

static int line(r, i)
	struct region *r;
	int i;
{
	char *mark = r_mark(r);
	char *word[4];
	int k, sum = 0;

	for (k = 0; k < 4; k++) {
		word[k] = r_take(r, (unsigned long)(10 + i + k));
		sprintf(word[k], "w%d", i * 4 + k);
	}
	for (k = 0; k < 4; k++)
		sum += (int)strlen(word[k]);
	r_release(r, mark);
	return sum;
}

int main()
{
	struct region *r = r_open(8192);
	char *title;
	int i, sum = 0;

	if (r == NULL)
		return 1;
	title = r_take(r, 32UL);
	strcpy(title, "region of four pointers");
	for (i = 0; i < 20; i++)
		sum += line(r, i);
	printf("%s: %d, peak %d\n", title, sum, (int)(r->peak - r->lo));
	r_close(r);
	return 0;
}
