/* What becomes of arenas in a fork, one promise a function; also compiled as C++17. Ends with status 0 and "all kept", or with the line that broke. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arenascope.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                                                         \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                                              \
            _exit(1);                                                                                                            \
        }                                                                                                                        \
    } while (0)

/* Runs `work` in a child, which must end well. */
static void in_a_child(void (*work)(void *), void *argument)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        work(argument);
        _exit(0);
    }
    int status = 1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* ---------------------------------------------------------------------------------------------- copy */

static unsigned inherited;
static size_t parents_pid;

static void hear(void *context, const ascope_event *event)
{
    (void)context;
    if (event->kind == ASCOPE_INHERITED) {
        inherited++;
        parents_pid = event->size;
    }
}

static void use_the_copy(void *argument)
{
    ascope_arena *arena = (ascope_arena *)argument;
    char *text = (char *)ascope_base(arena);
    CHECK(strcmp(text, "parent") == 0);
    strcpy(text, "child");
    CHECK(ascope_alloc(arena, 8) != NULL && ascope_alloc(arena, 8) != NULL && ascope_offset(arena) == 24);
    CHECK(inherited == 1 && parents_pid == (size_t)getppid());
}

static void a_copy_is_the_childs_own_and_an_observer_hears_of_it(void)
{
    static const ascope_observer observer = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), NULL, hear, 0, NULL, NULL};
    ascope_arena *arena = ascope_growing();
    char *text = ascope_strdup(arena, "parent");
    CHECK(text != NULL);
    ascope_observe(arena, &observer);
    in_a_child(use_the_copy, arena);
    CHECK(strcmp(text, "parent") == 0 && ascope_offset(arena) == 8);
    CHECK(ascope_alloc(arena, 8) != NULL && inherited == 0);
    ascope_destroy(arena);
}

static void use_the_copy_of_a_shared_one(void *argument)
{
    ascope_shared *shared = (ascope_shared *)argument;
    ascope_arena *local = ascope_local(shared);
    CHECK(local != NULL);
    for (size_t i = 0; i < 1000; i++) {
        CHECK(ascope_alloc(local, 100) != NULL && ascope_shared_alloc(shared, 100, 8) != NULL);
    }
    ascope_local_end(local);
    ascope_shared_destroy(shared);
}

static void a_shared_arena_is_a_private_copy_too(void)
{
    ascope_shared *shared = ascope_shared_growing();
    CHECK(ascope_shared_alloc(shared, 8, 8) != NULL);
    in_a_child(use_the_copy_of_a_shared_one, shared);
    ascope_shared_use use = ascope_shared_stats(shared);
    CHECK(use.berths == 1 && use.leased_bytes - use.unused_bytes <= 16);
    ascope_shared_destroy(shared);
}

/* ---------------------------------------------------------------------------------------------- share */

struct note {
    uint64_t before; /* an offset */
    uint64_t pid;
};

struct meeting {
    ascope_share *share;
    ascope_share_handle *handle;
    uint64_t board; /* offset of the newest note's offset */
};

static void write_notes(struct meeting *meeting, ascope_share_handle *handle, size_t count)
{
    uint64_t *board = (uint64_t *)ascope_share_at(meeting->share, meeting->board, sizeof(uint64_t));
    CHECK(board != NULL);
    for (size_t i = 0; i < count; i++) {
        uint64_t at = ascope_share_alloc(handle, sizeof(struct note), 8);
        struct note *note = (struct note *)ascope_share_at(meeting->share, at, sizeof(struct note));
        CHECK(at != 0 && note != NULL && note->pid == 0); /* never handed out before */
        note->pid = (uint64_t)getpid();
        note->before = __atomic_load_n(board, __ATOMIC_ACQUIRE);
        while (!__atomic_compare_exchange_n(board, &note->before, at, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        }
    }
}

static void *write_from_a_thread(void *argument)
{
    struct meeting *meeting = (struct meeting *)argument;
    ascope_share_handle *handle = ascope_share_local(meeting->share);
    CHECK(handle != NULL);
    write_notes(meeting, handle, 500);
    ascope_share_local_end(handle);
    return NULL;
}

static void write_as_a_child(void *argument)
{
    struct meeting *meeting = (struct meeting *)argument;
    write_notes(meeting, meeting->handle, 500); /* the copied handle is the child's own */
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, write_from_a_thread, meeting) == 0 && pthread_join(thread, NULL) == 0);
    ascope_share_local_end(meeting->handle);
    ascope_share_destroy(meeting->share);
}

