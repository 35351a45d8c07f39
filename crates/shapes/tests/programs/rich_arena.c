// Chunk list kept over resets, helpers in layers, resize, duplicate, count x size, marks of two kinds.
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Block Block;
struct Block { Block *next; size_t count, capacity; uintptr_t data[]; };
typedef struct { Block *begin, *end; } Arena;

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static Block *new_block(size_t capacity) {
    Block *b = malloc(sizeof(Block) + capacity);
    if (!b) abort();
    b->next = NULL;
    b->count = 0;
    b->capacity = capacity;
    return b;
}

void *arena_alloc(Arena *a, size_t size_bytes) {
    size_t size = round_up(size_bytes, sizeof(uintptr_t));
    if (a->end == NULL) {
        assert(a->begin == NULL);
        size_t capacity = 8192;
        if (capacity < size) capacity = size;
        a->end = new_block(capacity);
        a->begin = a->end;
    }
    while (a->end->count + size > a->end->capacity && a->end->next != NULL) a->end = a->end->next;
    if (a->end->count + size > a->end->capacity) {
        size_t capacity = 8192;
        if (capacity < size) capacity = size;
        a->end->next = new_block(capacity);
        a->end = a->end->next;
    }
    void *result = (char *)a->end->data + a->end->count;
    a->end->count += size;
    return result;
}

void *arena_realloc(Arena *a, void *old, size_t old_size, size_t new_size) {
    if (new_size <= old_size) return old;
    void *fresh = arena_alloc(a, new_size);
    char *to = fresh, *from = old;
    for (size_t i = 0; i < old_size; i++) to[i] = from[i];
    return fresh;
}

void *arena_memdup(Arena *a, void *data, size_t size) { return memcpy(arena_alloc(a, size), data, size); }
void *arena_calloc(Arena *a, size_t count, size_t size) {
    void *p = arena_alloc(a, count * size);
    return memset(p, 0, count * size);
}

void arena_reset(Arena *a) {
    for (Block *b = a->begin; b != NULL; b = b->next) b->count = 0;
    a->end = a->begin;
}

void arena_free(Arena *a) {
    Block *b = a->begin;
    while (b) {
        Block *old = b;
        b = b->next;
        free(old);
    }
    a->begin = NULL;
    a->end = NULL;
}

void arena_print(const Arena *a) {
    for (Block *b = a->begin; b != NULL; b = b->next) printf("%zu of %zu\n", b->count, b->capacity);
}

int main(void) {
    Arena a = {0};
    int *p = arena_alloc(&a, 10 * sizeof *p);
    p[0] = 7;
    p = arena_realloc(&a, p, 10 * sizeof *p, 20 * sizeof *p);
    char *d = arena_memdup(&a, p, 4);
    long *z = arena_calloc(&a, 10, sizeof *z);
    printf("%d %d %ld\n", p[0], d[0], z[3]);
    arena_print(&a);
    arena_reset(&a);
    arena_free(&a);
    return 0;
}
