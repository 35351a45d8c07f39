/* Three wrong frees of a pool of slots, one by one: -DFAULT=1 frees a slot twice, 2 frees an address inside a slot, 3 frees
 * a slot through another pool. -DFAULT=0 is the mended twin: it does all that is right and looks alike.
 * Expect: double-free, invalid-free, wrong-arena-free with the lines marked; nothing of FAULT=0. */
#include "free_wrong.h"

int main(void)
{
	pool words, numbers;
	volatile size_t size = POOL, slot_size = SLOT, small = 8; /* no clones for constants */

	pool_init(&words, size);
	pool_init(&numbers, size);
	char *a = pool_alloc(&words, slot_size); /* WORD */
	char *b = pool_alloc(&words, slot_size);
	char *n = pool_alloc(&numbers, slot_size);
	strcpy(a, "first");
	strcpy(b, "second");
	strcpy(n, "42");
	printf("%s %s %s\n", a, b, n);
	pool_free(&words, b); /* FIRST */
#if FAULT == 1
	pool_free(&words, b); /* TWICE */
#elif FAULT == 2
	pool_free(&words, a + 8); /* INSIDE */
#elif FAULT == 3
	pool_free(&numbers, a); /* FOREIGN */
#else
	pool_free(&words, NULL);
	b = pool_alloc(&words, slot_size);
	pool_free(&words, b);
	pool_free(&words, a);
	pool_free(&numbers, n);
#endif
	char *c = pool_alloc(&words, small);
	char *d = pool_alloc(&words, small);
	strcpy(c, "third");
	strcpy(d, "fourth");
	printf("%s\n", d);
	pool_destroy(&words);
	pool_destroy(&numbers);
	return 0;
}