static void parent_and_children_never_get_the_same_block(void)
{
    struct meeting meeting;
    meeting.share = ascope_share_create(1 << 20);
    CHECK(meeting.share != NULL);
    meeting.handle = ascope_share_local(meeting.share);
    CHECK(meeting.handle != NULL);
    meeting.board = ascope_share_alloc(meeting.handle, sizeof(uint64_t), 8);
    CHECK(meeting.board != 0);
    pid_t children[4];
    for (size_t i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            write_as_a_child(&meeting);
            _exit(0);
        }
    }
    write_notes(&meeting, meeting.handle, 1000);
    for (size_t i = 0; i < 4; i++) {
        int status = 1;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
    size_t count = 0, mine = 0;
    const uint64_t *board = (const uint64_t *)ascope_share_at(meeting.share, meeting.board, sizeof(uint64_t));
    for (uint64_t at = *board; at != 0; count++) {
        const struct note *note = (const struct note *)ascope_share_at(meeting.share, at, sizeof(struct note));
        CHECK(note != NULL && count < 5000);
        mine += note->pid == (uint64_t)getpid();
        at = note->before;
    }
    CHECK(count == 5000 && mine == 1000);
    ascope_share_use use;
    char why[80] = "?";
    CHECK(ascope_share_check(meeting.share, &use, why, sizeof why) == 0 && why[0] == 0);
    CHECK(use.held == 1 && use.orphaned == 0 && use.refusals == 0);
    CHECK(use.leased_bytes - use.unused_bytes - use.lost_bytes >= 5000 * sizeof(struct note) + 8);
    ascope_share_local_end(meeting.handle);
    ascope_share_destroy(meeting.share);
}

static void hold_and_be_killed(void *argument)
{
    struct meeting *meeting = (struct meeting *)argument;
    write_notes(meeting, meeting->handle, 10);
    kill(getpid(), SIGKILL);
}

