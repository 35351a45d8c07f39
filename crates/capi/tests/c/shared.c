/* Shared arenas and pools, one promise a function; also compiled as C++17. Ends with status 0 and "all kept", or with the line that broke. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arenascope.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECK(condition)                                                                                                         \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                                              \
            exit(1);                                                                                                             \
        }                                                                                                                        \
    } while (0)

enum { THREADS = 6, BLOCKS = 4000 };

struct block {
    struct block *before;
    size_t size;
    unsigned char mark;
};

/* The bytes behind it. */
static unsigned char *bytes_of(struct block *block)
{
    return (unsigned char *)(block + 1);
}

static ascope_shared *shared;

struct worker {
    pthread_t thread;
    unsigned char mark;
    int with_handle;
    struct block *last;
};

static void *take_blocks(void *argument)
{
    struct worker *worker = (struct worker *)argument;
    ascope_arena *local = worker->with_handle ? ascope_local(shared) : NULL;
    CHECK(!worker->with_handle || (local != NULL && (local->flags & ASCOPE_FLAG_LEASED) != 0));
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = sizeof(struct block) + (i * 37) % (i % 512 == 0 ? 40000 : 200);
        int zeroed = local != NULL && i % 3 == 0;
        void *got = zeroed ? ascope_calloc(local, 1, size)
                    : local != NULL ? ascope_alloc(local, size)
                                    : ascope_shared_alloc(shared, size, 8);
        struct block *block = (struct block *)got;
        CHECK(block != NULL && (uintptr_t)block % 8 == 0);
        for (size_t at = 0; zeroed && at < size; at++) {
            CHECK(((char *)block)[at] == 0);
        }
        block->before = worker->last;
        block->size = size - sizeof(struct block);
        block->mark = worker->mark;
        memset(bytes_of(block), worker->mark, block->size);
        worker->last = block;
        if (local != NULL && i % 5 == 0) {
            void *scratch = ascope_alloc(local, 64);
            CHECK(scratch != NULL);
            ascope_free(local, scratch, 64);
        }
    }
    ascope_local_end(local);
    return NULL;
}

static void threads_never_get_the_same_byte_and_blocks_outlive_them(void)
{
    shared = ascope_shared_growing();
    CHECK(shared != NULL);
    for (int round = 0; round < 3; round++) {
        struct worker workers[THREADS];
        memset(workers, 0, sizeof workers);
        for (size_t i = 0; i < THREADS; i++) {
            workers[i].mark = (unsigned char)(i + 1);
            workers[i].with_handle = i % 2 == 0;
            CHECK(pthread_create(&workers[i].thread, NULL, take_blocks, &workers[i]) == 0);
        }
        for (size_t i = 0; i < THREADS; i++) {
            CHECK(pthread_join(workers[i].thread, NULL) == 0);
        }
        for (size_t i = 0; i < THREADS; i++) {
            size_t count = 0;
            for (struct block *block = workers[i].last; block != NULL; block = block->before, count++) {
                CHECK(block->mark == workers[i].mark);
                for (size_t at = 0; at < block->size; at++) {
                    CHECK(bytes_of(block)[at] == workers[i].mark);
                }
            }
            CHECK(count == BLOCKS);
        }
        ascope_shared_use use = ascope_shared_stats(shared);
        CHECK(use.held == 0 && use.berths >= 1 && use.berths <= THREADS + 1 && use.refusals == 0);
        CHECK(use.leased_bytes > use.unused_bytes + use.lost_bytes);
        /* Every other round all is emptied first. */
        if (round == 0) {
            ascope_shared_reset(shared);
            use = ascope_shared_stats(shared);
            CHECK(use.leased_bytes == 0 && use.unused_bytes == 0 && use.lost_bytes == 0 && use.generation == 1);
        }
    }
    ascope_shared_destroy(shared);
}

static void *one_block_without_a_handle(void *size)
{
    CHECK(ascope_shared_alloc(shared, (size_t)(uintptr_t)size, 16) != NULL);
    CHECK(ascope_shared_stats(shared).held == 1); /* the library holds one for this thread until it ends */
    CHECK(ascope_shared_alloc(shared, 8, 8) != NULL && ascope_shared_stats(shared).held == 1);
    return NULL;
}

