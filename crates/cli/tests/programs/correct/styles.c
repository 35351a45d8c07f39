/* Unusual and correct: an error that leaves by longjmp through scopes; copies of the last bytes of a mapping; a text whose size argument counts characters;
 * two frames that take turns; the clean-up of an inner scope after the outer one's, where rewinds only go back; an arena passed by
 * value; shared objects that each owner gives back; callers that use what sizes are rounded up to; regions with their header in their own mapping, made over the same address again and again; an
 * arena that fills and verifies its own poison and redzones. With an argument, also as many resets of full arenas as make a
 * trace of more than 4 MiB. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define APART __attribute__((noinline))

typedef struct {
    char *base;
    size_t capacity, offset;
} Arena;

APART void *arena_alloc(Arena *arena, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    if (size > arena->capacity - arena->offset)
        return NULL;
    void *block = arena->base + arena->offset;
    arena->offset += size;
    return block;
}

APART size_t arena_mark(Arena *arena)
{
    return arena->offset;
}

APART void arena_rewind(Arena *arena, size_t mark)
{
    if (mark < arena->offset)
        arena->offset = mark;
}

APART void arena_reset(Arena *arena)
{
    arena->offset = 0;
}

APART void *arena_memdup(Arena *arena, const void *bytes, size_t size)
{
    void *block = arena_alloc(arena, size);
    return block ? memcpy(block, bytes, size) : NULL;
}

APART char *arena_strndup(Arena *arena, const char *text, size_t characters)
{
    char *block = arena_alloc(arena, characters + 1);
    if (block == NULL)
        return NULL;
    memcpy(block, text, characters);
    block[characters] = '\0';
    return block;
}

static Arena arena_of(size_t capacity)
{
    Arena arena = { mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), capacity, 0 };
    if (arena.base == MAP_FAILED)
        abort();
    return arena;
}

static jmp_buf failed;

static unsigned descend(Arena *arena, int depth, int bad)
{
    size_t mark = arena_mark(arena);
    unsigned char *block = arena_alloc(arena, 24 + (size_t)depth);
    memset(block, depth, 24);
    if (depth == bad)
        longjmp(failed, 1);
    unsigned sum = block[23] + (depth < 20 ? descend(arena, depth + 1, bad) : 0);
    arena_rewind(arena, mark);
    return sum;
}

static unsigned scopes(void)
{
    Arena arena = arena_of(1 << 16);
    volatile unsigned sum = 0;
    for (volatile int round = 0; round < 30; round++) {
        unsigned char *kept = arena_alloc(&arena, 8);
        *kept = (unsigned char)round;
        size_t outer = arena_mark(&arena);
        memset(arena_alloc(&arena, 64), round, 64);
        size_t inner = arena_mark(&arena);
        memset(arena_alloc(&arena, 32), round, 32);
        arena_rewind(&arena, round % 2 ? inner : outer);
        arena_rewind(&arena, round % 2 ? outer : inner);
        if (setjmp(failed) == 0)
            sum += descend(&arena, 0, round % 3 ? round : -1);
        arena_rewind(&arena, outer);
        sum += *kept;
    }
    munmap(arena.base, arena.capacity);
    return sum;
}

static unsigned copies(void)
{
    Arena arena = arena_of(1 << 16);
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + 4096, 4096, PROT_NONE);
    memcpy(pages + 4091, "last", 5);
    unsigned sum = 0;
    for (int round = 0; round < 20; round++) {
        char *copy = arena_memdup(&arena, pages + 4091, 5);
        char *part = arena_strndup(&arena, "some words", 4);
        sum += (unsigned)(strlen(copy) + strlen(part));
        arena_reset(&arena);
    }
    munmap(pages, 8192);
    munmap(arena.base, arena.capacity);
    return sum;
}

static unsigned frames(void)
{
    static char memory[2][8192];
    Arena both[2] = { { memory[0], 8192, 0 }, { memory[1], 8192, 0 } };
    unsigned sum = 0, *before = NULL;
    for (int frame = 0; frame < 40; frame++) {
        Arena *now = &both[frame % 2];
        arena_reset(now);
        unsigned *numbers = arena_alloc(now, 50 * sizeof *numbers);
        for (unsigned i = 0; i < 50; i++)
            numbers[i] = i + (before ? before[i] : 0);
        sum += numbers[49];
        before = numbers;
    }
    return sum;
}

/* Begin and end: copies of it hand out what lies behind the original's blocks. */
typedef struct {
    char *at, *end;
} Scratch;

APART void *scratch_alloc(Scratch *scratch, size_t size)
{
    scratch->at += -(size_t)scratch->at & 7;
    if (size > (size_t)(scratch->end - scratch->at))
        abort();
    void *block = scratch->at;
    scratch->at += size;
    return memset(block, 0, size);
}

static unsigned scratch_work(Scratch scratch, unsigned count)
{
    unsigned *numbers = scratch_alloc(&scratch, count * sizeof *numbers);
    for (unsigned i = 0; i < count; i++)
        numbers[i] = i;
    char *text = scratch_alloc(&scratch, 10);
    strcpy(text, "scratch");
    return numbers[count - 1] + (unsigned char)text[0];
}

static unsigned by_value(void)
{
    static char memory[1 << 14];
    Scratch all = { memory, memory + sizeof memory };
    unsigned sum = 0;
    for (unsigned round = 0; round < 30; round++) {
        unsigned *kept = scratch_alloc(&all, sizeof *kept);
        *kept = round;
        sum += scratch_work(all, round + 5) + *kept;
    }
    return sum;
}

