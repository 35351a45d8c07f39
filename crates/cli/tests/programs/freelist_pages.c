/* A free-list page allocator: the arena struct is returned by value, sizes are 32 bits wide, one page of slots, freed
 * slots are handed out again. The fault: reserve() gives its block back to main, and main throws it away.
 * Expect: one never-stored finding, block 3, thrown away in main (line marked LOST), allocated in reserve.
 * freelist_pages_mended.c is the same program with the block kept: silent. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define NOINLINE __attribute__((noinline))
#define PAGE 4096u

typedef uint32_t u32;
typedef struct slot { struct slot *next; } slot;
typedef struct pages { slot *freed; uint8_t *page; u32 at, unit; } pages;

NOINLINE static pages f_new(u32 unit)
{
	pages p = { NULL, NULL, 0, unit < sizeof(slot) ? (u32)sizeof(slot) : unit };
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page != MAP_FAILED)
		p.page = page;
	return p;
}

NOINLINE static void *f_alloc(pages *p, u32 n)
{
	u32 at = p->at;

	if (n <= p->unit && p->freed != NULL) {
		slot *s = p->freed;
		p->freed = s->next;
		return s;
	}
	n = (n + p->unit - 1) / p->unit * p->unit;
	if (p->page == NULL || n > PAGE - at)
		return NULL;
	p->at = at + n;
	return p->page + at;
}

NOINLINE static void f_free(pages *p, void *block)
{
	slot *s = block;

	s->next = p->freed;
	p->freed = s;
}

NOINLINE static void f_del(pages *p)
{
	munmap(p->page, PAGE);
	p->page = NULL;
	p->freed = NULL;
	p->at = 0;
}

NOINLINE static void *reserve(pages *p, u32 n)
{
	return f_alloc(p, n * 2);
}

int main(void)
{
	pages p = f_new(16);
	char *a = f_alloc(&p, 16);
	char *b = f_alloc(&p, 12);
	char *c;

	strcpy(a, "first");
	strcpy(b, "second");
#ifdef MENDED
	char *kept = reserve(&p, 20);
	strcpy(kept, "kept");
	puts(kept);
#else
	reserve(&p, 20); /* LOST */
	puts("kept");
#endif
	f_free(&p, a);
	c = f_alloc(&p, 8);
	puts(c == a ? "same slot again" : "another slot");
	printf("%s, %u bytes used\n", b, p.at);
	f_del(&p);
	return 0;
}
