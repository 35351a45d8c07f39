/* gcc -O2 keeps values in caller-saved registers, integer and xmm, across calls to functions of the same file (IPA-RA).
 * A hook that saves only what the ABI asks for changes what this prints.
 * Expect: the same output hooked and unhooked; 1000 alloc events. Build with gcc -O2: there ra_alloc becomes
 * ra_alloc.constprop.0, which has lost its size argument (8, DWARF still knows). */
#include <stdio.h>
#include "bump.h"

NOINLINE static void *ra_alloc(struct bump *b, size_t size)
{
	size_t offset = b->offset;

	if (size > b->capacity - offset)
		return NULL;
	b->offset = offset + size;
	return b->base + offset;
}

NOINLINE static double mix(struct bump *b, long a, long c, long d, long e, double x, double y, double z)
{
	for (long i = 0; i < 1000; i++) {
		long *block = ra_alloc(b, 8);
		*block = a ^ (c + i);
		a += c * 3 + *block;
		c = c * 5 + (d ^ e);
		d += a & 0xff;
		e ^= d << 1;
		x += y * 0.5;
		y += z * 0.25;
		z += x * 0.125 - (double)(a & 7);
		x *= 0.5, y *= 0.5, z *= 0.5;
	}
	printf("%ld %ld %ld %ld\n", a, c, d, e);
	return x + y + z;
}

int main(void)
{
	struct bump b;

	if (bump_init(&b, 65536) != 0)
		return 1;
	printf("%.9f\n", mix(&b, 1, 2, 3, 4, 1.5, 2.5, 3.5));
	bump_destroy(&b);
	return 0;
}
