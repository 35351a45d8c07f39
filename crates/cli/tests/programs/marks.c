/* Two marks around a write that runs over the end of its block: the seed's memcmp before and after. With -DMENDED the text
   fits. Expectation: bytes 20-39 of block 1 and, not when mended, 0-7 of block 2 change between the marks. */
#include "../../../capi/include/arenascope_mark.h"
#include "bump.h"

#include <string.h>

int main(void)
{
	struct bump arena;
	char *first, *second;

	if (bump_init(&arena, 4096))
		return 1;
	first = bump_alloc(&arena, 40);
	second = bump_alloc(&arena, 24);
	strcpy(first, "the first block has ");
	strcpy(second + 12, "mine");
	arenascope_mark("before");
#ifdef MENDED
	memcpy(first + 20, "a text that fits in.", 20);
#else
	memcpy(first + 20, "a text that is longer than it", 28);
#endif
	arenascope_mark("after");
	bump_destroy(&arena);
	return 0;
}
