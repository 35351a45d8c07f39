/* More stack arguments than a stub likes to copy: a struct of 400 bytes by value, and a variadic allocator with 24
 * arguments, doubles among them.
 * Expect: the same output hooked and unhooked; each function watched, or not watched with the reason. */
#include <stdarg.h>
#include <stdio.h>
#include "bump.h"

struct big { long words[50]; };

NOINLINE void *big_alloc(struct bump *b, size_t size, struct big big)
{
	long *block = (long *)(b->base + b->offset);

	if (size > b->capacity - b->offset)
		return NULL;
	b->offset += size;
	*block = big.words[0] + big.words[17] + big.words[49];
	return block;
}

NOINLINE void *sum_alloc(struct bump *b, size_t size, int count, ...)
{
	double *block = (double *)(b->base + b->offset);
	va_list list;

	if (size > b->capacity - b->offset)
		return NULL;
	b->offset += size;
	*block = 0;
	va_start(list, count);
	for (int i = 0; i < count; i++)
		*block += i % 2 ? va_arg(list, double) : va_arg(list, int);
	va_end(list);
	return block;
}

int main(void)
{
	struct bump b;
	struct big big;
	double sum = 0;

	if (bump_init(&b, 4096) != 0)
		return 1;
	for (int i = 0; i < 50; i++)
		big.words[i] = i + 1;
	for (int i = 0; i < 5; i++) {
		long *one = big_alloc(&b, 16, big);
		double *two = sum_alloc(&b, 16, 24, 1, 2.5, 3, 4.5, 5, 6.5, 7, 8.5, 9, 10.5, 11, 12.5, 13, 14.5, 15, 16.5, 17, 18.5,
			19, 20.5, 21, 22.5, 23, 24.5);
		sum += (double)*one + *two;
	}
	printf("%.2f\n", sum);
	bump_destroy(&b);
	return 0;
}
