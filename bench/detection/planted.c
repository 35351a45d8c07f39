/* One hand-made arena, and the bugs that people plant in such arenas, one by one: planted BUG.
 *
 * Built with -g -O0 -pthread. No tool is told anything about the arena but what docs/detection.md says. Each bug ends by
 * destroying its arenas, so that nothing but the planted bug is there to be found. `planted none` does it all right. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, FREE_KEPT = 8 };

typedef struct Arena {
    char *base;
    size_t offset;
    size_t capacity;
    struct { char *block; size_t size; } free_list[FREE_KEPT];
    int free_count;
} Arena;

static void arena_init(Arena *a, size_t capacity)
{
    a->base = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->base == MAP_FAILED)
        exit(1);
    a->offset = 0;
    a->capacity = capacity;
    a->free_count = 0;
}

static void *arena_alloc(Arena *a, size_t size)
{
    for (int i = a->free_count - 1; i >= 0; i--) {
        if (a->free_list[i].size == size) {
            char *block = a->free_list[i].block;
            a->free_list[i] = a->free_list[--a->free_count];
            return block;
        }
    }
    if (size > a->capacity - a->offset)
        return NULL;
    char *block = a->base + a->offset;
    a->offset += size;
    return block;
}

static void arena_free(Arena *a, void *block, size_t size)
{
    if (block == NULL || a->free_count == FREE_KEPT)
        return;
    a->free_list[a->free_count].block = block;
    a->free_list[a->free_count].size = size;
    a->free_count++;
}

static void *arena_resize(Arena *a, void *block, size_t old, size_t size)
{
    if ((char *)block + old == a->base + a->offset && size - old <= a->capacity - a->offset) {
        a->offset += size - old;
        return block;
    }
    void *moved = arena_alloc(a, size);
    if (moved != NULL)
        memcpy(moved, block, old < size ? old : size);
    return moved;
}

static size_t arena_mark(Arena *a)
{
    return a->offset;
}

static void arena_rewind(Arena *a, size_t mark)
{
    a->offset = mark;
    a->free_count = 0;
}

static void arena_reset(Arena *a)
{
    a->offset = 0;
    a->free_count = 0;
}

/* Meant as a reset, and forgets the offset: only offset-not-reset uses it. */
static void arena_clear(Arena *a)
{
    a->free_count = 0;
}

static void arena_destroy(Arena *a)
{
    munmap(a->base, a->capacity);
    a->base = NULL;
    a->offset = a->capacity = 0;
}

static void use(const void *bytes, size_t size)
{
    static volatile unsigned sum;
    for (size_t i = 0; i < size; i++)
        sum += ((const unsigned char *)bytes)[i];
}

static char *text(Arena *a, size_t size, const char *words)
{
    char *block = arena_alloc(a, size);
    memset(block, 0, size);
    strncpy(block, words, size - 1);
    return block;
}

static void none(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    size_t mark = arena_mark(&a);
    char *second = text(&a, 64, "second");
    use(second, 64);
    arena_rewind(&a, mark);
    char *third = text(&a, 48, "third");
    third = arena_resize(&a, third, 48, 80);
    use(first, 32);
    use(third, 48);
    arena_free(&a, first, 32);
    arena_reset(&a);
    use(text(&a, 16, "again"), 16);
    arena_destroy(&a);
}

static void never_stored(void)
{
    Arena a;
    arena_init(&a, PAGE);
    use(text(&a, 32, "kept"), 32);
    arena_alloc(&a, 48);
    use(text(&a, 32, "kept too"), 32);
    arena_destroy(&a);
}

static void overflow_write(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    char *second = text(&a, 32, "");
    memset(first, 'A', 33);
    use(first, 32);
    use(second, 32);
    arena_destroy(&a);
}

static void overflow_read(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    char *second = text(&a, 32, "second");
    use(first, 33);
    use(second, 32);
    arena_destroy(&a);
}

static void underflow(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    char *second = text(&a, 32, "second");
    memset(second - 1, 'U', 2);
    use(first, 31);
    use(second, 32);
    arena_destroy(&a);
}

static void cursor_corrupted(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 64, "first");
    char *second = text(&a, 64, "second");
    a.offset -= 40;
    char *third = text(&a, 64, "third");
    use(first, 64);
    use(second, 64);
    use(third, 64);
    arena_destroy(&a);
}

static void double_free(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    use(first, 32);
    arena_free(&a, first, 32);
    arena_free(&a, first, 32);
    arena_destroy(&a);
}

static void invalid_free(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    use(first, 32);
    arena_free(&a, first + 8, 24);
    arena_destroy(&a);
}

static void wrong_arena_free(void)
{
    Arena a, b;
    arena_init(&a, PAGE);
    arena_init(&b, PAGE);
    char *first = text(&a, 32, "first");
    use(text(&b, 32, "other"), 32);
    use(first, 32);
    arena_free(&b, first, 32);
    arena_destroy(&b);
    arena_destroy(&a);
}

static void use_after_free(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    char *second = text(&a, 32, "second");
    arena_free(&a, first, 32);
    strcpy(first, "too late");
    use(second, 32);
    arena_destroy(&a);
}

static void use_after_rewind(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *outer = text(&a, 32, "outer");
    size_t mark = arena_mark(&a);
    char *inner = text(&a, 32, "inner");
    arena_rewind(&a, mark);
    strcpy(inner, "too late");
    use(outer, 32);
    arena_destroy(&a);
}

