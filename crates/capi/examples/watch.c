/* Watching: an observer of twenty lines counts what an arena hands out. The arena pays nothing before it begins. */
#include <arenascope.h>

struct totals {
    size_t blocks, bytes, refused;
};

static void count(void *context, const ascope_event *event)
{
    struct totals *totals = (struct totals *)context;
    if (event->kind == ASCOPE_ALLOC) {
        totals->blocks++;
        totals->bytes += event->size;
        printf("%.*s:%u takes %zu bytes\n", (int)event->file_bytes, event->file, event->line, event->size);
    } else if (event->kind == ASCOPE_REFUSED) {
        totals->refused++;
    }
}

int main(void)
{
    static struct totals totals;
    static const ascope_observer observer = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), &totals, count, 0, NULL, NULL};
    ASCOPE_ARENA(arena, 256);
    if (arena == NULL) {
        perror("arena");
        return 1;
    }
    void *unseen = ascope_alloc(arena, 100);
    ascope_observe(arena, &observer);
    void *one = ascope_alloc(arena, 48), *two = ascope_alloc(arena, 32), *three = ascope_calloc(arena, 4, 8);
    void *none = ascope_alloc(arena, 1000);
    ascope_observe(arena, NULL);
    printf("%zu blocks, %zu bytes, %zu refused\n", totals.blocks, totals.bytes, totals.refused);
    ascope_destroy(arena);
    return unseen == NULL || one == NULL || two == NULL || three == NULL || none != NULL;
}
