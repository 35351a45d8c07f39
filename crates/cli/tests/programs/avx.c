/* 256-bit values kept in ymm registers across calls of the same file (gcc -O2, IPA-RA): their upper halves must survive too.
 * Without AVX2 it says so.
 * Expect: output untouched; 1000 allocs where there is AVX2. */
#include <stdio.h>
#include "bump.h"

typedef double v4 __attribute__((vector_size(32)));

__attribute__((target("avx2"))) NOINLINE static void *v_alloc(struct bump *b, size_t size)
{
	size_t offset = b->offset;

	if (size > b->capacity - offset)
		return NULL;
	b->offset = offset + size;
	return b->base + offset;
}

__attribute__((target("avx2"))) NOINLINE static void mix(struct bump *b, v4 *out)
{
	const v4 lanes = { 0.25, -1, 3, 0.5 };
	v4 x = out[0], y = out[1], z = out[2];

	for (int i = 0; i < 1000; i++) {
		double *block = v_alloc(b, 8);
		*block = x[3];
		x = x * 0.5 + y;
		y = y * 0.25 + z;
		z = z * 0.125 - x * 0.0625 + *block * 0.001 + lanes * (double)(i & 3);
	}
	out[0] = x, out[1] = y, out[2] = z;
}

int main(void)
{
	struct bump b;
	v4 out[3] = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 }, { 9, 10, 11, 12 } };

	if (!__builtin_cpu_supports("avx2")) {
		puts("no AVX2");
		return 0;
	}
	if (bump_init(&b, 65536) != 0)
		return 1;
	mix(&b, out);
	for (int i = 0; i < 3; i++)
		printf("%.6f %.6f %.6f %.6f\n", out[i][0], out[i][1], out[i][2], out[i][3]);
	bump_destroy(&b);
	return 0;
}
