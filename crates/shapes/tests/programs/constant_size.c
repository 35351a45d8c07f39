// Every caller asks for the same size: at -O2 the compiler makes a copy that has lost the argument.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cells { char *base; size_t used, size; };

__attribute__((noinline)) static void *cell_alloc(struct cells *c, size_t size) {
    if (c->used + size > c->size) return NULL;
    void *p = c->base + c->used;
    c->used += size;
    return p;
}

int main(void) {
    struct cells c = {malloc(1000), 0, 1000};
    char *a = cell_alloc(&c, 64);
    char *b = cell_alloc(&c, 64);
    strcpy(a, "a");
    strcpy(b, "b");
    printf("%s%s\n", a, b);
    free(c.base);
    return 0;
}
