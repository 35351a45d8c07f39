/* arenascope_seed.h: the words of a hand-made arena (t_arena, arena_init, arena_alloc, arena_dump, arena_free) on ours.
 *
 * Include arenascope.h with ARENASCOPE_SEED_NAMES defined, not this file. 0x9A and 0x9B say which of the two first labs'
 * programs is spoken: they word their lines differently. What may be relied on: the programs' own struct and functions can be
 * deleted, and they print what they printed. Where it differs: sizes that are no multiple of 8 are rounded up in
 * the offset; the fields are for reading (setting offset to 0 resets nothing); a copy of the struct is the same arena.
 * Deliberately absent: anything a new program should use.
 */
#ifndef ARENASCOPE_SEED_H
#define ARENASCOPE_SEED_H

#include <errno.h>
#include <stdlib.h>

#if ARENASCOPE_SEED_NAMES != 0x9A && ARENASCOPE_SEED_NAMES != 0x9B
#error "ARENASCOPE_SEED_NAMES is 0x9A or 0x9B"
#endif

/* The three fields of old, kept up to date, and the arena behind them. */
typedef struct s_arena {
    void *base;
    size_t offset;
    size_t capacity;
    ascope_arena *arena;
} t_arena;

static inline void ascope_seed_init(t_arena *a, size_t size, const char *variable, const char *file, uint32_t line)
{
    a->arena = ascope_create_at(size, 0u, variable[0] == '&' ? variable + 1 : variable, file, line);
    if (a->arena == NULL) {
        perror("mmap");
        exit(1);
    }
    a->base = ascope_base(a->arena);
    a->offset = 0;
    a->capacity = size;
#if ARENASCOPE_SEED_NAMES == 0x9A
    printf("📦 Arena initialized at %p (%zu bytes)\n", a->base, size);
#else
    printf("🎯 Arena initialized at %p (%zu bytes)\n", a->base, size);
#endif
}

static inline void *ascope_seed_alloc(t_arena *a, size_t size, const char *file, uint32_t line)
{
    void *block = a->arena == NULL ? NULL : ascope_alloc_at(a->arena, size, file, line);
    if (block == NULL) {
#if ARENASCOPE_SEED_NAMES == 0x9A
        fprintf(stderr, "❌ Arena out of memory!\n");
#else
        fprintf(stderr, "❌ Arena out of memory at offset %zu\n", a->offset);
#endif
        return NULL;
    }
    a->offset = ascope_offset(a->arena);
#if ARENASCOPE_SEED_NAMES == 0x9A
    printf("✅ arena_alloc(%zu) → %p (offset = %zu)\n", size, block, a->offset);
#else
    printf("✅ arena_alloc(%zu) → %p (offset now %zu)\n", size, block, a->offset);
#endif
    return block;
}

static inline void arena_dump(t_arena *a)
{
#if ARENASCOPE_SEED_NAMES == 0x9A
    printf("🧠 Arena dump:\n");
    if (a->arena != NULL)
        ascope_dump_bytes(a->arena, stdout);
    else
        printf("\n");
#else
    if (a->arena != NULL)
        ascope_dump(a->arena, stdout);
    else
        printf("\n📦 Arena dump (%zu used / %zu total):\n\n", a->offset, a->capacity);
#endif
}

static inline void ascope_seed_free(t_arena *a, const char *file, uint32_t line)
{
    if (a->arena == NULL) {
        /* What munmap says of a region that is gone. */
        errno = EINVAL;
        perror("munmap");
    } else {
        ascope_destroy_at(a->arena, file, line);
        printf("🧹 Arena memory freed\n");
    }
    a->base = NULL;
    a->offset = 0;
    a->capacity = 0;
    a->arena = NULL;
}

#define arena_init(a, size) ascope_seed_init((a), (size), #a, __FILE__, __LINE__)
#define arena_alloc(a, size) ascope_seed_alloc((a), (size), __FILE__, __LINE__)
#define arena_free(a) ascope_seed_free((a), __FILE__, __LINE__)

#endif /* ARENASCOPE_SEED_H */
