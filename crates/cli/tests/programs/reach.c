// An arena that lives to the end, and what keeps its blocks: one case for each word.
// cc -g reach.c; reach CASE
#include "../../../capi/include/arenascope_mark.h"
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct arena {
    char *base;
    size_t offset, capacity;
} arena;

__attribute__((noinline)) void arena_init(arena *a, size_t capacity) {
    a->base = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    a->offset = 0;
    a->capacity = capacity;
}

__attribute__((noinline)) void *arena_alloc(arena *a, size_t size) {
    size = (size + 15) & ~(size_t)15;
    if (a->base == MAP_FAILED || size > a->capacity - a->offset)
        return NULL;
    void *block = a->base + a->offset;
    a->offset += size;
    return block;
}

__attribute__((noinline)) void arena_reset(arena *a) {
    a->offset = 0;
}

typedef struct node {
    struct node *next, *parent, *left, *right;
    uint64_t hidden;
    char text[24];
} node;

static arena first, second;
static node *root;
uint32_t table[1024];
static volatile long sum;

// A list whose head is a global.
static void list(int count) {
    for (int i = 0; i < count; i++) {
        node *one = arena_alloc(&first, sizeof *one);
        one->next = root;
        root = one;
    }
}

// Says something and forgets it: nobody can reach the text any more.
__attribute__((noinline)) static void temporary(int i) {
    char *text = arena_alloc(&first, 64);
    snprintf(text, 64, "temporary %d", i);
    sum += text[0];
}

static node *tree(int depth, node *parent) {
    node *one = arena_alloc(&first, sizeof *one);
    one->parent = parent;
    one->left = depth ? tree(depth - 1, one) : NULL;
    one->right = depth ? tree(depth - 1, one) : NULL;
    return one;
}

static void *keep_on_my_stack(void *argument) {
    node *mine[64];
    for (int i = 0; i < 64; i++)
        mine[i] = arena_alloc(&first, 256);
    arenascope_mark("on a thread's stack");
    for (int i = 0; i < 64; i++)
        sum += mine[i]->text[0];
    return argument;
}

int main(int count, char **words) {
    const char *word = count > 1 ? words[1] : "";
    node *local = NULL;
    arena_init(&first, 1 << 20);
    arena_init(&second, 1 << 20);
    if (!strcmp(word, "list")) {
        list(200);
    } else if (!strcmp(word, "lost")) {
        list(200);
        for (int i = 0; i < 100; i++)
            temporary(i);
    } else if (!strcmp(word, "lost-reset")) {
        list(200);
        for (int i = 0; i < 100; i++)
            temporary(i);
        arena_reset(&first);
        root = NULL;
        list(200);
    } else if (!strcmp(word, "lost-twice")) {
        list(200);
        for (int i = 0; i < 100; i++)
            temporary(i);
        arenascope_mark("half");
        for (int i = 0; i < 100; i++)
            temporary(i);
    } else if (!strcmp(word, "tree")) {
        root = tree(7, NULL);
        root = root->left->left->right; // parents lead to all the rest
    } else if (!strcmp(word, "tree-local")) {
        local = tree(7, NULL);
        arenascope_mark("built");
    } else if (!strcmp(word, "offsets")) {
        for (int i = 0; i < 200; i++) {
            char *one = arena_alloc(&first, 64);
            table[i] = (uint32_t)(one - first.base);
        }
        root = (node *)first.base;
    } else if (!strcmp(word, "offsets-mixed")) {
        list(300);
        for (int i = 0; i < 200; i++) {
            char *one = arena_alloc(&first, 64);
            table[i] = (uint32_t)(one - first.base);
        }
    } else if (!strcmp(word, "tagged")) {
        for (int i = 0; i < 200; i++) {
            node *one = arena_alloc(&first, 64);
            one->next = (node *)((uintptr_t)root | (uintptr_t)(i & 7) | (uintptr_t)0xfff8 << 48);
            root = one;
        }
    } else if (!strcmp(word, "other-arena")) {
        node **index = arena_alloc(&second, 200 * sizeof *index);
        for (int i = 0; i < 200; i++)
            index[i] = arena_alloc(&first, 64);
        root = (node *)(index + 7);
    } else if (!strcmp(word, "thread")) {
        pthread_t thread;
        list(200);
        pthread_create(&thread, NULL, keep_on_my_stack, NULL);
        pthread_join(thread, NULL);
        for (int i = 0; i < 64; i++) { // what its stack held is dropped on purpose: not to be told of
            node *one = arena_alloc(&first, 64);
            one->next = root;
            root = one;
        }
    } else if (!strcmp(word, "exit")) {
        local = tree(7, NULL);
        arenascope_mark("before exit");
        printf("%p %ld\n", (void *)local, sum);
        exit(0);
    }
    printf("%d %ld\n", local != NULL, sum);
    return 0;
}