static void what_a_killed_process_held_goes_to_others(void)
{
    struct meeting meeting;
    meeting.share = ascope_share_create(64 << 10);
    meeting.handle = ascope_share_local(meeting.share);
    meeting.board = ascope_share_alloc(meeting.handle, sizeof(uint64_t), 8);
    pid_t child = fork();
    if (child == 0) {
        hold_and_be_killed(&meeting);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    ascope_share_use use;
    CHECK(ascope_share_check(meeting.share, &use, NULL, 0) == 0 && use.held == 2 && use.orphaned == 1);
    size_t got = 0;
    errno = 0;
    while (ascope_share_alloc(meeting.handle, 64, 8) != 0) {
        got += 64;
    }
    CHECK(errno == ENOMEM && got > 56u << 10);
    CHECK(ascope_share_check(meeting.share, &use, NULL, 0) == 0 && use.orphaned == 0 && use.refusals == 1);
    CHECK(ascope_share_alloc(meeting.handle, 8, 3) == 0 && errno == EINVAL);
    CHECK(ascope_share_alloc(meeting.handle, 8, 8192) == 0 && errno == EINVAL); /* no mapping begins at a multiple of more than a page */
    CHECK(ascope_share_alloc(meeting.handle, SIZE_MAX, 8) == 0 && errno == ENOMEM);
    ascope_share_local_end(meeting.handle);
    ascope_share_destroy(meeting.share);
}

static void memory_is_attached_by_its_descriptor_or_refused_with_a_reason(void)
{
    ascope_share *share = ascope_share_create(10000);
    ascope_share_handle *handle = ascope_share_local(share);
    uint64_t at = ascope_share_alloc(handle, 100, 64);
    CHECK(at % 64 == 0);
    strcpy((char *)ascope_share_at(share, at, 100), "seen by both");
    char why[100] = "";
    int descriptor = ascope_share_fd(share);
    ascope_share *again = ascope_share_attach(descriptor, why, sizeof why);
    CHECK(again != NULL && ascope_share_fd(again) != descriptor);
    char *there = (char *)ascope_share_at(again, at, 100);
    CHECK(there != NULL && there != ascope_share_at(share, at, 100) && strcmp(there, "seen by both") == 0);
    /* Only what was leased is there. */
    CHECK(ascope_share_at(share, 0, 1) == NULL && ascope_share_at(share, 8, 1) == NULL && ascope_share_at(share, at, 1 << 20) == NULL);
    CHECK(ascope_share_at(share, UINT64_MAX, 1) == NULL && ascope_share_at(share, at, SIZE_MAX) == NULL);
    /* Both allocate from one cursor. */
    ascope_share_handle *other = ascope_share_local(again);
    uint64_t next = ascope_share_alloc(other, 100, 8);
    CHECK(next != 0 && (next >= at + 100 || next + 100 <= at));
    ascope_share_local_end(other);
    ascope_share_destroy(again);

    errno = 0;
    CHECK(ascope_share_attach(-1, why, sizeof why) == NULL && errno == EBADF && strstr(why, "mapped") != NULL);
    errno = 0;
    CHECK(ascope_share_attach(9999, NULL, 0) == NULL && errno == EBADF);
    int file = memfd_create("other", MFD_ALLOW_SEALING);
    CHECK(file >= 0);
    CHECK(ascope_share_attach(file, why, sizeof why) == NULL && errno == EINVAL && strstr(why, "smaller") != NULL);
    CHECK(ftruncate(file, 65536) == 0);
    CHECK(ascope_share_attach(file, why, sizeof why) == NULL && errno == EPERM && strstr(why, "sealed") != NULL);
    CHECK(fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    CHECK(ascope_share_attach(file, why, 10) == NULL && errno == EINVAL && strcmp(why, "the file ") == 0);
    close(file);
    /* Another layout; a header that contradicts itself. */
    char *header = (char *)ascope_share_at(share, at, 1) - at;
    *(uint32_t *)(header + 8) += 1;
    CHECK(ascope_share_attach(descriptor, why, sizeof why) == NULL && errno == ENOTSUP);
    CHECK(ascope_share_check(share, NULL, NULL, 0) == ENOTSUP);
    *(uint32_t *)(header + 8) -= 1;
    *(uint64_t *)(header + 16) += 1;
    CHECK(ascope_share_check(share, NULL, why, sizeof why) == EBADMSG && strstr(why, "cursor") != NULL);
    *(uint64_t *)(header + 16) -= 1;
    CHECK(ascope_share_check(share, NULL, why, sizeof why) == 0);
    ascope_share_local_end(handle);
    ascope_share_destroy(share);

    CHECK(ascope_share_create(SIZE_MAX) == NULL && errno == ENOMEM);
    CHECK(ascope_share_local(NULL) == NULL && errno == EINVAL && ascope_share_at(NULL, 1, 1) == NULL && ascope_share_fd(NULL) == -1);
    errno = 0;
    CHECK(ascope_share_alloc(NULL, 8, 8) == 0 && errno == EINVAL && ascope_share_check(NULL, NULL, NULL, 0) == EINVAL);
    ascope_share_local_end(NULL);
    ascope_share_destroy(NULL);
}

/* ---------------------------------------------------------------------------------------------- wipe */

static void grandchild_of_a_wiped_one(void *argument)
{
    ascope_wiped *wiped = (ascope_wiped *)argument;
    CHECK(ascope_wiped_generation(wiped) == 2 && ascope_offset(ascope_wiped_arena(wiped)) == 0);
}

static unsigned heard;

static void count(void *context, const ascope_event *event)
{
    (void)context, (void)event;
    heard++;
}

static void find_it_empty(void *argument)
{
    ascope_wiped *wiped = (ascope_wiped *)argument;
    heard = 0;
    ascope_arena *arena = ascope_wiped_arena(wiped);
    CHECK(arena != NULL && arena->magic == ASCOPE_MAGIC && ascope_offset(arena) == 0 && ascope_capacity(arena) == 8192);
    CHECK(arena->name_bytes == 4 && memcmp(arena->name, "keys", 4) == 0 && arena->site_line == 99 && arena->pid == (uint32_t)getpid());
    const char *bytes = (const char *)ascope_base(arena);
    for (size_t i = 0; i < 8192; i++) {
        CHECK(bytes[i] == 0);
    }
    CHECK(ascope_alloc(arena, 8192) != NULL && ascope_alloc(arena, 1) == NULL && heard >= 2);
    in_a_child(grandchild_of_a_wiped_one, wiped);
    ascope_wiped_destroy(wiped);
}

static void a_child_reads_nothing_of_a_wiped_arena(void)
{
    static const ascope_observer observer = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), NULL, count, 0, NULL, NULL};
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.capacity = 8192;
    options.name = "keys";
    options.line = 99;
    options.observer = &observer;
    ascope_wiped *wiped = ascope_wiped_create(&options);
    CHECK(wiped != NULL && heard == 0);
    ascope_arena *arena = ascope_wiped_arena(wiped);
    char *secret = ascope_strdup(arena, "a secret");
    CHECK(secret != NULL && heard == 1 && ascope_wiped_generation(wiped) == 0);
    ascope_destroy(arena); /* its handle's to end */
    CHECK(arena->magic == ASCOPE_MAGIC);
    in_a_child(find_it_empty, wiped);
    CHECK(ascope_wiped_arena(wiped) == arena && strcmp(secret, "a secret") == 0 && ascope_offset(arena) == 16);
    ascope_wiped_destroy(wiped);
    options.flags = ASCOPE_HEAP;
    CHECK(ascope_wiped_create(&options) == NULL && ascope_absent_create(&options) == NULL);
    errno = 0;
    CHECK(ascope_wiped_create(NULL) == NULL && errno == EINVAL && ascope_wiped_arena(NULL) == NULL);
    CHECK(ascope_wiped_generation(NULL) == 0);
    ascope_wiped_destroy(NULL);
}

