// Containers that hold a pointer and integers, take a size or a key, and return pointers. None is an arena.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A vector: element pointers, growth by realloc.
typedef struct { int *items; size_t len, cap; } vec;
int *vec_push(vec *v, int x) {
    if (v->len == v->cap) {
        v->cap = v->cap ? v->cap * 2 : 4;
        v->items = realloc(v->items, v->cap * sizeof *v->items);
    }
    v->items[v->len] = x;
    return &v->items[v->len++];
}
int *vec_at(vec *v, size_t i) { return i < v->len ? v->items + i : NULL; }
// Makes room for n more at the end: returns fresh room, but moves when it grows.
int *vec_extend(vec *v, size_t n) {
    while (v->len + n > v->cap) {
        v->cap = v->cap ? v->cap * 2 : 4;
        v->items = realloc(v->items, v->cap * sizeof *v->items);
    }
    int *p = v->items + v->len;
    v->len += n;
    return p;
}

// A byte buffer that grows by malloc, memcpy, free in a function of its own.
typedef struct { char *data; size_t len, cap; } buf;
static void buf_more(buf *b, size_t n) {
    if (b->len + n <= b->cap) return;
    size_t cap = (b->len + n) * 2;
    char *d = malloc(cap);
    if (b->data) memcpy(d, b->data, b->len);
    free(b->data);
    b->data = d;
    b->cap = cap;
}
char *buf_reserve(buf *b, size_t n) {
    buf_more(b, n);
    char *p = b->data + b->len;
    b->len += n;
    return p;
}
char *buf_append(buf *b, const char *s, size_t n) {
    buf_more(b, n);
    memcpy(b->data + b->len, s, n);
    b->len += n;
    return b->data;
}
void buf_reset(buf *b) { b->len = 0; }
void buf_free(buf *b) { free(b->data); b->data = NULL; b->len = b->cap = 0; }

// A fixed string that appends what it is given.
typedef struct { char text[256]; size_t len; } str;
char *str_append(str *s, const char *what, size_t n) {
    char *at = s->text + s->len;
    for (size_t i = 0; i < n && s->len < sizeof s->text - 1; i++) s->text[s->len++] = what[i];
    return at;
}

// A list and a hash table with integer keys.
typedef struct node { struct node *next; size_t key; int value; } node;
typedef struct { node *head; size_t count, sum; } list;
node *list_find(list *l, size_t key) {
    for (node *n = l->head; n; n = n->next) if (n->key == key) return n;
    return NULL;
}
node *list_push(list *l, size_t key) {
    node *n = malloc(sizeof *n);
    n->key = key;
    n->next = l->head;
    n->value = 0;
    l->head = n;
    l->count++;
    l->sum += key;
    return n;
}
node *list_cut(list *l, size_t n) {
    while (n-- && l->head) {
        node *next = l->head->next;
        free(l->head);
        l->head = next;
        l->count--;
    }
    return l->head;
}
typedef struct { node **buckets; size_t size, count; } table;
node *table_get(table *t, uint64_t key) {
    node **b = &t->buckets[key % t->size];
    for (node *n = *b; n; n = n->next) if (n->key == key) return n;
    node *n = malloc(sizeof *n);
    n->key = key;
    n->value = 0;
    n->next = *b;
    *b = n;
    t->count++;
    return n;
}

// Ring buffers: by remainder, by mask, by starting over.
typedef struct { unsigned char *data; size_t head, size; } ring;
void *ring_reserve(ring *r, size_t n) {
    void *p = r->data + r->head;
    r->head = (r->head + n) % r->size;
    return p;
}
typedef struct { unsigned char *data; size_t head, mask; } mring;
void *mring_reserve(mring *r, size_t n) {
    r->head = (r->head + n) & r->mask;
    return r->data + r->head;
}
typedef struct { char *data; size_t at, size; } scratch;
char *scratch_take(scratch *s, size_t n) {
    if (s->at + n > s->size) s->at = 0;
    char *p = s->data + s->at;
    s->at += n;
    return p;
}

// An output buffer that is written out when full.
typedef struct { int fd; size_t used; char data[512]; } out;
static void out_flush(out *o) { if (write(o->fd, o->data, o->used) < 0) perror("write"); o->used = 0; }
char *out_room(out *o, size_t n) {
    if (o->used + n > sizeof o->data) out_flush(o);
    char *p = o->data + o->used;
    o->used += n;
    return p;
}

