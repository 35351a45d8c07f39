/* An arena that is inlined away, with markers; and one made of macros. Counts what it tells. */
#ifndef MARKED_H
#define MARKED_H

#include "../../../capi/include/arenascope-mark.h"

#include <stddef.h>

struct arena {
	char *base;
	size_t offset, capacity;
};

/* What was told, by this thread. */
struct told {
	unsigned long creates, allocs, frees, marks, rewinds, resets, destroys, resizes;
};

static __thread struct told told;

static inline void arena_init(struct arena *arena, void *memory, size_t capacity)
{
	arena->base = memory;
	arena->offset = 0;
	arena->capacity = capacity;
	ARENASCOPE_CREATE(arena, capacity, "marked");
	told.creates++;
}

/* A marker on each way out: where ways meet for a marker's sake the compiler would forget which one was taken. */
static inline void *arena_alloc(struct arena *arena, size_t size)
{
	size_t at = (arena->offset + 7) & ~(size_t)7;
	void *block;

	told.allocs++;
	if (at > arena->capacity || size > arena->capacity - at) {
		ARENASCOPE_ALLOC(arena, NULL, size);
		return NULL;
	}
	block = arena->base + at;
	arena->offset = at + size;
	ARENASCOPE_ALLOC(arena, block, size);
	return block;
}

static inline void *arena_grow(struct arena *arena, void *old, size_t size)
{
	size_t at = (size_t)((char *)old - arena->base);
	void *block = NULL;

	if (size <= arena->capacity - at) {
		block = old;
		arena->offset = at + size;
	}
	ARENASCOPE_RESIZE(arena, old, block, size);
	told.resizes++;
	return block;
}

static inline void arena_free(struct arena *arena, void *block)
{
	(void)arena;
	ARENASCOPE_FREE(arena, block);
	told.frees++;
}

static inline size_t arena_mark(struct arena *arena)
{
	size_t mark = arena->offset;

	ARENASCOPE_MARK(arena, mark);
	told.marks++;
	return mark;
}

static inline void arena_rewind(struct arena *arena, size_t mark)
{
	ARENASCOPE_REWIND(arena, mark);
	told.rewinds++;
	arena->offset = mark;
}

static inline void arena_reset(struct arena *arena)
{
	ARENASCOPE_RESET(arena);
	told.resets++;
	arena->offset = 0;
}

static inline void arena_destroy(struct arena *arena)
{
	ARENASCOPE_DESTROY(arena);
	told.destroys++;
	arena->base = NULL;
}

/* The same as a macro: an expression of gcc's. */
#define MACRO_ALLOC(from, bytes) __extension__({ \
	struct arena *const macro_arena = (from); \
	const size_t macro_size = (bytes); \
	const size_t macro_at = (macro_arena->offset + 7) & ~(size_t)7; \
	void *const macro_block = macro_arena->base + macro_at; \
	macro_arena->offset = macro_at + macro_size; \
	ARENASCOPE_ALLOC(macro_arena, macro_block, macro_size); \
	told.allocs++; \
	macro_block; \
})

#endif
