/* An arena embedded in a global, made by assignment: no create function, no destroy function, macros for everything.
 * Expect: no finding; one arena born at its first event, 12 blocks, never unmapped (a note: never-unmapped). */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define NOINLINE __attribute__((noinline))
#define NEW(type) ((type *)take(&G.pool, sizeof(type)))
#define EACH(i, n) for (int i = 0; i < (n); i++)

typedef unsigned int u32;
struct pool { unsigned char *mem; u32 pos; u32 end; };
struct point { double x, y; };

static struct {
	int verbose;
	struct pool pool;
	struct point *points[12];
} G;

NOINLINE unsigned char *take(struct pool *p, u32 bytes)
{
	u32 pos = (p->pos + 15u) & ~15u;

	if (bytes > p->end || pos > p->end - bytes)
		return NULL;
	p->pos = pos + bytes;
	return p->mem + pos;
}

int main(void)
{
	double sum = 0;
	void *mem = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return 1;
	G.pool = (struct pool){ .mem = mem, .pos = 0, .end = 16384 };
	EACH(i, 12) {
		G.points[i] = NEW(struct point);
		G.points[i]->x = i, G.points[i]->y = i * 0.5;
	}
	EACH(i, 12)
		sum += G.points[i]->x + G.points[i]->y;
	printf("%.1f, %u of %u bytes\n", sum, G.pool.pos, G.pool.end);
	return 0;
}
