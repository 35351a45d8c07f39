/* A library that is loaded and closed while threads unwind. SHAPE makes its frames and its code differ from another's. */
#include <string.h>

typedef int leaf_function(int);

__attribute__((noinline)) static int inner(leaf_function *leaf, int n)
{
	volatile char room[SHAPE * 16 + 8];

	for (int i = 0; i < SHAPE; i++)
		room[i] = n;
#if SHAPE % 2
	{
		char more[n * 8 + 8];

		memset(more, n, sizeof more);
		n += more[n];
	}
#endif
	n = leaf(n) + room[0];
	__asm__ volatile("");
	return n;
}

int plugin(leaf_function *leaf, int n) { n = inner(leaf, n + 1); __asm__ volatile(""); return n; }
