/* An arena made of macros: there is no function at all. With -DMARKERS it tells what it does.
 *
 * docs/markers.md shows what arenascope sees of it, with and without. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#ifdef MARKERS
#include "../../crates/capi/include/arenascope-mark.h"
#else
#define ARENASCOPE_CREATE(arena, capacity, name) ((void)0)
#define ARENASCOPE_ALLOC(arena, block, size) ((void)0)
#define ARENASCOPE_FREE(arena, block) ((void)0)
#define ARENASCOPE_RESET(arena) ((void)0)
#endif

#define ARENA(name, bytes) static struct { size_t offset; char memory[bytes]; } name
#define ARENA_BEGIN(arena) do { (arena).offset = 0; ARENASCOPE_CREATE(&(arena), sizeof (arena).memory, #arena); } while (0)
#define ARENA_NEW(arena, pointer, bytes) do { \
	(pointer) = (void *)((arena).memory + (arena).offset); \
	(arena).offset += ((bytes) + 7) & ~(size_t)7; \
	ARENASCOPE_ALLOC(&(arena), (pointer), (size_t)(bytes)); \
} while (0)
/* The last one may be given back. */
#define ARENA_DROP(arena, pointer) do { \
	ARENASCOPE_FREE(&(arena), (pointer)); \
	(arena).offset = (size_t)((char *)(pointer) - (arena).memory); \
} while (0)
#define ARENA_EMPTY(arena) do { ARENASCOPE_RESET(&(arena)); (arena).offset = 0; } while (0)

ARENA(names, 4096);

struct name {
	struct name *next;
	char text[24];
};

int main(void)
{
	struct name *first = NULL, *name;
	int i, count = 0;

	ARENA_BEGIN(names);
	for (i = 0; i < 10; i++) {
		ARENA_NEW(names, name, sizeof *name);
		snprintf(name->text, sizeof name->text, "name %d", i);
		name->next = first;
		first = name;
	}
	for (name = first; name; name = name->next)
		count++;
	ARENA_DROP(names, first);
#ifdef PLANTED
	ARENA_DROP(names, first);
#endif
	printf("%d\n", count);
	ARENA_EMPTY(names);
	return 0;
}