/* ---------------------------------------------------------------------------------------------- absent */

struct hidden {
    ascope_absent *absent;
    char *block;
};

static void find_nothing(void *argument)
{
    struct hidden *hidden = (struct hidden *)argument;
    CHECK(ascope_absent_arena(hidden->absent) == NULL);
    /* The kernel refuses to look at addresses that are not there. */
    int pipes[2];
    CHECK(pipe(pipes) == 0 && write(pipes[1], hidden->block, 1) == -1 && errno == EFAULT);
    ascope_absent_destroy(hidden->absent);
}

static void a_child_does_not_have_an_absent_arena(void)
{
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.capacity = 1 << 20;
    struct hidden hidden;
    hidden.absent = ascope_absent_create(&options);
    CHECK(hidden.absent != NULL);
    ascope_arena *arena = ascope_absent_arena(hidden.absent);
    hidden.block = ascope_strdup(arena, "hidden");
    CHECK(hidden.block != NULL && arena->site_line != 0);
    ascope_destroy(arena);
    in_a_child(find_nothing, &hidden);
    CHECK(ascope_absent_arena(hidden.absent) == arena && strcmp(hidden.block, "hidden") == 0);
    ascope_absent_destroy(hidden.absent);
    CHECK(ascope_absent_create(NULL) == NULL && errno == EINVAL && ascope_absent_arena(NULL) == NULL);
    ascope_absent_destroy(NULL);
}

/* ---------------------------------------------------------------------------------------------- while threads work */

static ascope_shared *everyones;
static ascope_pool *pool;
static int stop;

static void *keep_busy(void *argument)
{
    (void)argument;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        ascope_arena *arena = ascope_init(200000);
        ascope_arena *small = ascope_pool_take(pool);
        ascope_arena *local = ascope_local(everyones);
        CHECK(ascope_alloc(arena, 1000) != NULL && ascope_alloc(small, 100) != NULL && ascope_alloc(local, 10) != NULL);
        CHECK(ascope_shared_alloc(everyones, 10, 8) != NULL);
        ascope_local_end(local);
        ascope_pool_return(pool, small);
        ascope_destroy(arena);
    }
    return NULL;
}

static void do_it_all_once(void *argument)
{
    (void)argument;
    ascope_arena *arena = ascope_init(200000), *small = ascope_pool_take(pool), *local = ascope_local(everyones);
    CHECK(ascope_alloc(arena, 1000) != NULL && ascope_alloc(small, 100) != NULL && ascope_alloc(local, 10) != NULL);
    CHECK(ascope_shared_alloc(everyones, 10, 8) != NULL);
    ascope_local_end(local);
    ascope_pool_return(pool, small);
    ascope_destroy(arena);
    ascope_pool_release(pool);
}

static void a_child_of_a_program_with_busy_threads_is_never_stuck(void)
{
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.capacity = 1000;
    everyones = ascope_shared_growing();
    pool = ascope_pool_create(&options, 1 << 20, 100);
    CHECK(everyones != NULL && pool != NULL);
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, keep_busy, NULL) == 0);
    }
    for (int i = 0; i < 200; i++) {
        in_a_child(do_it_all_once, NULL);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < 2; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    ascope_pool_destroy(pool);
    ascope_shared_destroy(everyones);
}

int main(void)
{
    alarm(100); /* stuck is broken, too */
    a_copy_is_the_childs_own_and_an_observer_hears_of_it();
    a_shared_arena_is_a_private_copy_too();
    parent_and_children_never_get_the_same_block();
    what_a_killed_process_held_goes_to_others();
    memory_is_attached_by_its_descriptor_or_refused_with_a_reason();
    a_child_reads_nothing_of_a_wiped_arena();
    a_child_does_not_have_an_absent_arena();
    a_child_of_a_program_with_busy_threads_is_never_stuck();
    puts("all kept");
    return 0;
}
