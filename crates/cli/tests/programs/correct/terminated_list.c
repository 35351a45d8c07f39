/* Lists whose elements are pushed one behind the other, and end with one of zeros whose address nobody needs. Exit 0. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/mman.h>

typedef struct {
    char *base;
    size_t capacity, offset;
} Arena;

typedef struct {
    const char *name;
    int value, more[3];
} Item;

__attribute__((noinline)) void *arena_alloc(Arena *arena, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    if (size > arena->capacity - arena->offset)
        return NULL;
    void *block = arena->base + arena->offset;
    arena->offset += size;
    return block;
}

static Item *list(Arena *arena, int items)
{
    Item *first = NULL;
    for (int i = 0; i < items; i++) {
        Item *item = arena_alloc(arena, sizeof *item);
        item->name = "x";
        item->value = i;
        if (first == NULL)
            first = item;
    }
    return first;
}

int main(void)
{
    Arena arena = { mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 4096, 0 };
    if (arena.base == MAP_FAILED)
        return 1;
    int sum = 0;
    Item *one = list(&arena, 5);
    arena_alloc(&arena, sizeof(Item));
    Item *two = list(&arena, 3);
    arena_alloc(&arena, sizeof(Item));
    for (Item *item = one; item->name; item++)
        sum += item->value;
    for (Item *item = two; item->name; item++)
        sum += item->value;
    printf("%d\n", sum);
    munmap(arena.base, arena.capacity);
    return 0;
}
