/* The C part of a program in two languages. */
#include <arenascope.h>

struct node {
    const struct node *next;
    uint64_t value;
};

const struct node *part_push(ascope_arena *arena, const struct node *list, uint64_t value);
size_t part_fill(ascope_arena *arena);
ascope_arena *part_make(size_t capacity);
void part_destroy(ascope_arena *arena);
int part_back(ascope_arena *arena);

const struct node *part_push(ascope_arena *arena, const struct node *list, uint64_t value)
{
    struct node *node = ascope_new(arena, struct node);
    if (node != NULL) {
        node->next = list;
        node->value = value;
    }
    return node;
}

/* Takes everything, to the last byte; what is left. */
size_t part_fill(ascope_arena *arena)
{
    while (ascope_alloc(arena, 24) != NULL) {
    }
    size_t left = ascope_remaining(arena);
    if (ascope_alloc(arena, left) == NULL || ascope_alloc(arena, 1) != NULL) {
        return 1;
    }
    return ascope_remaining(arena);
}

ascope_arena *part_make(size_t capacity)
{
    ASCOPE_ARENA(made, capacity);
    return made;
}

void part_destroy(ascope_arena *arena)
{
    ascope_destroy(arena);
}

int part_back(ascope_arena *arena)
{
    ascope_marker before = ascope_mark(arena);
    if (ascope_alloc(arena, 100) == NULL || ascope_strdup(arena, "gone") == NULL) {
        return 1;
    }
    return ascope_rewind(arena, before) == ASCOPE_OK ? 0 : 2;
}
