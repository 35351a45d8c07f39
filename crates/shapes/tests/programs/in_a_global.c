// The arena is a field of a global, and is made by assignment.
#include <stdio.h>
#include <stdlib.h>

struct bump { char *at; char *end; };
static struct { int argc; struct bump pool; } g;

void *take(struct bump *b, size_t size) {
    if ((size_t)(b->end - b->at) < size) return NULL;
    void *p = b->at;
    b->at += size;
    return p;
}

int main(int argc, char **argv) {
    char *mem = malloc(1000);
    g.argc = argc;
    g.pool = (struct bump){mem, mem + 1000};
    int *n = take(&g.pool, sizeof *n);
    *n = argc;
    char *s = take(&g.pool, 32);
    snprintf(s, 32, "%s %d", argv[0], *n);
    puts(s);
    free(mem);
    return 0;
}
