/* glibc's obstacks are macros: these functions give Rust something to call, one call deep as APR's and talloc's are. */
#include <obstack.h>
#include <stdlib.h>

#define obstack_chunk_alloc malloc
#define obstack_chunk_free free

struct obstack *bench_obstack_new(size_t chunk) {
    struct obstack *o = malloc(sizeof *o);
    if (chunk)
        obstack_begin(o, chunk);
    else
        obstack_init(o);
    obstack_alignment_mask(o) = 15;
    return o;
}

void *bench_obstack_alloc(struct obstack *o, size_t size) { return obstack_alloc(o, size); }

void *bench_obstack_mark(struct obstack *o) { return obstack_alloc(o, 0); }

void bench_obstack_release(struct obstack *o, void *mark) { obstack_free(o, mark); }

void bench_obstack_delete(struct obstack *o) {
    obstack_free(o, NULL);
    free(o);
}
