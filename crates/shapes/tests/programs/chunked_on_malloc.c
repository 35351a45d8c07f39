// Chunks from malloc, no create function, and a builder that allocates from the pool.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct chunk { struct chunk *next; size_t used, cap; char data[]; } chunk;
typedef struct pool { chunk *head; size_t chunk_size; } pool_t;
typedef struct tree { struct tree *left, *right; int value; } tree;

void *c_get(pool_t *p, size_t n) {
    n = (n + 15) & ~(size_t)15;
    chunk *c = p->head;
    if (!c || c->cap - c->used < n) {
        size_t cap = p->chunk_size ? p->chunk_size : 4096;
        if (cap < n) cap = n;
        c = malloc(sizeof *c + cap);
        if (!c) return NULL;
        c->next = p->head;
        c->used = 0;
        c->cap = cap;
        p->head = c;
    }
    void *out = c->data + c->used;
    c->used += n;
    return out;
}

tree *build(pool_t *p, int depth) {
    if (depth == 0) return NULL;
    tree *t = c_get(p, sizeof *t);
    t->value = depth;
    t->left = build(p, depth - 1);
    t->right = build(p, depth - 1);
    return t;
}

char *c_strdup(pool_t *p, const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(c_get(p, n), s, n);
}

int sum(tree *t) { return t ? t->value + sum(t->left) + sum(t->right) : 0; }

void c_drop(pool_t *p) {
    while (p->head) {
        chunk *next = p->head->next;
        free(p->head);
        p->head = next;
    }
}

int main(void) {
    pool_t p = {0};
    tree *t = build(&p, 10);
    char *tmp = c_get(&p, 100);
    snprintf(tmp, 100, "scratch");
    printf("%d %s %s\n", sum(t), tmp, c_strdup(&p, "copy"));
    c_drop(&p);
    return 0;
}