static void what_a_thread_leaves_is_the_next_ones(void)
{
    shared = ascope_shared_init(1 << 20);
    CHECK(shared != NULL && ascope_shared_stats(shared).capacity == 1 << 20);
    for (int i = 0; i < 500; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, one_block_without_a_handle, (void *)(uintptr_t)100) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        ascope_arena *local = ascope_local(shared);
        CHECK(local != NULL && ascope_alloc(local, 8) != NULL);
        ascope_local_end(local);
    }
    ascope_shared_use use = ascope_shared_stats(shared);
    CHECK(use.berths == 1 && use.held == 0 && use.leased_bytes - use.unused_bytes <= 500u * (100 + 16 + 16 + 16) + 4096);
    ascope_shared_destroy(shared);
}

struct seen {
    ascope_lease lease[8];
    size_t count, held;
};

static void see(void *context, const ascope_lease *lease)
{
    struct seen *seen = (struct seen *)context;
    CHECK(seen->count < 8);
    seen->lease[seen->count++] = *lease;
    seen->held += lease->pid != 0;
}

static pthread_barrier_t barrier;

static void *hold_a_lease(void *argument)
{
    ascope_arena *local = ascope_local(shared);
    void *block = ascope_alloc(local, 100);
    CHECK(block != NULL && ascope_contains(local, block));
    *(void **)argument = block;
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    ascope_local_end(local);
    return NULL;
}

static void every_lease_shows_its_owner_and_its_bounds(void)
{
    shared = ascope_shared_growing();
    CHECK(shared != NULL && pthread_barrier_init(&barrier, NULL, 3) == 0);
    pthread_t threads[2];
    void *blocks[2];
    for (size_t i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, hold_a_lease, &blocks[i]) == 0);
    }
    pthread_barrier_wait(&barrier);
    struct seen seen;
    memset(&seen, 0, sizeof seen);
    CHECK(ascope_shared_leases(shared, see, &seen) == 2 && seen.held == 2 && ascope_shared_leases(shared, NULL, NULL) == 2);
    ascope_lease one = seen.lease[0], other = seen.lease[1];
    CHECK(one.pid == (uint32_t)getpid() && other.pid == one.pid && one.tid != other.tid && one.tid != 0 && other.tid != 0);
    CHECK(one.base + one.capacity <= other.base || other.base + other.capacity <= one.base);
    ascope_shared_use use = ascope_shared_stats(shared);
    for (size_t i = 0; i < 2; i++) {
        ascope_lease lease = seen.lease[i];
        CHECK(lease.offset == 104 && lease.capacity > 60000 && lease.base >= use.base);
        CHECK(((char *)blocks[0] == lease.base) != ((char *)blocks[1] == lease.base));
    }
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    memset(&seen, 0, sizeof seen);
    CHECK(ascope_shared_leases(shared, see, &seen) == 2 && seen.held == 0);
    pthread_barrier_destroy(&barrier);
    ascope_shared_destroy(shared);
}

static void a_handle_takes_nothing_back(void)
{
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.flags = ASCOPE_GROWING;
    options.name = "requests";
    options.line = 77;
    shared = ascope_shared_create(&options);
    CHECK(shared != NULL);
    ascope_arena *local = ascope_local(shared);
    CHECK(local->magic == ASCOPE_MAGIC && local->name_bytes == 8 && memcmp(local->name, "requests", 8) == 0);
    CHECK(local->site_line == 77 && local->site_file != NULL && local->owner_tid != 0 && local->pid == (uint32_t)getpid());
    char *text = ascope_printf(local, "%s", "stays");
    CHECK(text != NULL);
    size_t offset = ascope_offset(local);
    uint64_t generation = local->generation;
    ascope_marker mark = ascope_mark(local);
    CHECK(ascope_alloc(local, 8) != NULL);
    CHECK(ascope_rewind(local, mark) == ASCOPE_FOREIGN && (ascope_rewind)(local, (ascope_mark)(local)) == ASCOPE_FOREIGN);
    /* Nor is it a marker of any other arena, nor another's one of it. */
    ascope_arena *other = ascope_init(64);
    CHECK(ascope_rewind(other, mark) == ASCOPE_FOREIGN && ascope_rewind(local, ascope_mark(other)) == ASCOPE_FOREIGN);
    ascope_reset(local);
    (ascope_reset)(local);
    ascope_destroy(local);
    (ascope_destroy)(local);
    ascope_local_end(other); /* no handle */
    ascope_pool *pool = ascope_pool_create(&options, 1 << 20, 4);
    ascope_pool_return(pool, local);
    CHECK(ascope_pool_idle(pool).count == 0);
    ascope_pool_destroy(pool);
    CHECK(other->magic == ASCOPE_MAGIC && local->magic == ASCOPE_MAGIC && local->generation == generation);
    CHECK(ascope_offset(local) == offset + 8 && strcmp(text, "stays") == 0 && ascope_alloc(local, 8) != NULL);
    /* A block of another handle's may be resized and freed here: it moves, or nothing is reused. */
    ascope_arena *second = ascope_local(shared);
    CHECK(second != NULL && second != local && ascope_alloc(second, 8) != NULL);
    char *last = (char *)ascope_memdup(second, "12345678", 8);
    size_t before = ascope_offset(second);
    char *grown = (char *)ascope_realloc(local, last, 8, 16);
    CHECK(grown != NULL && grown != last && memcmp(grown, "12345678", 8) == 0 && ascope_contains(local, grown));
    ascope_free(local, last, 8);
    CHECK(ascope_offset(second) == before);
    /* A reset keeps the handles. */
    ascope_shared_reset(shared);
    CHECK(ascope_offset(local) == 0 && ascope_capacity(local) == 0 && ascope_remaining(local) == 0);
    char *fresh = (char *)ascope_calloc(local, 1, 5000);
    CHECK(fresh != NULL && ascope_contains(local, fresh) && ascope_alloc(second, 8) != NULL);
    for (size_t i = 0; i < 5000; i++) {
        CHECK(fresh[i] == 0);
    }
    ascope_local_end(local);
    ascope_local_end(second);
    ascope_destroy(other);
    ascope_shared_destroy(shared);
}

