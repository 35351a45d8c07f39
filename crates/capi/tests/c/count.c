/* WHO SIZE COUNT: allocates COUNT blocks in batches of 1000 and stores into them. For callgrind: run with N and 2N, subtract.
 * SIZE is 8, 24, 64, or anything else for sizes known at run time only. */
#include <arenascope.h>
#include <apr_pools.h>
#include <obstack.h>
#include <stdlib.h>
#define obstack_chunk_alloc malloc
#define obstack_chunk_free free

enum { BATCH = 1000 };

struct s24 { uint64_t a, b, c; };
struct s64 { uint64_t a[8]; };

/* clang-format off */
#define BODY(alloc_word, alloc_24, alloc_64, alloc_any, go_back)                                          \
    for (size_t n = 0; n < count; n += BATCH) {                                                           \
        if (size == 8) {                                                                                  \
            for (size_t i = 0; i < BATCH; i++) { uint64_t *p = alloc_word; if (!p) abort(); *p = i; }     \
        } else if (size == 24) {                                                                          \
            for (size_t i = 0; i < BATCH; i++) { struct s24 *p = alloc_24; if (!p) abort();  p->a = i; p->b = i; p->c = i; } \
        } else if (size == 64) {                                                                          \
            for (size_t i = 0; i < BATCH; i++) { struct s64 *p = alloc_64; if (!p) abort();  for (int k = 0; k < 8; k++) p->a[k] = i; } \
        } else {                                                                                          \
            for (size_t i = 0; i < BATCH; i++) { size_t bytes = sizes[i & 15]; char *p = alloc_any; if (!p) abort(); *p = (char)i; } \
        }                                                                                                 \
        go_back;                                                                                          \
    }
/* clang-format on */

static const volatile size_t sizes_source[16] = {8, 24, 13, 64, 7, 40, 16, 1, 100, 32, 9, 48, 20, 8, 72, 5};

int main(int argc, char **argv)
{
    if (argc != 4) {
        return 2;
    }
    const char *who = argv[1];
    size_t size = strtoul(argv[2], NULL, 10), count = strtoul(argv[3], NULL, 10);
    size_t sizes[16];
    for (int i = 0; i < 16; i++) {
        sizes[i] = sizes_source[i];
    }
    if (strcmp(who, "ascope") == 0) {
        ascope_arena *a = ascope_init(1 << 20);
        ascope_marker m = ascope_mark(a);
        BODY(ascope_alloc(a, sizeof *p), ascope_alloc(a, sizeof *p), ascope_alloc(a, sizeof *p), ascope_alloc(a, bytes),
             ascope_rewind(a, m))
        ascope_destroy(a);
    } else if (strcmp(who, "obstack") == 0) {
        struct obstack o;
        obstack_begin(&o, 1 << 20);
        void *first = obstack_alloc(&o, 0);
        BODY(obstack_alloc(&o, sizeof *p), obstack_alloc(&o, sizeof *p), obstack_alloc(&o, sizeof *p), obstack_alloc(&o, bytes),
             obstack_free(&o, first); first = obstack_alloc(&o, 0))
    } else if (strcmp(who, "apr") == 0) {
        apr_initialize();
        apr_pool_t *a;
        apr_pool_create(&a, NULL);
        BODY(apr_palloc(a, sizeof *p), apr_palloc(a, sizeof *p), apr_palloc(a, sizeof *p), apr_palloc(a, bytes),
             apr_pool_clear(a))
    } else if (strcmp(who, "cycle") == 0) {
        for (size_t n = 0; n < count; n++) {
            ascope_arena *a = ascope_init(size);
            char *p = a == NULL ? NULL : ascope_alloc(a, 8);
            if (p == NULL) {
                return 1;
            }
            *p = 1;
            ascope_destroy(a);
        }
    } else if (strcmp(who, "cycle_apr") == 0) {
        apr_initialize();
        for (size_t n = 0; n < count; n++) {
            apr_pool_t *a;
            apr_pool_create(&a, NULL);
            char *p = apr_palloc(a, 8);
            *p = 1;
            apr_pool_destroy(a);
        }
    } else {
        return 2;
    }
    return 0;
}
