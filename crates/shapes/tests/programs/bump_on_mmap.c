// One mapping, base + offset + capacity; a dump that only prints; a stats function that only counts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct s_arena { void *base; size_t offset; size_t capacity; } t_arena;

void arena_init(t_arena *a, size_t size) {
    a->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (a->base == MAP_FAILED) { perror("mmap"); exit(1); }
    a->offset = 0;
    a->capacity = size;
    printf("ready at %p (%zu bytes)\n", a->base, size);
}

void *arena_alloc(t_arena *a, size_t size) {
    if (a->offset + size > a->capacity) { fprintf(stderr, "full\n"); return NULL; }
    void *ptr = (char *)a->base + a->offset;
    a->offset += size;
    printf("alloc %zu -> %p (offset %zu)\n", size, ptr, a->offset);
    return ptr;
}

void arena_dump(t_arena *a) {
    for (size_t i = 0; i < a->offset; i++) {
        char c = ((char *)a->base)[i];
        printf("%c", c >= 32 && c < 127 ? c : '.');
    }
    printf("\n");
}

size_t arena_used(const t_arena *a) { return a->offset; }

void arena_free(t_arena *a) {
    if (munmap(a->base, a->capacity) != 0) perror("munmap");
    else printf("freed\n");
    a->base = NULL;
    a->offset = 0;
    a->capacity = 0;
}

int main(void) {
    t_arena arena;
    arena_init(&arena, 4096);
    char *one = arena_alloc(&arena, 64);
    char *two = arena_alloc(&arena, 64);
    strcpy(one, "hello");
    strcpy(two, "again");
    arena_dump(&arena);
    printf("%zu\n", arena_used(&arena));
    arena_free(&arena);
    return 0;
}