static void a_bounded_one_says_whether_others_have_room(void)
{
    shared = ascope_shared_init(256 << 10);
    ascope_arena *mine = ascope_local(shared), *other = ascope_local(shared);
    CHECK(mine != NULL && other != NULL && ascope_alloc(other, 8) != NULL);
    size_t got = 0;
    errno = 0;
    while (ascope_alloc(mine, 1024) != NULL) {
        got += 1024;
    }
    CHECK(errno == EBUSY && got > 128u << 10);
    CHECK(ascope_shared_alloc(shared, 1024, 8) == NULL && errno == EBUSY);
    size_t left = 0;
    while (ascope_alloc(other, 1024) != NULL) {
        left += 1024;
    }
    CHECK(errno == ENOMEM && left >= 1024 && got + left <= 256u << 10 && got + left > 240u << 10);
    CHECK(ascope_alloc(mine, 1u << 20) == NULL && errno == ENOMEM);
    CHECK(ascope_alloc(mine, SIZE_MAX - 20) == NULL && errno == ENOMEM);
    CHECK(ascope_shared_alloc(shared, 8, 3) == NULL && errno == EINVAL);
    CHECK((ascope_shared_alloc)(shared, SIZE_MAX, 8) == NULL && errno == ENOMEM);
    CHECK(ascope_shared_stats(shared).refusals > 3);
    ascope_shared_destroy(shared);
}

static void nothing_is_refused_or_does_nothing(void)
{
    errno = 0;
    CHECK(ascope_shared_create(NULL) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(ascope_local(NULL) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(ascope_shared_alloc(NULL, 8, 8) == NULL && errno == EINVAL);
    CHECK(ascope_shared_stats(NULL).capacity == 0 && ascope_shared_leases(NULL, see, NULL) == 0);
    ascope_local_end(NULL);
    ascope_shared_reset(NULL);
    ascope_shared_destroy(NULL);
    errno = 0;
    CHECK(ascope_pool_create(NULL, 1, 1) == NULL && errno == EINVAL);
    errno = 0;
    CHECK(ascope_pool_take(NULL) == NULL && errno == EINVAL && ascope_pool_idle(NULL).count == 0);
    ascope_pool_return(NULL, NULL);
    ascope_pool_release(NULL);
    ascope_pool_destroy(NULL);
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.layout_version++;
    CHECK(ascope_shared_create(&options) == NULL && errno == ENOTSUP);
    options.layout_version--;
    options.capacity = (size_t)PTRDIFF_MAX;
    CHECK(ascope_shared_create(&options) == NULL && errno == ENOMEM);
}

/* ---------------------------------------------------------------------------------------------- watching */

static unsigned leases, leased_here, creates, resets, inherited;
static uint32_t line;

static void count(void *context, const ascope_event *event)
{
    (void)context;
    creates += event->kind == ASCOPE_CREATE;
    resets += event->kind == ASCOPE_RESET;
    inherited += event->kind == ASCOPE_INHERITED;
    if (event->kind == ASCOPE_LEASE) {
        leases++;
        CHECK(event->size > 4000 && event->block >= event->arena->base);
        leased_here += event->line == line && event->file != NULL && memcmp(event->file + event->file_bytes - 8, "shared.c", 8) == 0;
    }
}

static void an_observer_hears_of_leases_at_the_callers_line(void)
{
    static const ascope_observer observer = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), NULL, count, 0, NULL, NULL};
    ascope_observe_all(&observer);
    shared = ascope_shared_growing();
    ascope_arena *local = ascope_local(shared);
    CHECK(creates == 1 && leases == 0 && ascope_is_watched(local));
    line = __LINE__ + 1;
    CHECK(ascope_alloc(local, 24) != NULL);
    CHECK(leases == 1 && leased_here == 1);
    line = __LINE__ + 1;
    CHECK(ascope_shared_alloc(shared, 100000, 8) != NULL);
    CHECK(creates == 2);
    ascope_observe_all(NULL);
    ascope_local_end(local);
    ascope_shared_destroy(shared);
    CHECK(inherited == 0);
}

