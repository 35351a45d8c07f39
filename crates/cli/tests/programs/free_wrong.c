/* Three wrong frees of a pool of slots, one by one: -DFAULT=1 frees a slot twice, 2 frees an address inside a slot, 3 frees
 * a slot through another pool. -DFAULT=0 is the mended twin: it does all that is right and looks alike.
 * Expect: double-free, invalid-free, wrong-arena-free with the lines marked; nothing of FAULT=0. */
#include "free_wrong.h"

int main(void)
{
	pool words, numbers;

	pool_init(&words, POOL);
	pool_init(&numbers, POOL);
	char *a = pool_alloc(&words, SLOT); /* WORD */
	char *b = pool_alloc(&words, SLOT);
	char *n = pool_alloc(&numbers, SLOT);
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
	b = pool_alloc(&words, SLOT);
	pool_free(&words, b);
	pool_free(&words, a);
	pool_free(&numbers, n);
#endif
	char *c = pool_alloc(&words, 8);
	char *d = pool_alloc(&words, 8);
	strcpy(c, "third");
	strcpy(d, "fourth");
	printf("%s\n", d);
	pool_destroy(&words);
	pool_destroy(&numbers);
	return 0;
}
