/* No arena argument at all: one global arena in static memory.
 * Expect, with `--alloc 'grab(size) -> block' --reset 'drop_all()'`: one arena, 6 blocks, 3 alive at the end. */
#include <stdio.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))

static char store[1024];
static size_t used;

NOINLINE char *grab(size_t size)
{
	char *block = store + used;

	if (size > sizeof store - used)
		return NULL;
	used += size;
	return block;
}

NOINLINE void drop_all(void)
{
	used = 0;
}

int main(void)
{
	char *kept[3];

	for (int round = 0; round < 2; round++) {
		if (round == 1)
			drop_all();
		for (int i = 0; i < 3; i++)
			kept[i] = strcpy(grab(24), round == 0 ? "first round" : "second round");
	}
	printf("%s %s %s\n", kept[0], kept[1], kept[2]);
	return 0;
}