static ascope_shared *others[6];
static unsigned asked;

static void ask_others(void *context, const ascope_event *event)
{
    (void)context;
    if (event->kind == ASCOPE_ALLOC && event->size == 77) {
        for (size_t i = 0; i < 6; i++) {
            CHECK(ascope_shared_alloc(others[i], 8, 8) != NULL);
        }
        CHECK(ascope_shared_stats(shared).held == 1); /* the call below is still inside: nobody else may get its handle */
        asked++;
    }
}

static void an_observer_that_uses_many_shared_arenas_takes_none_away_from_a_call(void)
{
    static const ascope_observer observer = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), NULL, ask_others, 0, NULL, NULL};
    shared = ascope_shared_growing();
    for (size_t i = 0; i < 6; i++) {
        others[i] = ascope_shared_growing();
    }
    ascope_observe_all(&observer);
    for (unsigned i = 1; i <= 3; i++) {
        CHECK(ascope_shared_alloc(shared, 77, 8) != NULL && asked == i);
    }
    ascope_observe_all(NULL);
    for (size_t i = 0; i < 6; i++) {
        ascope_shared_destroy(others[i]);
    }
    ascope_shared_destroy(shared);
}

/* ---------------------------------------------------------------------------------------------- pools */

static ascope_pool *pool;
static ascope_arena *handed[4];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *serve(void *number)
{
    for (size_t i = 0; i < 3000; i++) {
        ascope_arena *arena = ascope_pool_take(pool);
        CHECK(arena != NULL && ascope_offset(arena) == 0 && ascope_capacity(arena) == 16u << 10);
        size_t *block = ascope_new_array(arena, size_t, 100);
        CHECK(block != NULL);
        block[0] = block[99] = (size_t)(uintptr_t)number + i;
        /* Some end elsewhere. */
        pthread_mutex_lock(&lock);
        ascope_arena *other = handed[i % 4];
        handed[i % 4] = arena;
        pthread_mutex_unlock(&lock);
        if (other != NULL) {
            const size_t *theirs = (const size_t *)ascope_base(other);
            CHECK(ascope_offset(other) == 800 && theirs[0] == theirs[99]);
            ascope_pool_return(pool, other);
        }
    }
    return NULL;
}

static void arenas_of_a_pool_are_handed_between_threads_and_used_again(void)
{
    char name[16] = "request";
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.capacity = 16 << 10;
    options.name = name;
    pool = ascope_pool_create(&options, 1 << 20, 8);
    memset(name, 'x', sizeof name - 1); /* the pool has its own copy */
    CHECK(pool != NULL && ascope_pool_idle(pool).count == 0);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, serve, (void *)(i << 32)) == 0);
    }
    for (size_t i = 0; i < 4; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    for (size_t i = 0; i < 4; i++) {
        ascope_pool_return(pool, handed[i]);
    }
    ascope_kept_regions idle = ascope_pool_idle(pool);
    CHECK(idle.count >= 4 && idle.count <= 8 && idle.bytes <= 1u << 20 && idle.bytes >= idle.count * (16u << 10));
    ascope_arena *arena = ascope_pool_take(pool);
    uint32_t here = __LINE__ - 1;
    CHECK(arena->site_line == here && arena->name_bytes == 7 && memcmp(arena->name, "request", 7) == 0);
    CHECK(ascope_pool_idle(pool).count == idle.count - 1);
    /* Blocks and markers of its former life are gone. */
    ascope_marker mark = ascope_mark(arena);
    ascope_pool_return(pool, arena);
    CHECK(ascope_pool_take(pool) == arena && ascope_rewind(arena, mark) == ASCOPE_STALE);
    ascope_pool_release(pool);
    CHECK(ascope_pool_idle(pool).count == 0 && ascope_pool_idle(pool).bytes == 0);
    ascope_arena *more[9];
    for (size_t i = 0; i < 9; i++) {
        more[i] = ascope_pool_take(pool);
        CHECK(more[i] != NULL && more[i] != arena);
    }
    for (size_t i = 0; i < 9; i++) {
        ascope_pool_return(pool, more[i]);
    }
    CHECK(ascope_pool_idle(pool).count == 8); /* the ninth has ended */
    ascope_pool_destroy(pool);
    CHECK(ascope_alloc(arena, 8) != NULL); /* it is out */
    ascope_destroy(arena);
}

