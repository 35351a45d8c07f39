// One page, small blocks recycled through a list, made by value, 32-bit sizes.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

typedef struct fl { struct fl *next; } fl;
typedef struct { uint8_t *page; uint32_t cursor, limit; fl *small; } f_page;

f_page f_new(uint32_t size) {
    f_page f = {0};
    f.page = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    f.limit = size;
    return f;
}

void *f_alloc(f_page *p, uint32_t n) {
    if (n <= 16 && p->small) {
        fl *b = p->small;
        p->small = b->next;
        return b;
    }
    uint32_t need = (n + 15u) & ~15u;
    if (need > p->limit - p->cursor) return 0;
    void *b = p->page + p->cursor;
    p->cursor += need;
    return b;
}

void f_free(f_page *p, void *block) {
    fl *b = block;
    b->next = p->small;
    p->small = b;
}

void f_del(f_page *p) {
    munmap(p->page, p->limit);
    p->page = 0;
}

int main(void) {
    f_page p = f_new(4096);
    char *a = f_alloc(&p, 16);
    strcpy(a, "fifteen letters");
    puts(a);
    f_free(&p, a);
    char *b = f_alloc(&p, 16);
    b[0] = 'x';
    puts(a == b ? "same" : "different");
    f_del(&p);
    return 0;
}
