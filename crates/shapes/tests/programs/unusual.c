// Allocators of unusual shape: downward, counting what is left, behind a handle with headers in band, first fit, an array
// of chunks, a global pointer, inside a larger structure. And two that are none: one counts pages, one wraps malloc.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef struct { char *lo, *cur; } down;
void down_init(down *d, size_t n) {
    d->lo = malloc(n);
    d->cur = d->lo + n;
}
void *down_alloc(down *d, size_t n) {
    n = (n + 7) & ~(size_t)7;
    if ((size_t)(d->cur - d->lo) < n) return NULL;
    d->cur -= n;
    return d->cur;
}
void down_destroy(down *d) { free(d->lo); }

struct rem { uint8_t *base; uint32_t cap, left; pthread_mutex_t m; };
int rem_setup(struct rem *r, uint32_t bytes) {
    r->base = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    r->cap = r->left = bytes;
    pthread_mutex_init(&r->m, 0);
    return r->base == MAP_FAILED;
}
void *rem_take(struct rem *r, uint32_t bytes) {
    void *p = NULL;
    pthread_mutex_lock(&r->m);
    if (bytes <= r->left) {
        p = r->base + (r->cap - r->left);
        r->left -= bytes;
        memset(p, 0, bytes);
    }
    pthread_mutex_unlock(&r->m);
    return p;
}
void rem_clear(struct rem *r) { r->left = r->cap; }

typedef struct behind *handle;
struct behind { size_t used, total; void *mem; };
typedef struct { uint32_t magic, size; } header;
handle h_create(size_t total) {
    handle h = malloc(sizeof *h);
    h->mem = malloc(total);
    h->used = 0;
    h->total = total;
    return h;
}
void *h_alloc(handle h, size_t n) {
    size_t need = n + sizeof(header);
    if (h->used + need > h->total) return NULL;
    header *x = (header *)((char *)h->mem + h->used);
    x->magic = 0xabcd;
    x->size = (uint32_t)n;
    h->used += need;
    return x + 1;
}
void h_free(handle h) {
    free(h->mem);
    free(h);
}

typedef struct span { size_t size; struct span *next; } span;
typedef struct { span *free; char *mem; } heap;
void heap_init(heap *h, char *mem, size_t n) {
    h->mem = mem;
    h->free = (span *)mem;
    h->free->size = n;
    h->free->next = NULL;
}
void *heap_alloc(heap *h, size_t n) {
    n = ((n + 15) & ~(size_t)15) + 16;
    span **link = &h->free;
    for (span *b = *link; b; link = &b->next, b = b->next) {
        if (b->size >= n + 32) {
            b->size -= n;
            span *r = (span *)((char *)b + b->size);
            r->size = n;
            return r + 1;
        }
        if (b->size >= n) {
            *link = b->next;
            return b + 1;
        }
    }
    return NULL;
}
void heap_free(heap *h, void *p) {
    span *b = (span *)p - 1;
    b->next = h->free;
    h->free = b;
}

typedef struct { char *mem; size_t used; } slot;
typedef struct { slot *slots; int n, cap; } many;
void *many_alloc(many *m, size_t size) {
    if (m->n == 0 || m->slots[m->n - 1].used + size > 4096) {
        if (m->n == m->cap) {
            m->cap = m->cap ? m->cap * 2 : 4;
            m->slots = realloc(m->slots, (size_t)m->cap * sizeof *m->slots);
        }
        m->slots[m->n].mem = malloc(4096);
        m->slots[m->n].used = 0;
        m->n++;
    }
    slot *s = &m->slots[m->n - 1];
    void *p = s->mem + s->used;
    s->used += size;
    return p;
}
void many_free(many *m) {
    for (int i = 0; i < m->n; i++) free(m->slots[i].mem);
    free(m->slots);
    m->slots = NULL;
    m->n = m->cap = 0;
}

static struct behind *common;
void *common_alloc(size_t n) {
    if (!common) common = h_create(1 << 16);
    if (common->used + n > common->total) return NULL;
    void *p = (char *)common->mem + common->used;
    common->used += n;
    return p;
}

typedef struct { char *base; size_t off, cap; } bump;
typedef struct { int id; bump b; } outer;
typedef struct { size_t off; int depth; } place;
void *bump_push(bump *b, size_t n) {
    if (b->off + n > b->cap) return NULL;
    void *p = b->base + b->off;
    b->off += n;
    return p;
}
void bump_begin(bump *b, place *m) {
    m->off = b->off;
    m->depth = 1;
}
void bump_end(bump *b, place *m) { b->off = m->off; }
void *outer_alloc(outer *o, size_t n) { return bump_push(&o->b, n); }
outer *outer_new(size_t cap) {
    outer *o = malloc(sizeof *o);
    o->id = 1;
    o->b.base = malloc(cap);
    o->b.off = 0;
    o->b.cap = cap;
    return o;
}
void outer_free(outer *o) {
    free(o->b.base);
    free(o);
}

typedef struct { char *base; unsigned next, pages; } pages;
void *pages_get(pages *p, unsigned count) {
    if (p->next + count > p->pages) return NULL;
    void *r = p->base + (size_t)p->next * 4096;
    p->next += count;
    return r;
}

typedef struct link { struct link *next; } link_;
typedef struct { link_ *all; size_t count; } owned;
void *owned_alloc(owned *o, size_t n) {
    link_ *x = malloc(sizeof *x + n);
    x->next = o->all;
    o->all = x;
    o->count++;
    return x + 1;
}
void owned_free_all(owned *o) {
    while (o->all) {
        link_ *n = o->all->next;
        free(o->all);
        o->all = n;
    }
}

int main(void) {
    down d;
    down_init(&d, 1000);
    *(int *)down_alloc(&d, 8) = 1;
    down_destroy(&d);
    struct rem r;
    rem_setup(&r, 4096);
    *(int *)rem_take(&r, 8) = 1;
    rem_clear(&r);
    handle h = h_create(1000);
    *(int *)h_alloc(h, 8) = 1;
    h_free(h);
    static char room[8192];
    heap hp;
    heap_init(&hp, room, 1000);
    int *q = heap_alloc(&hp, 8);
    *q = 1;
    heap_free(&hp, q);
    many m = {0};
    *(int *)many_alloc(&m, 8) = 1;
    many_free(&m);
    *(int *)common_alloc(8) = 1;
    outer *o = outer_new(100);
    *(int *)outer_alloc(o, 8) = 1;
    place at;
    bump_begin(&o->b, &at);
    *(int *)bump_push(&o->b, 8) = 1;
    bump_end(&o->b, &at);
    outer_free(o);
    pages p = {room, 0, 1};
    *(char *)pages_get(&p, 1) = 1;
    owned ow = {0};
    *(int *)owned_alloc(&ow, 8) = 1;
    owned_free_all(&ow);
    return 0;
}
