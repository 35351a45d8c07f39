/* arenascope.h: an arena whose memory anyone can look into, for C11 and C++17.
 *
 * What lives here: the arena's header as it lies in memory, the inline allocation path on it, and the prototypes of
 * libarenascope. What may be relied on: a C program and a Rust program that share an arena see the same bytes; NULL means
 * refused, errno says why, and the arena is as it was; no function unwinds or aborts. Deliberately absent: a lock. One thread at a
 * time uses an arena; it may be handed to another thread. What many threads or processes use at once is in arenascope_shared.h,
 * which this file includes.
 *
 *     ascope_arena *arena = ascope_growing();
 *     struct node *node = ascope_new(arena, struct node);
 *     char *name = ascope_strdup(arena, "x");
 *     ascope_destroy(arena);                              // all blocks end here
 *
 * The manual is docs/c.md. SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef ARENASCOPE_H
#define ARENASCOPE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#define ASCOPE_ALIGNOF(type) alignof(type)
#define ASCOPE_STATIC_ASSERT(condition) static_assert(condition, #condition)
#else
#define ASCOPE_ALIGNOF(type) _Alignof(type)
#define ASCOPE_STATIC_ASSERT(condition) _Static_assert(condition, #condition)
#endif

#if defined(__GNUC__) || defined(__clang__)
#define ASCOPE_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define ASCOPE_CONSTANT(value) __builtin_constant_p(value)
/* Tells the compiler what it cannot know: a caller's comparison with NULL then costs nothing on the allocation path. */
#define ASCOPE_KNOWN(condition) ((condition) ? (void)0 : __builtin_unreachable())
#define ASCOPE_MUST_USE __attribute__((warn_unused_result))
#define ASCOPE_FORMAT(place, first) __attribute__((format(printf, place, first)))
#define ASCOPE_INLINE static inline __attribute__((always_inline, unused))
#else
#define ASCOPE_LIKELY(condition) (condition)
#define ASCOPE_CONSTANT(value) 0
#define ASCOPE_KNOWN(condition) ((void)0)
#define ASCOPE_MUST_USE
#define ASCOPE_FORMAT(place, first)
#define ASCOPE_INLINE static inline
#endif

/* ------------------------------------------------------------------------------------------------ the header in memory */

/* Changes when a field moves or changes its meaning; ascope_create refuses programs built with another one. */
#define ASCOPE_LAYOUT_VERSION 2u

/* Every block begins at a multiple of this, in bytes, and takes a multiple of it. */
#define ASCOPE_GRAIN 8u

/* The first eight bytes of a living arena: "ARENASC1" as text on a little-endian machine. */
#define ASCOPE_MAGIC UINT64_C(0x314353414e455241)

typedef struct ascope_event ascope_event;
typedef struct ascope_observer ascope_observer;

/* An arena: cursor and bound over one contiguous region, at the base of that region. Read it; write it only through the
 * functions below (limit excepted: anyone may store 0 into it, and watching begins; or 1, and watching ends). What follows
 * the last field is the library's own. Pointers named `name` and `site_file` are UTF-8 and not terminated. */
