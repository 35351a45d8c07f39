// The memory lies in the arena itself; aligned alloc under a plain one; the block comes out through a pointer.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct scratch { uint32_t used; unsigned char bytes[4000]; };
struct out { char *base; size_t size, off; };

void scratch_init(struct scratch *s) { s->used = 0; }

void *scratch_alloc_aligned(struct scratch *s, size_t size, size_t align) {
    size_t at = (s->used + (align - 1)) & ~(align - 1);
    if (at + size > sizeof s->bytes) return 0;
    s->used = (uint32_t)(at + size);
    return s->bytes + at;
}

void *scratch_alloc(struct scratch *s, size_t size) { return scratch_alloc_aligned(s, size, 16); }

int out_alloc(struct out *o, size_t size, void **block) {
    if (o->off + size > o->size) return -1;
    *block = o->base + o->off;
    o->off += size;
    return 0;
}

int main(void) {
    static struct scratch s;
    static char room[256];
    struct out o = {room, sizeof room, 0};
    scratch_init(&s);
    char *a = scratch_alloc(&s, 10);
    char *b = scratch_alloc_aligned(&s, 10, 64);
    void *c;
    strcpy(a, "a");
    strcpy(b, "b");
    if (out_alloc(&o, 10, &c)) return 1;
    strcpy(c, "c");
    printf("%s%s%s\n", a, b, (char *)c);
    return 0;
}
