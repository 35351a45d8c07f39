/* Unusual and correct: an error that leaves by longjmp through scopes; copies of the last bytes of a mapping; a text whose size argument counts characters;
 * two frames that take turns; regions with their header in their own mapping, made over the same address again and again; an
 * arena that fills and verifies its own poison and redzones. With an argument, also as many resets of full arenas as make a
 * trace of more than 4 MiB. */
#define _GNU_SOURCE
#include <setjmp.h>
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
        arena_rewind(&arena, inner);
        arena_rewind(&arena, outer);
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
    if (argc > 1)
        printf("%u\n", resets());
    return 0;
}
