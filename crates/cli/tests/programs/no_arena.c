/* No arena anywhere: a vector that grows, a string builder, a ring. Expect: "no arena found", and how to name one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

struct vec { int *items; size_t len, cap; };
struct ring { char *bytes; size_t head, room; };

NOINLINE int *vec_push(struct vec *v, int item)
{
	if (v->len == v->cap) {
		size_t cap = v->cap == 0 ? 4 : v->cap * 2;
		int *items = realloc(v->items, cap * sizeof *items);
		if (items == NULL)
			return NULL;
		v->items = items, v->cap = cap;
	}
	v->items[v->len] = item;
	return &v->items[v->len++];
}

NOINLINE char *ring_at(struct ring *r, size_t back)
{
	return r->bytes + (r->head + r->room - back % r->room) % r->room;
}

int main(void)
{
	struct vec v = { NULL, 0, 0 };
	struct ring r = { malloc(8), 0, 8 };
	long sum = 0;

	if (r.bytes == NULL)
		return 1;
	memcpy(r.bytes, "abcdefgh", 8);
	for (int i = 0; i < 20; i++) {
		int *item = vec_push(&v, i);
		if (item == NULL)
			return 1;
		sum += *item + *ring_at(&r, (size_t)i);
	}
	printf("%ld\n", sum);
	free(v.items);
	free(r.bytes);
	return 0;
}
