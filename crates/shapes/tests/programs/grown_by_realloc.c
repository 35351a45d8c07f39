/* Memory that moves when it grows: what was handed out before is gone. Not chosen, but the user may know better. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct { char *base; size_t used, cap; } Arena;
void *arena_alloc(Arena *a, size_t n) {
    if (a->used + n > a->cap) {
        a->cap = (a->used + n) * 2;
        a->base = realloc(a->base, a->cap);
    }
    void *p = a->base + a->used;
    a->used += n;
    return p;
}
int main(void) {
    Arena a = {malloc(64), 0, 64};
    strcpy(arena_alloc(&a, 40), "first");
    strcpy(arena_alloc(&a, 4000), "second");
    puts(a.base);
    free(a.base);
    return 0;
}