typedef struct ascope_arena {
    uint64_t magic;             /*  +0  ASCOPE_MAGIC */
    uint32_t layout_version;    /*  +8  ASCOPE_LAYOUT_VERSION */
    uint32_t header_bytes;      /* +12  bytes from the header to base */
    char *cursor;               /* +16  where the next block begins; a multiple of 8 */
    char *base;                 /* +24  the first byte that can be handed out */
    uintptr_t limit;            /* +32  no block may end past this address */
    uintptr_t true_limit;       /* +40  what limit is when nobody watches */
    uintptr_t high_water;       /* +48  the highest cursor that a rewind, reset, free or realloc has lowered */
    uintptr_t stored_limit;     /* +56  what the owner stored into limit last */
    size_t capacity;            /* +64  the exact bound asked for, in bytes from base */
    size_t committed;           /* +72  bytes from base that may be touched */
    size_t reserved;            /* +80  bytes from base to the reservation's end */
    uint64_t id;                /* +88  unique in the process, from 1 */
    uint64_t generation;        /* +96  counts resets and rewinds */
    uint32_t depth;             /* +104 open scopes */
    uint32_t scope;             /* +108 the innermost scope's number, 0 until a checkpoint is taken in it */
    uint32_t owner_tid;         /* +112 thread that created the arena, 0 when not known */
    uint32_t pid;               /* +116 process that created it */
    uint64_t events;            /* +120 events reported so far */
    const char *site_file;      /* +128 file of the creation site, NULL when not known */
    uint32_t site_file_bytes;   /* +136 */
    uint32_t site_line;         /* +140 from 1; 0 when not known */
    const char *name;           /* +144 NULL when the arena has none */
    uint32_t name_bytes;        /* +152 0 when the arena has no name */
    uint32_t site_column;       /* +156 from 1; 0 when not known, as in C */
    char name_inline[32];       /* +160 the name's first 32 bytes */
    const ascope_observer *observer; /* +192 NULL: the process's, if there is one */
    uintptr_t clean_from;       /* +200 bytes from this address on were never handed out */
    uint32_t flags;             /* +208 ASCOPE_FLAG_… */
    uint32_t scopes;            /* +212 numbers scopes in which checkpoints are taken */
    uint64_t reset_generation;  /* +216 the generation of the last reset */
    uint32_t commits;           /* +224 times that more memory was taken into use */
    uint32_t refusals;          /* +228 requests refused */
} ascope_arena;

/* Bits of ascope_arena.flags. */
#define ASCOPE_FLAG_ZEROED 1u        /* memory that was never handed out reads as zero */
#define ASCOPE_FLAG_GROWING 2u       /* made by ascope_growing */
#define ASCOPE_FLAG_WATCHED 4u       /* events are reported */
#define ASCOPE_FLAG_LEASED 256u      /* a thread's handle of a shared arena: base to base + capacity is its lease now */
#define ASCOPE_FLAG_CHECKED 1024u    /* blocks lie where a checker has put them: base[0..offset] holds none of them */

#if UINTPTR_MAX == UINT64_MAX
ASCOPE_STATIC_ASSERT(offsetof(ascope_arena, cursor) == 16);
ASCOPE_STATIC_ASSERT(offsetof(ascope_arena, limit) == 32);
ASCOPE_STATIC_ASSERT(offsetof(ascope_arena, capacity) == 64);
ASCOPE_STATIC_ASSERT(offsetof(ascope_arena, refusals) == 228);
#endif

/* ------------------------------------------------------------------------------------------------ create and destroy */

/* Everything that can be chosen. Begin with ASCOPE_OPTIONS_INIT; zero is every other field's default. */
typedef struct ascope_options {
    size_t options_bytes;       /* sizeof(ascope_options) */
    uint32_t layout_version;    /* ASCOPE_LAYOUT_VERSION */
    uint32_t flags;             /* ASCOPE_… below */
    size_t capacity;            /* the exact bound in bytes; without meaning with ASCOPE_GROWING */
    size_t reserve;             /* with ASCOPE_GROWING: bytes of addresses to reserve; 0: the library's choice, 64 GiB at most */
    size_t keep_bytes;          /* with ASCOPE_RESET_KEEPS_SOME: bytes that a reset keeps */
    const char *name;           /* NULL or a name; the header keeps its first 32 bytes */
    const char *file;           /* NULL or the creation site's file; a literal, or alive as long as the arena */
    const ascope_observer *observer; /* NULL or an observer: watches from the creation on */
    uint32_t line;              /* the creation site's line */
    size_t commit_ahead;        /* bytes taken into use beyond what is needed, when the arena grows; 0: the library's choice */
} ascope_options;

#define ASCOPE_GROWING 1u           /* grows in place up to its reservation */
#define ASCOPE_SMALL_PAGES 2u       /* never huge pages */
#define ASCOPE_HUGE_PAGES 4u        /* huge pages from the first byte; default: from 256 KiB on, for arenas of 2 MiB and more */
#define ASCOPE_NO_POPULATE 8u       /* pages come one by one, when touched; default: ahead, in growing steps */
#define ASCOPE_NO_KEEP 16u          /* memory fresh from the system, and back there at the end */
#define ASCOPE_HEAP 32u             /* memory from malloc: for Valgrind and sanitizers */
#define ASCOPE_RESET_KEEPS_SOME 64u /* a reset keeps keep_bytes; default: everything */
#define ASCOPE_RESET_RELEASES 128u  /* a reset gives all whole pages back */
#define ASCOPE_NO_COLOUR 256u       /* begins with its page; default: each arena at another place of it, so that they share no cache lines */
#define ASCOPE_POPULATE_ALL 512u    /* a bounded arena takes all its pages when it is made: O(capacity), and no fault later */

