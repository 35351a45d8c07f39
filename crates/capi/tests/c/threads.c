/* Threads that make, fill and end arenas at once, and hand arenas to each other. */
#include <arenascope.h>
#include <pthread.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                                         \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                                              \
            exit(1);                                                                                                             \
        }                                                                                                                        \
    } while (0)

enum { THREADS = 8, ROUNDS = 2000, HANDED = 16 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ascope_arena *handed[HANDED];

static void *work(void *number)
{
    unsigned char mark = (unsigned char)(uintptr_t)number;
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t capacity = 64 + (round * 977) % (round % 64 == 0 ? 300000 : 20000);
        ascope_arena *arena = ascope_init(capacity);
        CHECK(arena != NULL && arena->owner_tid != 0);
        unsigned char *block = (unsigned char *)ascope_alloc(arena, capacity);
        CHECK(block != NULL && ascope_alloc(arena, 1) == NULL);
        block[0] = mark;
        block[capacity - 1] = mark;
        /* Leave it to another thread, take one that another has left, and end that. */
        pthread_mutex_lock(&lock);
        ascope_arena *other = handed[round % HANDED];
        handed[round % HANDED] = arena;
        pthread_mutex_unlock(&lock);
        if (other != NULL) {
            CHECK(other->magic == ASCOPE_MAGIC && other->base[0] == other->base[ascope_capacity(other) - 1]);
            ascope_destroy(other);
        }
    }
    return NULL;
}

int main(void)
{
    for (int generation = 0; generation < 3; generation++) {
        pthread_t threads[THREADS];
        for (size_t i = 0; i < THREADS; i++) {
            CHECK(pthread_create(&threads[i], NULL, work, (void *)(i + 1)) == 0);
        }
        for (size_t i = 0; i < THREADS; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
    }
    for (size_t i = 0; i < HANDED; i++) {
        ascope_destroy(handed[i]);
    }
    puts("all kept");
    return 0;
}
