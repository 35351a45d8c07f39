// A position is a chunk and a count: two words, which a role cannot carry.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct part { struct part *next; size_t count, room; char bytes[]; } part;
typedef struct { part *first, *last; } parts;
typedef struct { part *where; size_t count; } spot;

static part *part_new(size_t room) {
    part *p = malloc(sizeof *p + room);
    if (!p) exit(1);
    *p = (part){NULL, 0, room};
    return p;
}

void *parts_alloc(parts *a, size_t size) {
    if (!a->last) a->first = a->last = part_new(1000);
    if (a->last->count + size > a->last->room) {
        a->last->next = part_new(size > 1000 ? size : 1000);
        a->last = a->last->next;
    }
    void *p = a->last->bytes + a->last->count;
    a->last->count += size;
    return p;
}

spot parts_save(parts *a) {
    spot s = {a->last, a->last ? a->last->count : 0};
    return s;
}

void parts_restore(parts *a, spot s) {
    a->last = s.where;
    if (s.where) s.where->count = s.count;
}

int main(void) {
    parts a = {0};
    strcpy(parts_alloc(&a, 10), "one");
    spot s = parts_save(&a);
    strcpy(parts_alloc(&a, 10), "two");
    parts_restore(&a, s);
    printf("%zu\n", a.last->count);
    return 0;
}