/* The fields that a caller need not think about: `ascope_options options = {ASCOPE_OPTIONS_INIT};` */
#define ASCOPE_OPTIONS_INIT sizeof(ascope_options), ASCOPE_LAYOUT_VERSION, 0u, 0u, 0u, 0u, NULL, __FILE__, NULL, __LINE__, 0u

/* Makes an arena. O(1); mostly without a system call up to 64 KiB. NULL: errno is ENOMEM (or what the system said), EINVAL
 * (no options), ENOTSUP (the library has another layout than this header). */
ASCOPE_MUST_USE ascope_arena *ascope_create(const ascope_options *options);

/* An arena in the caller's memory. The header takes 384 bytes of it, alignment up to 127 more; the rest, in whole grains, is
 * the capacity. O(1). NULL: too small (ENOMEM), no buffer (EINVAL). */
ASCOPE_MUST_USE ascope_arena *ascope_in_buffer_at(void *buffer, size_t bytes, const char *file, uint32_t line);
#define ascope_in_buffer(buffer, bytes) ascope_in_buffer_at((buffer), (bytes), __FILE__, __LINE__)

/* The functions behind the macros of the same names, for callers that cannot include this header: they know no line. */
ASCOPE_MUST_USE ascope_arena *(ascope_init)(size_t capacity);
ASCOPE_MUST_USE ascope_arena *(ascope_growing)(void);
void(ascope_destroy)(ascope_arena *arena);

ASCOPE_INLINE ascope_arena *ascope_create_at(size_t capacity, uint32_t flags, const char *name, const char *file,
                                             uint32_t line)
{
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.flags = flags;
    options.capacity = capacity;
    options.name = name;
    options.file = file;
    options.line = line;
    return ascope_create(&options);
}

/* A bounded arena: exactly `capacity` bytes can be handed out, alignment included. NULL as ascope_create. */
#define ascope_init(capacity) ascope_create_at((capacity), 0u, NULL, __FILE__, __LINE__)

/* An arena that grows in place, never moving. NULL as ascope_create. */
#define ascope_growing() ascope_create_at(0u, ASCOPE_GROWING, NULL, __FILE__, __LINE__)

/* The same with a name, for people and tools: a string of any lifetime. */
#define ascope_init_named(name, capacity) ascope_create_at((capacity), 0u, (name), __FILE__, __LINE__)
#define ascope_growing_named(name) ascope_create_at(0u, ASCOPE_GROWING, (name), __FILE__, __LINE__)

/* Declares a variable and makes an arena of its name: `ASCOPE_ARENA(symbols, 4096);` In a function: at file scope C wants constants
 * (C++ does not). There: `static ascope_arena *symbols;`, and in main `symbols = ascope_init_named("symbols", 4096);` */
