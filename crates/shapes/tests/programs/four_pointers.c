// A region of four pointers and no integer; open takes a label and tells success.
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

typedef struct region { char *start, *cursor, *end, *peak; } region;

static int r_open(region *r, const char *name, unsigned long size) {
    char *m = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) return -1;
    printf("open %s\n", name);
    r->start = r->cursor = r->peak = m;
    r->end = m + size;
    return 0;
}

static void *r_alloc(region *r, unsigned long n) {
    char *p = (char *)(((uintptr_t)r->cursor + 7) & ~(uintptr_t)7);
    if (n > (unsigned long)(r->end - p)) return 0;
    r->cursor = p + n;
    if (r->cursor > r->peak) r->peak = r->cursor;
    return p;
}

static void r_close(region *r) {
    munmap(r->start, (unsigned long)(r->end - r->start));
    r->start = r->cursor = r->end = r->peak = 0;
}

int main(int argc, char **argv) {
    region r;
    if (r_open(&r, argv[0], 65536)) return 1;
    for (int i = 0; i < 100; i++) {
        int *p = r_alloc(&r, sizeof(int) * (unsigned long)(argc + i));
        if (p) *p = i;
    }
    r_close(&r);
    return 0;
}
