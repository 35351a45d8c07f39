/* A chunked pool on malloc: no create function (`pool_t p = {0}`), a typedef that hides the pointer, a wrapper that
 * looks like another allocator, and scratch blocks that are used and then forgotten.
 * Expect: correct and silent. One arena, 330 blocks (30 words of 3 blocks, 240 scratch), ends when its last chunk is
 * freed by pool_drop. build() is a wrapper, not an allocator. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))
#define ROUND_UP(n) (((n) + 15u) & ~(size_t)15u)
#define CHUNK_BYTES 2048u

typedef struct chunk { struct chunk *older; size_t used, room; } *chunk_t;
typedef struct { chunk_t newest; size_t chunks; } pool_t;
typedef struct word { struct word *next; char *text; size_t *count; } word, *word_t;

NOINLINE static void *pool_get(pool_t *p, size_t size)
{
	chunk_t c = p->newest;
	void *got;

	size = ROUND_UP(size);
	if (c == NULL || c->used + size > c->room) {
		size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
		if ((c = malloc(ROUND_UP(sizeof *c) + room)) == NULL)
			return NULL;
		c->older = p->newest, c->used = 0, c->room = room;
		p->newest = c, p->chunks++;
	}
	got = (char *)c + ROUND_UP(sizeof *c) + c->used;
	c->used += size;
	return got;
}

NOINLINE static void pool_drop(pool_t *p)
{
	chunk_t c, older;

	for (c = p->newest; c != NULL; c = older)
		older = c->older, free(c);
	p->newest = NULL, p->chunks = 0;
}

NOINLINE static word_t build(pool_t *p, int i, word_t next)
{
	word_t w = pool_get(p, sizeof *w);

	w->text = pool_get(p, 24);
	w->count = pool_get(p, sizeof *w->count);
	snprintf(w->text, 24, "word %d", i);
	*w->count = strlen(w->text);
	w->next = next;
	return w;
}

int main(void)
{
	pool_t p = {0};
	word_t list = NULL;
	size_t sum = 0;
	int i, j;

	for (i = 0; i < 30; i++) {
		list = build(&p, i, list);
		for (j = 0; j < 8; j++) {
			char *scratch = pool_get(&p, 40);
			strcpy(scratch, "scratch");
			sum += strlen(scratch) * (size_t)j;
		}
	}
	for (; list != NULL; list = list->next)
		sum += *list->count;
	printf("%zu bytes of words in %zu chunks\n", sum, p.chunks);
	pool_drop(&p);
	return 0;
}