static void use_after_reset(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    arena_reset(&a);
    strcpy(first, "too late");
    use(text(&a, 16, "second"), 16);
    arena_destroy(&a);
}

static void read_after_reset(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    arena_reset(&a);
    use(first, 32);
    use(text(&a, 16, "second"), 16);
    arena_destroy(&a);
}

static void use_after_unmap(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *first = text(&a, 32, "first");
    arena_destroy(&a);
    strcpy(first, "too late");
}

static void overlapping_arenas(void)
{
    Arena a, b;
    arena_init(&a, PAGE);
    b = a;
    b.base = a.base + 1024;
    b.offset = 0;
    b.capacity = 1024;
    for (int i = 0; i < 40; i++)
        use(text(&a, 64, "of a"), 64);
    use(text(&b, 64, "of b"), 64);
    use(a.base, 2560);
    arena_destroy(&a);
}

static void stale_bytes(void)
{
    Arena a;
    arena_init(&a, PAGE);
    use(text(&a, 32, "password: hunter2"), 32);
    arena_reset(&a);
    char *fresh = arena_alloc(&a, 32);
    use(fresh, 32);
    arena_destroy(&a);
}

static void offset_not_reset(void)
{
    Arena a;
    arena_init(&a, PAGE);
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 5; i++)
            use(text(&a, 64, "round"), 64);
        arena_clear(&a);
    }
    arena_destroy(&a);
}

static Arena shared_by_threads;
static pthread_barrier_t together;

static void *allocate(void *words)
{
    pthread_barrier_wait(&together);
    for (int i = 0; i < 20000; i++) {
        char *block = arena_alloc(&shared_by_threads, 16);
        if (block != NULL)
            memcpy(block, words, 8);
    }
    return NULL;
}

static void two_threads(void)
{
    pthread_t one, two;
    arena_init(&shared_by_threads, 1 << 20);
    pthread_barrier_init(&together, NULL, 2);
    pthread_create(&one, NULL, allocate, "one.....");
    pthread_create(&two, NULL, allocate, "two.....");
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    arena_destroy(&shared_by_threads);
}

static void fork_same_block(void)
{
    Arena a;
    arena_init(&a, PAGE);
    munmap(a.base, a.capacity);
    a.base = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    text(&a, 32, "before the fork");
    if (fork() == 0) {
        use(text(&a, 32, "the child's"), 32);
        _exit(0);
    }
    char *mine = text(&a, 32, "the parent's");
    wait(NULL);
    use(mine, 32);
    arena_destroy(&a);
}

static void fork_private_write(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *before = text(&a, 32, "before the fork");
    if (fork() == 0) {
        use(text(&a, 32, "for the parent"), 32);
        _exit(0);
    }
    wait(NULL);
    use(before, 32);
    arena_destroy(&a);
}

static void null_used(void)
{
    Arena a;
    arena_init(&a, PAGE);
    use(text(&a, 4000, "most of it"), 4000);
    char *refused = arena_alloc(&a, 4000);
    refused[0] = 'x';
    arena_destroy(&a);
}

static void stale_pointer(void)
{
    Arena a;
    arena_init(&a, PAGE);
    char *list = text(&a, 32, "list");
    char *other = text(&a, 32, "other");
    char *longer = arena_resize(&a, list, 32, 96);
    strcpy(list, "too late");
    use(longer, 32);
    use(other, 32);
    arena_destroy(&a);
}

static void marks_out_of_order(void)
{
    Arena a;
    arena_init(&a, PAGE);
    use(text(&a, 32, "outer"), 32);
    size_t outer = arena_mark(&a);
    use(text(&a, 32, "middle"), 32);
    size_t inner = arena_mark(&a);
    use(text(&a, 32, "inner"), 32);
    arena_rewind(&a, outer);
    arena_rewind(&a, inner);
    use(text(&a, 32, "after"), 32);
    arena_destroy(&a);
}

static const struct { const char *name; void (*run)(void); } bugs[] = {
    { "none", none },
    { "never-stored", never_stored },
    { "overflow", overflow_write },
    { "overflow-read", overflow_read },
    { "underflow", underflow },
    { "cursor-corrupted", cursor_corrupted },
    { "double-free", double_free },
    { "invalid-free", invalid_free },
    { "wrong-arena-free", wrong_arena_free },
    { "use-after-free", use_after_free },
    { "use-after-rewind", use_after_rewind },
    { "use-after-reset", use_after_reset },
    { "read-after-reset", read_after_reset },
    { "use-after-unmap", use_after_unmap },
    { "overlapping-arenas", overlapping_arenas },
    { "stale-bytes", stale_bytes },
    { "offset-not-reset", offset_not_reset },
    { "two-threads", two_threads },
    { "fork-same-block", fork_same_block },
    { "fork-private-write", fork_private_write },
    { "null-used", null_used },
    { "stale-pointer", stale_pointer },
    { "marks-out-of-order", marks_out_of_order },
};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof bugs / sizeof *bugs; i++) {
        if (argc == 1)
            puts(bugs[i].name);
        else if (strcmp(argv[1], bugs[i].name) == 0) {
            bugs[i].run();
            puts("done");
            return 0;
        }
    }
    return argc == 1 ? 0 : 2;
}
