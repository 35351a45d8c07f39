/* Asks for memory under limits that it sets itself, and prints what it got. Arguments: as, data or lock.
 * Expect: the same output and status; the blocks are recorded. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include "bump.h"

static void *block_of(long mib)
{
	void *block = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	printf("%ld MiB: %s\n", mib, block == MAP_FAILED ? "refused" : "given");
	return block;
}

int main(int count, char **arguments)
{
	struct bump b;
	const char *what = count > 1 ? arguments[1] : "as";
	struct rlimit limit = {256 << 20, 256 << 20};
	long sum = 0;

	if (bump_init(&b, 1 << 20) != 0)
		return 1;
	if (!strcmp(what, "as")) {
		printf("limit: %d\n", setrlimit(RLIMIT_AS, &limit));
		block_of(64);
		block_of(1024);
	} else if (!strcmp(what, "data")) {
		limit.rlim_cur = limit.rlim_max = 32 << 20;
		printf("limit: %d\n", setrlimit(RLIMIT_DATA, &limit));
		block_of(28);
		block_of(32);
	} else {
		printf("locked: %d\n", mlockall(MCL_CURRENT | MCL_FUTURE));
	}
	for (int i = 0; i < 30000; i++) {
		int *block = bump_alloc(&b, 16);
		*block = i;
		sum += *block;
	}
	printf("%ld\n", sum);
	bump_destroy(&b);
	return 0;
}
