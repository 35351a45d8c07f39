// No arena argument at all: a static buffer and an index.
#include <stdio.h>
#include <string.h>

static char memory[1 << 16];
static size_t used;

void *bump(size_t size) {
    size = (size + 7) & ~(size_t)7;
    if (size > sizeof memory - used) return NULL;
    void *p = memory + used;
    used += size;
    return p;
}

void bump_reset(void) { used = 0; }
size_t bump_save(void) { return used; }
void bump_restore(size_t to) { used = to; }

int main(void) {
    char *a = bump(20);
    strcpy(a, "first");
    size_t m = bump_save();
    char *b = bump(40);
    strcpy(b, "second");
    printf("%s %s\n", a, b);
    bump_restore(m);
    bump_reset();
    return 0;
}
