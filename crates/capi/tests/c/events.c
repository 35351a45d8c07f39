/* Every event of a watched arena, with the C caller's line. Prints one line an event; the test compares. Also compiled as C++17. */
#include <arenascope.h>
#include <stdlib.h>

static const char *const words[] = {"", "create", "alloc", "resize", "free", "enter", "exit", "mark", "rewind", "reset", "destroy", "refused"};

static void tell(void *context, const ascope_event *event)
{
    const char *file = event->file == NULL ? "?" : event->file;
    int file_bytes = event->file == NULL ? 1 : (int)event->file_bytes;
    /* The folder is the test's affair. */
    for (int i = 0; i < (int)event->file_bytes; i++) {
        if (event->file[i] == '/') {
            file = event->file + i + 1;
            file_bytes = (int)event->file_bytes - i - 1;
        }
    }
    size_t block = event->block == NULL ? 0 : (size_t)(event->block - event->arena->base);
    printf("%s %d %s +%zu size %zu align %zu offset %zu at %.*s:%u\n", (const char *)context, (int)event->number,
           words[event->kind], block, event->size, event->align, event->offset, file_bytes, file, event->line);
    if (event->kind == ASCOPE_CREATE && event->arena->site_line != event->line) {
        puts("the header does not know its line yet");
    }
    /* What an observer does to the same arena is not reported. */
    if (event->kind == ASCOPE_ALLOC && event->size == 5) {
        ascope_arena *arena = (ascope_arena *)(uintptr_t)event->arena;
        ascope_free(arena, ascope_alloc(arena, 64), 64);
    }
}

static char all_name[] = "all", own_name[] = "own";
static const ascope_observer all = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), all_name, tell, 0, NULL, NULL};
static const ascope_observer own = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), own_name, tell, 0, NULL, NULL};

int main(void)
{
    ascope_arena *arena = ascope_init(100);
    void *silent = ascope_alloc(arena, 8);
    ascope_observe(arena, &own);
    void *block = ascope_alloc(arena, 5);
    block = ascope_realloc(arena, block, 5, 12);
    ascope_marker mark = ascope_mark(arena);
    void *aligned = ascope_alloc_aligned(arena, 16, 16);
    if (ascope_calloc(arena, 10, 100) != NULL || ascope_rewind(arena, mark) != ASCOPE_OK) return 1;
    ascope_free(arena, block, 12);
    ascope_observe(arena, NULL);
    char *unseen = ascope_strdup(arena, "unseen");
    *(volatile uintptr_t *)&arena->limit = 0; /* an outsider watches, and nobody listens */
    unseen = ascope_strdup(arena, "unseen");
    ascope_observe(arena, &own);
    ascope_reset(arena);
    *(volatile uintptr_t *)&arena->limit = 1; /* an outsider ends it */
    unseen = ascope_strdup(arena, "unseen");
    *(volatile uintptr_t *)&arena->limit = 0;
    ascope_destroy(arena);

    ascope_observe_all(&all);
    ASCOPE_ARENA(named, 64);
    void *word = ascope_new(named, uint64_t);
    static char memory[1024 + 128];
    char *aligned_memory = memory + (128 - (uintptr_t)memory % 128) % 128;
    ascope_arena *inside = ascope_in_buffer(aligned_memory, 1024);
    ascope_destroy(inside);
    ascope_observe(named, &own);
    char *text = ascope_printf(named, "%d", 7);
    ascope_observe(named, NULL);
    word = (ascope_alloc)(named, 3);
    ascope_observe_all(NULL);
    text = ascope_strdup(named, "unseen");
    ascope_destroy(named);
    (void)silent, (void)aligned, (void)unseen, (void)word, (void)text;
    return 0;
}
