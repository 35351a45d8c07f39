/* arenascope_shared.h: what several threads or processes use: shared arenas, pools, and what becomes of an arena in a fork.
 *
 * What lives here: prototypes of libarenascope; arenascope.h includes this file. What may be relied on: as there; and no lock can be left
 * behind by a fork. Every handle is a pointer to nothing that a program reads. NULL given as a handle: a call that gives something is
 * refused with EINVAL, every other one does nothing. Deliberately absent: stdatomic.h. What processes put into shared memory for each
 * other to find, they publish by atomic stores of their own.
 *
 * The manual is docs/c.md. SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef ARENASCOPE_SHARED_H
#define ARENASCOPE_SHARED_H

#ifndef ARENASCOPE_H
#include "arenascope.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ shared arenas */

/* One region that many threads allocate from at once, each inside leases of its own (64 KiB at first, doubling to 1 MiB). Blocks live as
 * long as the shared arena, whichever thread asked for them and whether it still runs. All threads may use it at once.
 *
 *     ascope_shared *shared = ascope_shared_growing();
 *     ascope_arena *mine = ascope_local(shared);          // in each thread: its own handle, as fast as an arena of its own
 *     struct node *node = ascope_new(mine, struct node);
 *     ascope_local_end(mine);                             // node stays; what is left of the lease is the next thread's
 *     ascope_shared_destroy(shared);                      // all blocks of all threads end here
 */
typedef struct ascope_shared ascope_shared;

/* Makes one: bounded, or with ASCOPE_GROWING. Of the options these have no meaning: observer, ASCOPE_NO_KEEP, ASCOPE_NO_COLOUR,
 * ASCOPE_POPULATE_ALL, commit_ahead. A bounded one of n threads should have room for n leases more than the blocks need. O(1), a few system
 * calls. NULL as ascope_create. */
ASCOPE_MUST_USE ascope_shared *ascope_shared_create(const ascope_options *options);

ASCOPE_INLINE ascope_shared *ascope_shared_create_at(size_t capacity, uint32_t flags, const char *name, const char *file,
                                                     uint32_t line)
{
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.flags = flags;
    options.capacity = capacity;
    options.name = name;
    options.file = file;
    options.line = line;
    return ascope_shared_create(&options);
}

/* A bounded one: `capacity` bytes, rounded up to a multiple of 128, can be leased. One that grows in place. NULL as ascope_create. */
#define ascope_shared_init(capacity) ascope_shared_create_at((capacity), 0u, NULL, __FILE__, __LINE__)
#define ascope_shared_growing() ascope_shared_create_at(0u, ASCOPE_GROWING, NULL, __FILE__, __LINE__)

/* A handle for the calling thread: an arena in every respect but these. When its lease is used up it gets another one, so ascope_base,
 * ascope_offset, ascope_capacity, ascope_remaining, ascope_contains and ascope_dump tell of the lease as it is now. What it handed out
 * is not its own to take back: ascope_mark gives a marker of no arena, ascope_rewind ASCOPE_FOREIGN, ascope_reset and ascope_destroy do
 * nothing. A block is refused with errno EBUSY instead of ENOMEM when only leases of others have room for it. A block of another
 * thread's may be given to ascope_realloc (it moves, or shrinks in place) and to ascope_free (nothing is reused).
 * Each call makes another handle; each stays in its thread until ascope_local_end. A thread that ends without that keeps the rest of its
 * lease from others until the shared arena ends. O(handles), no system call up to 15 of them. NULL: no memory for more of them. */
ASCOPE_MUST_USE ascope_arena *ascope_local(ascope_shared *shared);

/* Ends a handle, in its own thread; its blocks stay, an observer that it was given by ascope_observe goes. O(1). NULL, or an arena that is no handle: nothing happens. */
void ascope_local_end(ascope_arena *local);

/* A block without a handle, from any thread: each call looks up the handle that the library keeps for the thread. For a bulk of blocks take
 * ascope_local. O(1). NULL: ENOMEM, EBUSY as above, EINVAL for an alignment that is no power of two. */
ASCOPE_MUST_USE void *ascope_shared_alloc_at(ascope_shared *shared, size_t size, size_t align, const char *file, uint32_t line);
ASCOPE_MUST_USE void *(ascope_shared_alloc)(ascope_shared *shared, size_t size, size_t align);
#define ascope_shared_alloc(shared, size, align) ascope_shared_alloc_at((shared), (size), (align), __FILE__, __LINE__)

/* How a shared arena's memory is used. */
typedef struct ascope_shared_use {
    char *base;                 /* the first byte that can be leased */
    size_t capacity;            /* bytes that can be leased, all in all */
    uint64_t leased_bytes;      /* leased since the last reset, whether handed out or not */
    uint64_t unused_bytes;      /* of these, in leases that are held or wait for a thread: not handed out yet */
    uint64_t lost_bytes;        /* of these, at the ends of leases that were used up: nobody gets them before the next reset */
    uint64_t generation;        /* resets */
    size_t held;                /* handles that threads hold */
    size_t berths;               /* the most handles that there were at once */
    uint64_t refusals;          /* requests refused */
} ascope_shared_use;

