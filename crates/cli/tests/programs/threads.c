/* Four threads, an arena each, 1000 allocations each; and one arena that they use by turns under a lock.
 * Expect: five arenas, 4 * 1000 + 4 * 10 alloc events, five threads, no finding. Build with -pthread. */
#include <pthread.h>
#include <stdio.h>
#include "bump.h"

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static struct bump shared;

static void *work(void *out)
{
	struct bump own;
	long sum = 0;

	if (bump_init(&own, 65536) != 0)
		return NULL;
	for (int i = 0; i < 1000; i++) {
		long *block = bump_alloc(&own, 24);
		*block = i;
		sum += *block;
		if (i % 100 == 0) {
			pthread_mutex_lock(&turn);
			block = bump_alloc(&shared, 16);
			*block = 1;
			sum += *block;
			pthread_mutex_unlock(&turn);
		}
	}
	bump_destroy(&own);
	*(long *)out = sum;
	return NULL;
}

int main(void)
{
	pthread_t thread[4];
	long sum[4] = {0};

	if (bump_init(&shared, 4096) != 0)
		return 1;
	for (int i = 0; i < 4; i++)
		if (pthread_create(&thread[i], NULL, work, &sum[i]) != 0)
			return 2;
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	printf("%ld, shared %zu bytes\n", sum[0] + sum[1] + sum[2] + sum[3], shared.offset);
	bump_destroy(&shared);
	return 0;
}