/* Sixty-four bytes behind a count of owners. */
typedef struct Shared {
    size_t owners;
    struct Shared *next;
    char bytes[64];
} Shared;

typedef struct {
    Shared *all, *waiting;
    size_t used;
} Pool;

APART void *shared_new(Pool *pool, size_t size)
{
    Shared *shared = pool->waiting;
    if (size > sizeof shared->bytes || (shared == NULL && pool->used == 16))
        return NULL;
    if (shared)
        pool->waiting = shared->next;
    else
        shared = pool->all + pool->used++;
    shared->owners = 1;
    return shared->bytes;
}

APART void shared_unref(Pool *pool, void *bytes)
{
    Shared *shared = (Shared *)((char *)bytes - offsetof(Shared, bytes));
    if (--shared->owners == 0) {
        shared->next = pool->waiting;
        pool->waiting = shared;
    }
}

static unsigned owners(void)
{
    Pool pool = { malloc(16 * sizeof(Shared)), NULL, 0 };
    char *first = shared_new(&pool, 64);
    strcpy(first, "shared");
    ((Shared *)(first - offsetof(Shared, bytes)))->owners++;
    shared_unref(&pool, first);
    unsigned sum = (unsigned char)first[0];
    shared_unref(&pool, first);
    for (int round = 0; round < 5; round++) {
        char *own = shared_new(&pool, 64);
        strcpy(own, "own");
        sum += (unsigned char)own[1];
        shared_unref(&pool, own);
    }
    free(pool.all);
    return sum;
}

static size_t class_of(size_t size)
{
    size_t class = 32;
    while (class < size)
        class *= 2;
    return class;
}

APART void *class_alloc(Arena *arena, size_t size)
{
    return arena_alloc(arena, class_of(size));
}

static unsigned classes(void)
{
    Arena arena = arena_of(1 << 16);
    unsigned sum = 0;
    for (size_t size = 1; size < 100; size++) {
        unsigned char *block = class_alloc(&arena, size);
        size_t usable = class_of(size);
        memset(block, (int)size, usable);
        sum += block[usable - 1];
    }
    munmap(arena.base, arena.capacity);
    return sum;
}

typedef struct {
    size_t capacity, used;
} Region;

APART Region *region_create(size_t capacity)
{
    Region *region = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region == MAP_FAILED)
        abort();
    *region = (Region){ capacity, sizeof *region };
    return region;
}

APART void *region_alloc(Region *region, size_t size)
{
    size_t at = (region->used + 7) & ~(size_t)7;
    if (at + size > region->capacity)
        return NULL;
    region->used = at + size;
    return (char *)region + at;
}

APART void region_destroy(Region *region)
{
    munmap(region, region->capacity);
}

static unsigned requests(void)
{
    unsigned sum = 0;
    for (int request = 0; request < 300; request++) {
        Region *region = region_create(4096);
        char *line = region_alloc(region, 32);
        snprintf(line, 32, "GET /%d", request);
        memset(region_alloc(region, 100), request, 100);
        sum += (unsigned char)line[5];
        region_destroy(region);
    }
    return sum;
}

enum { DEAD = 0xdd, ZONE = 0xfd };

/* Header of 16 bytes, the block, a zone of at least 16. */
APART void *guarded_alloc(Arena *arena, size_t size)
{
    size_t whole = ((size + 15) & ~(size_t)15) + 32;
    if (whole > arena->capacity - arena->offset)
        return NULL;
    unsigned char *start = (unsigned char *)arena->base + arena->offset;
    memset(start, ZONE, whole);
    memcpy(start, &size, sizeof size);
    arena->offset += whole;
    return start + 16;
}

APART void guarded_reset(Arena *arena)
{
    for (size_t at = 0, size; at < arena->offset; at += ((size + 15) & ~(size_t)15) + 32) {
        unsigned char *start = (unsigned char *)arena->base + at;
        memcpy(&size, start, sizeof size);
        if (start[15] != ZONE || start[16 + size] != ZONE)
            abort();
    }
    memset(arena->base, DEAD, arena->offset);
    arena->offset = 0;
}

static unsigned guarded(void)
{
    Arena arena = arena_of(1 << 16);
    unsigned sum = 0;
    for (int round = 0; round < 10; round++) {
        for (size_t size = 1; size < 100; size += 7) {
            unsigned char *block = guarded_alloc(&arena, size);
            memset(block, round, size);
            sum += block[size - 1];
        }
        guarded_reset(&arena);
    }
    munmap(arena.base, arena.capacity);
    return sum;
}

static unsigned resets(void)
{
    Arena arena = arena_of(1 << 16);
    unsigned sum = 0;
    for (int round = 0; round < 400; round++) {
        for (int i = 0; i < 10; i++)
            memset(arena_alloc(&arena, 1600), round + i, 1600);
        sum += (unsigned char)arena.base[1599];
        arena_reset(&arena);
    }
    munmap(arena.base, arena.capacity);
    return sum;
}

int main(int argc, char **argv)
{
    (void)argv;
    printf("%u %u %u %u %u\n", scopes(), copies(), frames(), requests(), guarded());
    printf("%u %u %u\n", by_value(), owners(), classes());
    if (argc > 1)
        printf("%u\n", resets());
    return 0;
}