/* What it is now; other threads may be changing it. O(handles). */
ASCOPE_MUST_USE ascope_shared_use ascope_shared_stats(const ascope_shared *shared);

/* A thread's boundaries in a shared arena. */
typedef struct ascope_lease {
    uint32_t pid;               /* process that holds it; 0: it waits for the next thread */
    uint32_t tid;               /* thread that holds it */
    char *base;                 /* its first byte */
    size_t offset;              /* bytes handed out from it */
    size_t capacity;            /* its size in bytes; 0: a handle without a lease */
} ascope_lease;

typedef void (*ascope_lease_seen)(void *context, const ascope_lease *lease);

/* Calls `seen` (unless it is NULL) for each lease as it is now; how many there are. Other threads may be allocating meanwhile. `seen` must
 * neither throw nor longjmp out. O(handles). */
size_t ascope_shared_leases(const ascope_shared *shared, ascope_lease_seen seen, void *context);

/* Empties it: every block of every thread is gone. Handles stay, and lease anew. No other thread may be in a call on it or on one of its
 * handles. O(handles). */
void ascope_shared_reset(ascope_shared *shared);

/* Ends it, its blocks and its handles, and gives its memory back. No other thread may use it any more. O(handles). */
void ascope_shared_destroy(ascope_shared *shared);

/* ------------------------------------------------------------------------------------------------ pools */

/* Arenas that wait to be used again, for all threads of a program: one for each request, connection or frame. All threads may use a
 * pool at once. An arena may be returned by another thread than the one that took it. */
typedef struct ascope_pool ascope_pool;

/* A pool of arenas that the options describe. At most keep_count of them wait, with at most keep_bytes of memory between them, headers
 * included: what is returned beyond that ends. An arena that waits holds what it grew to, unless ASCOPE_RESET_RELEASES or
 * ASCOPE_RESET_KEEPS_SOME bounds that. The options may end after the call, but not what file and observer point to. O(1), no arena is made
 * yet. NULL as ascope_create. */
ASCOPE_MUST_USE ascope_pool *ascope_pool_create(const ascope_options *options, size_t keep_bytes, size_t keep_count);

/* An empty arena, the one that came back last, or a new one when none waits. O(1), no system call when one waits. NULL as ascope_create. */
ASCOPE_MUST_USE ascope_arena *ascope_pool_take_at(ascope_pool *pool, const char *file, uint32_t line);
#define ascope_pool_take(pool) ascope_pool_take_at((pool), __FILE__, __LINE__)

/* Empties an arena that was taken from this pool (all its blocks end), and leaves it to the next who takes one, with the pool's observer or
 * none, whatever ascope_observe has given it since. O(1). Instead, an arena may be
 * kept for good, and ended by ascope_destroy. */
void ascope_pool_return_at(ascope_pool *pool, ascope_arena *arena, const char *file, uint32_t line);
#define ascope_pool_return(pool, arena) ascope_pool_return_at((pool), (arena), __FILE__, __LINE__)

/* What waits now. O(1). */
ASCOPE_MUST_USE ascope_kept_regions ascope_pool_idle(const ascope_pool *pool);

/* Ends all arenas that wait. Their memory goes back to the system, but for what this thread keeps (ascope_release_kept). O(arenas). */
void ascope_pool_release(ascope_pool *pool);

/* The same, and ends the pool. Arenas that are out stay, and end by ascope_destroy. */
void ascope_pool_destroy(ascope_pool *pool);

/* ------------------------------------------------------------------------------------------------ forks */

/* What becomes of an arena in a child of fork:
 *
 *     copy    every ascope_arena and ascope_shared  a private copy as of the fork; neither side sees what the other writes
 *     share   ascope_share                          the same memory: no two threads of any process get the same byte
 *     wipe    ascope_wiped                          empty and new: the child reads nothing of what the parent had there
 *     absent  ascope_absent                         the memory is not there
 *
 * The child notices by itself, without a system call for each block, after a raw clone too. Not for vfork. A thread may fork while others are
 * in any call of this library. */

/* Memory that processes allocate from together: made before a fork, or mapped in any process by its descriptor. Positions are offsets, in bytes
 * from where it is mapped, the same in every process. Nothing in it is ever given back, for nobody can know who still looks at it. A process
 * may be killed at any instant: the memory stays good, and what it had leased and not used goes to others. */
typedef struct ascope_share ascope_share;
typedef struct ascope_share_handle ascope_share_handle;

/* Memory of `capacity` bytes, rounded up to a multiple of 128, for all processes together. A memory file (memfd), sealed against shrinking.
 * O(1), some system calls; pages are taken with leases. NULL: ENOMEM (8 TiB at most), or what the system said. */