static void hear(void *context, const ascope_event *event)
{
    (void)event;
    ++*(int *)context;
}

static void an_observer_of_a_handle_or_of_a_taken_arena_goes_with_it(void)
{
    int heard = 0, pools = 0;
    ascope_observer *mine = (ascope_observer *)malloc(sizeof *mine);
    ascope_observer whole = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), &heard, hear, 0, NULL, NULL};
    *mine = whole;
    ascope_shared *one = ascope_shared_growing();
    ascope_arena *local = ascope_local(one);
    ascope_observe(local, mine);
    CHECK(ascope_alloc(local, 8) != NULL && heard > 0);
    ascope_local_end(local);
    int so_far = heard;
    CHECK(ascope_local(one) == local && !ascope_is_watched(local));
    CHECK(ascope_alloc(local, 8) != NULL && ascope_alloc(local, 8) != NULL && heard == so_far);
    ascope_shared_destroy(one);

    static ascope_observer of_pool = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), NULL, hear, 0, NULL, NULL};
    of_pool.context = &pools;
    for (int with = 0; with < 2; with++) {
        ascope_options options = {ASCOPE_OPTIONS_INIT};
        options.capacity = 4096;
        options.observer = with ? &of_pool : NULL;
        ascope_pool *pool = ascope_pool_create(&options, 1 << 20, 8);
        ascope_arena *arena = ascope_pool_take(pool);
        ascope_observe(arena, mine);
        CHECK(ascope_alloc(arena, 8) != NULL && heard > so_far);
        ascope_pool_return(pool, arena);
        so_far = heard;
        int pools_so_far = pools;
        CHECK(ascope_pool_take(pool) == arena && ascope_is_watched(arena) == with);
        CHECK(ascope_alloc(arena, 8) != NULL && heard == so_far && pools == pools_so_far + with);
        ascope_destroy(arena);
        ascope_pool_destroy(pool);
    }
    free(mine);
}

static void each_source_and_policy_of_memory_serves(void)
{
    const uint32_t flags[] = {ASCOPE_HEAP, ASCOPE_GROWING | ASCOPE_HEAP, ASCOPE_SMALL_PAGES, ASCOPE_GROWING | ASCOPE_HUGE_PAGES,
                              ASCOPE_GROWING | ASCOPE_NO_POPULATE, ASCOPE_GROWING | ASCOPE_RESET_RELEASES,
                              ASCOPE_GROWING | ASCOPE_RESET_KEEPS_SOME};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        ascope_options options = {ASCOPE_OPTIONS_INIT};
        options.flags = flags[i];
        options.capacity = 4 << 20;
        options.keep_bytes = 4096;
        ascope_shared *one = ascope_shared_create(&options);
        CHECK(one != NULL);
        ascope_arena *local = ascope_local(one);
        for (int round = 0; round < 2; round++) {
            for (size_t k = 0; k < 150; k++) { /* a growing one on the heap has 1 MiB */
                char *block = (char *)ascope_calloc(local, 1, 5000);
                CHECK(block != NULL && block[0] == 0 && block[4999] == 0);
                memset(block, 0x5A, 5000);
            }
            ascope_shared_reset(one);
        }
        ascope_shared_destroy(one);
    }
}

int main(void)
{
    each_source_and_policy_of_memory_serves();
    threads_never_get_the_same_byte_and_blocks_outlive_them();
    what_a_thread_leaves_is_the_next_ones();
    every_lease_shows_its_owner_and_its_bounds();
    a_handle_takes_nothing_back();
    a_bounded_one_says_whether_others_have_room();
    nothing_is_refused_or_does_nothing();
    an_observer_hears_of_leases_at_the_callers_line();
    an_observer_that_uses_many_shared_arenas_takes_none_away_from_a_call();
    arenas_of_a_pool_are_handed_between_threads_and_used_again();
    an_observer_of_a_handle_or_of_a_taken_arena_goes_with_it();
    puts("all kept");
    return 0;
}