#define ASCOPE_ARENA(variable, capacity)                                                                                         \
    ascope_arena *variable = ascope_create_at((capacity), 0u, #variable, __FILE__, __LINE__)
#define ASCOPE_GROWING_ARENA(variable)                                                                                           \
    ascope_arena *variable = ascope_create_at(0u, ASCOPE_GROWING, #variable, __FILE__, __LINE__)

/* Ends the arena and all its blocks, and gives its memory back. O(1) up to 64 KiB. NULL, or an arena that something else ends (a handle
 * of a shared arena, the arena of a fork policy): nothing happens. */
void ascope_destroy_at(ascope_arena *arena, const char *file, uint32_t line);
#define ascope_destroy(arena) ascope_destroy_at((arena), __FILE__, __LINE__)

/* Each thread keeps regions of arenas that ended for the next ones, so that these cost no system call. When it ends, they go back. */
typedef struct ascope_kept_regions {
    size_t bytes;               /* headers included */
    size_t count;
} ascope_kept_regions;

/* Sets how much each thread of the process keeps: 64 MiB and 4096 regions when nothing is said; 0 bytes keeps nothing. Heeded when
 * an arena ends; what is kept already goes back with ascope_release_kept. O(1). */
void ascope_set_kept_limits(size_t bytes, size_t count);

/* Gives all that the calling thread keeps back to the system. O(kept regions). */
void ascope_release_kept(void);

/* What the calling thread keeps now. O(1). */
ASCOPE_MUST_USE ascope_kept_regions ascope_kept(void);

/* ------------------------------------------------------------------------------------------------ read an arena */

/* The first byte that can be handed out. All calls of this section are O(1) and change nothing. */
ASCOPE_INLINE void *ascope_base(const ascope_arena *arena)
{
    return arena->base;
}

/* Bytes handed out, padding included; never more than the capacity. */
ASCOPE_INLINE size_t ascope_offset(const ascope_arena *arena)
{
    size_t offset = (size_t)(arena->cursor - arena->base);
    return offset < arena->capacity ? offset : arena->capacity;
}

/* The exact bound in bytes; for a growing arena, its reservation. */
ASCOPE_INLINE size_t ascope_capacity(const ascope_arena *arena)
{
    return arena->capacity;
}

/* Bytes that are left: the largest block that can still be had. */
ASCOPE_INLINE size_t ascope_remaining(const ascope_arena *arena)
{
    return arena->capacity - ascope_offset(arena);
}

/* The other half of the two that ask where blocks lie: in check mode it is the checker who knows. */
int ascope_contains_checked(const ascope_arena *arena, const void *address);
void ascope_show_checked(const ascope_arena *arena);

/* 1 when the address lies in memory that is handed out now, else 0. */
ASCOPE_INLINE int ascope_contains(const ascope_arena *arena, const void *address)
{
    if ((uintptr_t)address - (uintptr_t)arena->base < ascope_offset(arena)) {
        return 1;
    }
    return (arena->flags & ASCOPE_FLAG_CHECKED) != 0 ? ascope_contains_checked(arena, address) : 0;
}

/* ------------------------------------------------------------------------------------------------ blocks */

/* The other half of the allocation path: watching, more memory, the last bytes of a bounded arena, refusal. */
ASCOPE_MUST_USE void *ascope_alloc_cold(ascope_arena *arena, size_t size, size_t align, const char *file, uint32_t line);
ASCOPE_MUST_USE void *ascope_realloc_cold(ascope_arena *arena, void *block, size_t old_size, size_t new_size,
                                          size_t align, const char *file, uint32_t line);
void ascope_free_at(ascope_arena *arena, void *block, size_t size, const char *file, uint32_t line);

ASCOPE_MUST_USE void *(ascope_alloc)(ascope_arena *arena, size_t size);
ASCOPE_MUST_USE void *(ascope_alloc_aligned)(ascope_arena *arena, size_t size, size_t align);
ASCOPE_MUST_USE void *(ascope_realloc)(ascope_arena *arena, void *block, size_t old_size, size_t new_size);
void(ascope_free)(ascope_arena *arena, void *block, size_t size);

/* Whether a block may end at `end`. Anyone may store 0 or 1 into limit at any time: it is read anew each time, once. gcc
 * does not fold a volatile load into the comparison, clang not always: on x86-64 they are told (one instruction less). */
ASCOPE_INLINE int ascope_fits(const ascope_arena *arena, uintptr_t end)
{
#if defined(__x86_64__) && defined(__LP64__) && defined(__GCC_ASM_FLAG_OUTPUTS__)
    int past;
    __asm__ volatile("cmpq %2, %1" : "=@cca"(past) : "r"(end), "m"(arena->limit));
    return !past;
#else
    return end <= *(const volatile uintptr_t *)&arena->limit;
#endif
}

/* size rounded up to whole grains; size is at most PTRDIFF_MAX. */
ASCOPE_INLINE size_t ascope_slot(size_t size)
{
    return (size + (ASCOPE_GRAIN - 1u)) & ~(size_t)(ASCOPE_GRAIN - 1u);
}

/* The allocation path: load cursor, add, compare with limit, store cursor.
 *
 * limit is 0, 1, or a multiple of 8 that is the end of memory in use. So the exact end may be compared instead of the rounded
 * one, and after that comparison rounding cannot overflow. The sum itself can, for sizes that a program got wrong: end < cursor
 * tells that (one jump on the carry), unless the compiler knows the size. */
ASCOPE_MUST_USE ASCOPE_INLINE void *ascope_alloc_at(ascope_arena *arena, size_t size, const char *file, uint32_t line)
{
    char *block = arena->cursor;
    uintptr_t start = (uintptr_t)block;
    if (ASCOPE_CONSTANT(size) && size <= (size_t)PTRDIFF_MAX - ASCOPE_GRAIN) {
        if (ASCOPE_LIKELY(ascope_fits(arena, start + ascope_slot(size)))) {
            arena->cursor = block + ascope_slot(size);
            ASCOPE_KNOWN(block != NULL);
            return block;
        }
    } else {
        uintptr_t end = start + size;
        if (ASCOPE_LIKELY(end >= start) && ASCOPE_LIKELY(ascope_fits(arena, end))) {
            arena->cursor = block + (ascope_slot(end) - start);
            ASCOPE_KNOWN(block != NULL);
            return block;
        }
    }
    return ascope_alloc_cold(arena, size, ASCOPE_GRAIN, file, line);
}

/* The same for a block at a multiple of `align`, any power of two. */
ASCOPE_MUST_USE ASCOPE_INLINE void *ascope_alloc_aligned_at(ascope_arena *arena, size_t size, size_t align, const char *file,
                                                            uint32_t line)
{
    if (ASCOPE_CONSTANT(align) && align <= ASCOPE_GRAIN && align != 0 && (align & (align - 1u)) == 0) {
        return ascope_alloc_at(arena, size, file, line);
    }
    if (ASCOPE_LIKELY(align != 0 && (align & (align - 1u)) == 0)) {
        uintptr_t cursor = (uintptr_t)arena->cursor;
        /* A multiple of 8 at least, because cursor is one; below 2^63, because addresses are below 2^56. */
        size_t skip = (size_t)(-cursor & (align - 1u));
        uintptr_t start = cursor + skip;
        uintptr_t end = start + size;
        if (ASCOPE_LIKELY(end >= start) && ASCOPE_LIKELY(ascope_fits(arena, end))) {
            char *block = arena->cursor + skip;
            arena->cursor = block + ascope_slot(size);
            ASCOPE_KNOWN(block != NULL);
            return block;
        }
    }
    return ascope_alloc_cold(arena, size, align, file, line);
}

/* A block of `size` bytes at a multiple of 8, uninitialised. O(1). It lives until the arena is reset, rewound to before it, or
 * destroyed. Size 0 gives a pointer that is not NULL, and takes nothing. NULL: past the capacity, or the system has no more
 * memory (errno ENOMEM). Types that need more than 8 (long double, vectors): ascope_new, or ascope_alloc_aligned. */
#define ascope_alloc(arena, size) ascope_alloc_at((arena), (size), __FILE__, __LINE__)

/* The same at a multiple of `align`. NULL with errno EINVAL when that is no power of two. */
#define ascope_alloc_aligned(arena, size, align) ascope_alloc_aligned_at((arena), (size), (align), __FILE__, __LINE__)

/* A block for one `type`, or for `count` of them, aligned as the type needs; a product that overflows is refused. */
#define ascope_new(arena, type)                                                                                                  \
    ((type *)ascope_alloc_aligned_at((arena), sizeof(type), ASCOPE_ALIGNOF(type), __FILE__, __LINE__))
#define ascope_new_array(arena, type, count)                                                                                     \
    ((type *)ascope_alloc_aligned_at((arena), ascope_array_bytes((count), sizeof(type)), ASCOPE_ALIGNOF(type), __FILE__, __LINE__))

/* count × size, or SIZE_MAX, which every arena refuses. */
ASCOPE_INLINE size_t ascope_array_bytes(size_t count, size_t size)
{
    return size != 0 && count > SIZE_MAX / size ? SIZE_MAX : count * size;
}

ASCOPE_MUST_USE ASCOPE_INLINE void *ascope_calloc_at(ascope_arena *arena, size_t count, size_t size, const char *file,
                                                     uint32_t line)
{
    size_t bytes = ascope_array_bytes(count, size);
    void *block = ascope_alloc_at(arena, bytes, file, line);
    if (block != NULL) {
        /* What was never handed out is zero already: a large block costs what is touched, later. */
        size_t dirty = bytes;
        if (bytes >= 1024u && (arena->flags & ASCOPE_FLAG_ZEROED) != 0) {
            uintptr_t clean = arena->clean_from > arena->high_water ? arena->clean_from : arena->high_water;
            uintptr_t start = (uintptr_t)block;
            size_t below = clean > start ? (size_t)(clean - start) : 0u;
            dirty = below < bytes ? below : bytes;
        }
        memset(block, 0, dirty);
    }
    return block;
}

/* A block for `count` times `size` bytes, all zero. O(bytes) at most. NULL as ascope_alloc, and when the product overflows. */
#define ascope_calloc(arena, count, size) ascope_calloc_at((arena), (count), (size), __FILE__, __LINE__)

ASCOPE_MUST_USE ASCOPE_INLINE void *ascope_realloc_at(ascope_arena *arena, void *block, size_t old_size, size_t new_size,
                                                      const char *file, uint32_t line)
{
    uintptr_t start = (uintptr_t)block;
    if (block != NULL && new_size >= old_size && start + ascope_slot(old_size) == (uintptr_t)arena->cursor) {
        uintptr_t end = start + new_size;
        if (ASCOPE_LIKELY(end >= start) && ASCOPE_LIKELY(ascope_fits(arena, end))) {
            arena->cursor = (char *)block + ascope_slot(new_size);
            return block;
        }
    }
    return ascope_realloc_cold(arena, block, old_size, new_size, ASCOPE_GRAIN, file, line);
}

/* Changes a block's size; contents stay up to the smaller size. The arena keeps no sizes, so the caller says the old one. In
 * place and O(1) for the last block and for shrinking; else a new block and a copy, O(size), the old one stays behind unused.
 * A NULL block is a new one. A block from ascope_alloc_aligned may be moved to a multiple of 8 only: ascope_realloc_aligned.
 * NULL: as ascope_alloc; the block is unchanged and still there. */
#define ascope_realloc(arena, block, old_size, new_size)                                                                         \
    ascope_realloc_at((arena), (block), (old_size), (new_size), __FILE__, __LINE__)
#define ascope_realloc_aligned(arena, block, old_size, new_size, align)                                                          \
    ascope_realloc_cold((arena), (block), (old_size), (new_size), (align), __FILE__, __LINE__)

/* Gives a block of `size` bytes back. Its memory is reused when it is the last block; otherwise nothing happens until the arena
 * is rewound, reset or destroyed. O(1). NULL: nothing happens. */
#define ascope_free(arena, block, size) ascope_free_at((arena), (block), (size), __FILE__, __LINE__)

ASCOPE_MUST_USE ASCOPE_INLINE void *ascope_memdup_at(ascope_arena *arena, const void *bytes, size_t size, const char *file,
                                                     uint32_t line)
{
    void *block = ascope_alloc_at(arena, size, file, line);
    if (block != NULL && size != 0) {
        memcpy(block, bytes, size);
    }
    return block;
}

ASCOPE_MUST_USE ASCOPE_INLINE char *ascope_strndup_at(ascope_arena *arena, const char *text, size_t most, const char *file,
                                                      uint32_t line)
{
    const char *end = (const char *)memchr(text, 0, most);
    size_t length = end != NULL ? (size_t)(end - text) : most;
    char *copy = length == SIZE_MAX ? NULL : (char *)ascope_alloc_at(arena, length + 1u, file, line);
    if (copy != NULL) {
        memcpy(copy, text, length);
        copy[length] = 0;
    }
    return copy;
}

/* Copies: of a string; of at most `most` characters of one, terminated; of bytes. O(size). NULL as ascope_alloc. */
#define ascope_strdup(arena, text) ascope_strdup_at((arena), (text), __FILE__, __LINE__)
#define ascope_strndup(arena, text, most) ascope_strndup_at((arena), (text), (most), __FILE__, __LINE__)
#define ascope_memdup(arena, bytes, size) ascope_memdup_at((arena), (bytes), (size), __FILE__, __LINE__)

ASCOPE_MUST_USE ASCOPE_INLINE char *ascope_strdup_at(ascope_arena *arena, const char *text, const char *file, uint32_t line)
{
    return (char *)ascope_memdup_at(arena, text, strlen(text) + 1u, file, line);
}

ASCOPE_MUST_USE static inline char *ascope_vprintf_at(ascope_arena *arena, const char *file, uint32_t line, const char *format,
                                                      va_list arguments) ASCOPE_FORMAT(4, 0);
ASCOPE_MUST_USE static inline char *ascope_printf_at(ascope_arena *arena, const char *file, uint32_t line, const char *format,
                                                     ...) ASCOPE_FORMAT(4, 5);

static inline char *ascope_vprintf_at(ascope_arena *arena, const char *file, uint32_t line, const char *format,
                                      va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    char *text = length < 0 ? NULL : (char *)ascope_alloc_at(arena, (size_t)length + 1u, file, line);
    if (text != NULL) {
        vsnprintf(text, (size_t)length + 1u, format, again);
    }
    va_end(again);
    return text;
}

static inline char *ascope_printf_at(ascope_arena *arena, const char *file, uint32_t line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = ascope_vprintf_at(arena, file, line, format, arguments);
    va_end(arguments);
    return text;
}

/* A string made by printf's rules: ascope_printf(arena, format, …). O(length), formatted twice. NULL: as ascope_alloc, or the
 * format failed. */
#define ascope_printf(arena, ...) ascope_printf_at((arena), __FILE__, __LINE__, __VA_ARGS__)
#define ascope_vprintf(arena, format, arguments) ascope_vprintf_at((arena), __FILE__, __LINE__, (format), (arguments))

/* ------------------------------------------------------------------------------------------------ going back */

/* A saved place: plain data, 40 bytes; keeping one costs nothing. */
typedef struct ascope_marker {
    uint64_t opaque[5];
} ascope_marker;

/* What became of a rewind. Anything but ASCOPE_OK: nothing has changed. */
typedef enum ascope_status {
    ASCOPE_OK = 0,
    ASCOPE_FOREIGN = 1,     /* the marker was taken from another arena, or the arena is a handle of a shared one */
    ASCOPE_STALE = 2,       /* the arena was reset, or rewound to before the marker */
    ASCOPE_OUT_OF_ORDER = 3 /* the marker is that of an outer scope, opened by Rust code, and an inner one is still open */
} ascope_status;

ASCOPE_MUST_USE ascope_marker ascope_mark_at(const ascope_arena *arena, const char *file, uint32_t line);
ascope_status ascope_rewind_at(ascope_arena *arena, ascope_marker to, const char *file, uint32_t line);
void ascope_reset_at(ascope_arena *arena, const char *file, uint32_t line);

ASCOPE_MUST_USE ascope_marker(ascope_mark)(const ascope_arena *arena);
ascope_status(ascope_rewind)(ascope_arena *arena, ascope_marker to);
void(ascope_reset)(ascope_arena *arena);

/* Saves where the arena stands. O(1). */
#define ascope_mark(arena) ascope_mark_at((arena), __FILE__, __LINE__)

/* Goes back to a marker: every block allocated since is gone. O(1). A marker may be used again after a rewind to it.
 * A block that was grown or moved since (ascope_realloc) counts as allocated since: what it got lies above the marker.
 * A marker whose place was rewound over is known as stale through the next three rewinds to rising places, then it may pass. */
#define ascope_rewind(arena, to) ascope_rewind_at((arena), (to), __FILE__, __LINE__)

/* Empties the arena. Its memory stays, unless the options say otherwise. O(1) when it stays. */
#define ascope_reset(arena) ascope_reset_at((arena), __FILE__, __LINE__)

/* ------------------------------------------------------------------------------------------------ dump */

/* Prints what has been handed out, one character a byte, a dot for what is no printable ASCII. O(offset). */
static inline void ascope_dump_bytes(const ascope_arena *arena, FILE *out)
{
    char line[256];
    size_t offset = ascope_offset(arena);
    if ((arena->flags & ASCOPE_FLAG_CHECKED) != 0) {
        ascope_show_checked(arena);
    }
    for (size_t at = 0; at < offset;) {
        size_t count = offset - at < sizeof line ? offset - at : sizeof line;
        for (size_t i = 0; i < count; i++) {
            char byte = arena->base[at + i];
            line[i] = byte >= 32 && byte < 127 ? byte : '.';
        }
        fwrite(line, 1, count, out);
        at += count;
    }
    fputc('\n', out);
}

/* The same under a line that says how much is used. */
static inline void ascope_dump(const ascope_arena *arena, FILE *out)
{
    fprintf(out, "\n📦 Arena dump (%zu used / %zu total):\n", ascope_offset(arena), arena->capacity);
    ascope_dump_bytes(arena, out);
}

/* ------------------------------------------------------------------------------------------------ watching */

#define ASCOPE_OBSERVER_VERSION 2u

/* What happened: ascope_event.kind. Numbers that a program does not know are to be passed over. */
enum {
    ASCOPE_CREATE = 1,      /* size is the capacity */
    ASCOPE_ALLOC = 2,
    ASCOPE_RESIZE = 3,      /* in place when block == old_block */
    ASCOPE_FREE = 4,
    ASCOPE_SCOPE_ENTER = 5,
    ASCOPE_SCOPE_EXIT = 6,  /* everything above block is gone */
    ASCOPE_CHECKPOINT = 7,
    ASCOPE_REWIND = 8,      /* everything above block is gone */
    ASCOPE_RESET = 9,
    ASCOPE_DESTROY = 10,
    ASCOPE_REFUSED = 11,    /* a block of size could not be had */
    ASCOPE_LEASE = 12,      /* a handle of a shared arena has another lease, or a longer one: size bytes from block on */
    ASCOPE_INHERITED = 13,  /* comes before a child's first event in its private copy of an arena; size is the parent's pid */
    ASCOPE_GROWN = 14,      /* sampling: of the bytes by which old_block grew in place, size from block on, one is a sample */
    ASCOPE_ENDED = 15       /* a call on an arena that had ended: a fault of the program; its header may hold anything */
};

/* One event. Unused fields are 0 or NULL. */
struct ascope_event {
    uint32_t kind;
    uint32_t event_bytes;       /* sizeof(ascope_event) of the library */
    uint64_t number;            /* numbers the arena's reported events, from 1, without gaps */
    const ascope_arena *arena;
    uint64_t arena_id;
    char *block;
    size_t size;                /* as asked for */
    size_t align;               /* as asked for */
    char *old_block;            /* resize: where the block was */
    size_t old_size;            /* resize: its size before */
    size_t offset;              /* bytes handed out after the event, padding included */
    uint64_t generation;
    uint32_t depth;             /* open scopes */
    uint32_t line;              /* the caller's line, from 1; 0 when not known */
    const char *file;           /* the caller's file, UTF-8, not terminated; NULL when not known */
    uint32_t file_bytes;
    uint32_t column;            /* 0: C callers have none */
};

/* What an observer gives: a table that lives as long as anything is watched. */
struct ascope_observer {
    uint32_t version;           /* ASCOPE_OBSERVER_VERSION */
    uint32_t table_bytes;       /* sizeof(ascope_observer) */
    void *context;              /* handed to each call */
    /* Called for every event on the arena's thread, after the arena has changed (destroy, reset: before). The event is valid
     * during the call. What it does to the same arena is not reported. It must neither throw nor longjmp out. */
    void (*event)(void *context, const ascope_event *event);
    /* 0: everything. Else one allocation in about so many bytes, every one of so many or more, what ends those that were
     * reported, and nothing else. */
    size_t sample_bytes;
    /* Since version 2: draws the bytes between two samples, sample_bytes in the mean. With exponential distances a block of
     * size bytes is reported with probability 1 - exp(-size / sample_bytes). NULL: always sample_bytes. */
    size_t (*next_sample)(void *context, const ascope_arena *arena);
    /* NULL, or asked at each creation of an arena who checks it; see CheckRequest of the Rust library. */
    void (*check)(void *context, void *request);
};

/* Watches one arena from its next event on, by its own observer; NULL ends that. O(1). */
void ascope_observe(ascope_arena *arena, const ascope_observer *observer);

/* Watches all arenas of the process that have no observer of their own, those alive from their next event; NULL ends that. The
 * function may be called from any thread, and is never to be unloaded. */
void ascope_observe_all(const ascope_observer *observer);

/* 1 while the arena's events are reported, else 0. */
int ascope_is_watched(const ascope_arena *arena);

#ifdef __cplusplus
}
#endif

#include "arenascope_shared.h"

#ifdef ARENASCOPE_SEED_NAMES
#include "arenascope_seed.h"
#endif

#endif /* ARENASCOPE_H */
