// Two readings: the function puts the position back to a pointer, which may be the block to free or a place to go back
// to. Its name says neither, and its only caller passes a block.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pile { char *base, *at, *end; };

int pile_open(struct pile *p, size_t size) {
    p->base = p->at = malloc(size);
    p->end = p->base + size;
    return p->base != NULL;
}

void *pile_add(struct pile *p, size_t size) {
    if ((size_t)(p->end - p->at) < size) return NULL;
    char *block = p->at;
    p->at += size;
    return block;
}

void pile_remove(struct pile *p, void *where) { p->at = where; }

int main(void) {
    struct pile p;
    if (!pile_open(&p, 1000)) return 1;
    char *a = pile_add(&p, 100);
    strcpy(a, "kept");
    char *b = pile_add(&p, 100);
    strcpy(b, "gone");
    pile_remove(&p, b);
    puts(a);
    free(p.base);
    return 0;
}