// Readers of data that somebody else has written; one says so by const, one does not.
typedef struct { const unsigned char *at, *end; } reader;
const unsigned char *reader_take(reader *r, size_t n) {
    if ((size_t)(r->end - r->at) < n) return NULL;
    const unsigned char *p = r->at;
    r->at += n;
    return p;
}
typedef struct { char *data; size_t pos, len; } parser;
char *parser_next(parser *p, size_t n) {
    if (p->pos + n > p->len) return NULL;
    char *s = p->data + p->pos;
    p->pos += n;
    return s;
}

// Counters that return something of the structure, and malloc with statistics.
typedef struct { char *name; size_t total, calls; } stats;
char *stats_add(stats *s, size_t n) { s->total += n; s->calls++; return s->name; }
size_t *stats_bump(stats *s, size_t n) { s->total += n; return &s->total; }
void *counted_malloc(stats *s, size_t n) { s->total += n; s->calls++; return malloc(n); }

// A matrix and an indexed pool of equal objects.
typedef struct { double *cells; int rows, cols; } matrix;
double *matrix_row(matrix *m, int r) { return m->cells + (size_t)r * (size_t)m->cols; }
typedef struct { node *slots; size_t next, cap; } slots;
node *slots_get(slots *s, size_t wanted) {
    if (wanted >= s->cap) return NULL;
    if (wanted >= s->next) s->next = wanted + 1;
    return &s->slots[wanted];
}

// A cursor over a file in memory.
typedef struct { char *map; size_t pos, size; } file;
char *file_seek(file *f, size_t to) { f->pos = to; return f->map + f->pos; }

// Static buffers.
char *tmp_buffer(size_t n) {
    static char *b;
    static size_t cap;
    if (n > cap) { b = realloc(b, n); cap = n; }
    return b;
}
char *number_text(unsigned n) {
    static char t[16];
    char *p = t + sizeof t - 1;
    *p = 0;
    do { *--p = (char)('0' + n % 10); } while (n /= 10);
    return p;
}
static char *names[] = {"one", "two", "three"};
static size_t spun;
char *next_name(size_t by) { spun += by; return names[spun % 3]; }

int main(void) {
    vec v = {0};
    *vec_push(&v, 1) = 2;
    int *e = vec_extend(&v, 3);
    e[0] = 1;
    *vec_at(&v, 0) = 5;
    buf b = {0};
    strcpy(buf_reserve(&b, 10), "reserve");
    puts(buf_append(&b, "more", 5));
    buf_reset(&b);
    buf_free(&b);
    str s = {{0}, 0};
    puts(str_append(&s, "text", 5));
    list l = {0};
    list_push(&l, 3)->value = 4;
    printf("%d\n", list_find(&l, 3)->value);
    list_cut(&l, 1);
    node *heads[16] = {0};
    table t = {heads, 16, 0};
    table_get(&t, 5)->value = 1;
    unsigned char room[64] = {0};
    ring r = {room, 0, 64};
    *(char *)ring_reserve(&r, 8) = 1;
    mring mr = {room, 0, 63};
    *(char *)mring_reserve(&mr, 8) = 1;
    char more[64];
    scratch sc = {more, 0, 64};
    strcpy(scratch_take(&sc, 10), "hi");
    out o = {1, 0, {0}};
    strcpy(out_room(&o, 4), "out\n");
    out_flush(&o);
    reader rd = {room, room + 64};
    printf("%d\n", reader_take(&rd, 4)[0]);
    char data[] = "abcdefgh";
    parser p = {data, 0, 8};
    char *w = parser_next(&p, 2);
    printf("%c%c\n", w[0], w[1]);
    w = parser_next(&p, 2);
    if (memcmp(w, "cd", 2) == 0) puts("cd");
    stats st = {"st", 0, 0};
    puts(stats_add(&st, 3));
    *stats_bump(&st, 2) += 1;
    char *m = counted_malloc(&st, 10);
    m[0] = 1;
    double cells[4] = {0};
    matrix mx = {cells, 2, 2};
    matrix_row(&mx, 1)[0] = 1;
    node few[4];
    slots sl = {few, 0, 4};
    slots_get(&sl, 2)->value = 1;
    file f = {data, 0, 8};
    *file_seek(&f, 3) = 'x';
    strcpy(tmp_buffer(20), "tmp");
    puts(number_text(1234));
    puts(next_name(2));
    return 0;
}