ASCOPE_MUST_USE ascope_share *ascope_share_create(size_t capacity);

/* Maps memory that another process made, by a descriptor of its file, which stays the caller's. NULL: EINVAL (not such memory, or cut off),
 * ENOTSUP (another layout), EPERM (not sealed), EBADMSG (contradicts itself), EBADF, or what the system said; the reason as text goes to the
 * `why_bytes` bytes at `why`, cut off if need be, unless `why` is NULL. Whoever else has the descriptor must keep to these rules. */
ASCOPE_MUST_USE ascope_share *ascope_share_attach(int descriptor, char *why, size_t why_bytes);

/* The descriptor to hand to another process (by SCM_RIGHTS, or /proc/PID/fd). It stays the library's, and is closed on exec. O(1). */
ASCOPE_MUST_USE int ascope_share_fd(const ascope_share *share);

/* A handle for the calling thread, to be ended before ascope_share_destroy. It leases (16 KiB at first) with its first block. After a fork the
 * child's copy of it is the child's own. O(1). NULL: the system has no page that is wiped in children, or the process has 4,096 handles. */
ASCOPE_MUST_USE ascope_share_handle *ascope_share_local(ascope_share *share);

/* Ends a handle: the rest of its lease is left to others. O(1). */
void ascope_share_local_end(ascope_share_handle *handle);

/* The offset of a new block, at a multiple of `align` (a power of two, 4096 at most), never handed out before. O(1). 0: refused, errno is
 * ENOMEM, EBUSY (living processes hold leases that have room), EINVAL (the alignment). */
ASCOPE_MUST_USE uint64_t ascope_share_alloc(ascope_share_handle *handle, size_t size, size_t align);

/* Where the `size` bytes at an offset lie in this process; NULL for 0, and when they were not all leased. O(1). What others read there while it
 * is written must be atomic. An offset that a Rust program has published (AtomicOffset) carries its memory's number in the upper 21 bits: it
 * is accepted here as it is, and with other memory NULL. */
ASCOPE_MUST_USE void *ascope_share_at(const ascope_share *share, uint64_t offset, size_t size);

/* How shared memory is used. */
typedef struct ascope_share_use {
    uint64_t leased_bytes;      /* leased so far */
    uint64_t unused_bytes;      /* of these, in leases, not handed out yet */
    uint64_t lost_bytes;        /* of these, at the ends of leases that were used up */
    uint64_t held;              /* leases that a thread of some process holds */
    uint64_t orphaned;          /* of these, leases of processes that are gone: the next who needs one takes them over */
    uint64_t refusals;          /* requests refused, in all processes */
} ascope_share_use;

/* Whether the memory keeps its rules, while others may be allocating: 0, and `use` is written unless it is NULL; else a number as errno's, and
 * the reason as with ascope_share_attach. O(leases²), 252 leases at most. */
ASCOPE_MUST_USE int ascope_share_check(const ascope_share *share, ascope_share_use *use, char *why, size_t why_bytes);

/* Unmaps the memory in this process, and closes its descriptor. It lives as long as some process maps it, or has a descriptor open. */
void ascope_share_destroy(ascope_share *share);

/* An arena that is zero in a child, and there begins anew: for keys, caches, states of random numbers. It has a mapping of its own. */
typedef struct ascope_wiped ascope_wiped;

/* Makes one. Its observer, if the options name one, hears what follows the creation; ascope_observe_all does not reach it. NULL as
 * ascope_create, and when the kernel cannot (before Linux 4.14, or ASCOPE_HEAP). */
ASCOPE_MUST_USE ascope_wiped *ascope_wiped_create(const ascope_options *options);

/* The arena: as it was left, or, when a child asks for the first time, empty. Ask again after every fork, before anything is done with the arena
 * in the child: until then the arena is nothing but zeroes. Blocks from before the fork are not to be used there. O(1). */
ASCOPE_MUST_USE ascope_arena *ascope_wiped_arena(ascope_wiped *wiped);

/* Forks that the handle has gone through as the child's. O(1). */
ASCOPE_MUST_USE uint64_t ascope_wiped_generation(ascope_wiped *wiped);

/* Ends arena and handle in this process. */
void ascope_wiped_destroy(ascope_wiped *wiped);

/* An arena that a child does not have: for memory that it must not see, or that is too large to copy page tables for. */
typedef struct ascope_absent ascope_absent;

/* Makes one. Observers and NULL as with ascope_wiped_create. */
ASCOPE_MUST_USE ascope_absent *ascope_absent_create(const ascope_options *options);

/* The arena; NULL in a child, where nothing from before the fork that points to the arena may be used. O(1). */
ASCOPE_MUST_USE ascope_arena *ascope_absent_arena(ascope_absent *absent);

/* Ends arena and handle; in a child, the handle. */
void ascope_absent_destroy(ascope_absent *absent);

#ifdef __cplusplus
}
#endif

#endif /* ARENASCOPE_SHARED_H */
