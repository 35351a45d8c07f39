/* The C face's promises, one function each; also compiled as C++17. Ends with status 0 and "all kept", or with the line that broke. */
#include <arenascope.h>
#include <errno.h>
#include <stdlib.h>

#define CHECK(condition)                                                                                                         \
    do {                                                                                                                         \
        if (!(condition)) {                                                                                                      \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                                              \
            exit(1);                                                                                                             \
        }                                                                                                                        \
    } while (0)

/* A value that the compiler cannot know. */
static size_t unknown(size_t value)
{
    volatile size_t kept = value;
    return kept;
}

static void exactly_the_capacity_and_not_a_byte_more(void)
{
    for (size_t capacity = 0; capacity < 70; capacity++) {
        ascope_arena *arena = ascope_init(capacity);
        CHECK(arena != NULL);
        CHECK(ascope_capacity(arena) == capacity && ascope_offset(arena) == 0 && ascope_remaining(arena) == capacity);
        size_t got = 0;
        while (ascope_alloc(arena, 8) != NULL) {
            got += 8;
        }
        CHECK(got == capacity / 8 * 8);
        CHECK(errno == ENOMEM);
        size_t rest = capacity - got;
        CHECK(ascope_remaining(arena) == rest);
        CHECK(ascope_alloc(arena, rest + 1) == NULL && ascope_remaining(arena) == rest);
        CHECK(ascope_alloc(arena, rest) != NULL && ascope_remaining(arena) == 0);
        CHECK(ascope_alloc(arena, 1) == NULL && ascope_offset(arena) == capacity);
        CHECK(ascope_alloc(arena, 0) != NULL);
        ascope_destroy(arena);
    }
}

static void sizes_that_no_memory_has_are_refused_and_change_nothing(void)
{
    ascope_arena *arena = ascope_growing();
    CHECK(arena != NULL);
    char *block = (char *)ascope_alloc(arena, 24);
    CHECK(block != NULL);
    for (size_t less = 0; less < 100; less++) {
        const size_t sizes[] = {SIZE_MAX - less, (size_t)PTRDIFF_MAX - less, (size_t)PTRDIFF_MAX + less, SIZE_MAX / 2 - 50 + less};
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            CHECK(ascope_alloc(arena, unknown(sizes[i])) == NULL && errno == ENOMEM);
            CHECK(ascope_alloc_aligned(arena, unknown(sizes[i]), unknown(64)) == NULL);
            CHECK(ascope_calloc(arena, unknown(sizes[i]), 1) == NULL);
            CHECK(ascope_realloc(arena, block, 24, unknown(sizes[i])) == NULL);
            CHECK(ascope_offset(arena) == 24);
        }
    }
    CHECK(ascope_alloc(arena, SIZE_MAX) == NULL);
    CHECK(ascope_alloc(arena, (size_t)PTRDIFF_MAX) == NULL);
    CHECK(ascope_calloc(arena, unknown(SIZE_MAX / 2), 3) == NULL);
    CHECK(ascope_new_array(arena, uint64_t, unknown(SIZE_MAX / 8 + 1)) == NULL);
    CHECK(ascope_strndup(arena, "", unknown(SIZE_MAX)) != NULL);
    ascope_destroy(arena);
}

static void every_power_of_two_aligns_and_nothing_else_does(void)
{
    ascope_arena *arena = ascope_growing();
    for (size_t align = 1; align <= 65536; align *= 2) {
        for (size_t size = 0; size < 40; size += 3) {
            char *block = (char *)ascope_alloc_aligned(arena, size, unknown(align));
            CHECK(block != NULL && (uintptr_t)block % align == 0 && (uintptr_t)block % 8 == 0);
            CHECK(((uintptr_t)arena->cursor & 7) == 0);
        }
    }
    size_t before = ascope_offset(arena);
    const size_t wrong[] = {0, 3, 6, 24, 100, SIZE_MAX, SIZE_MAX - 7};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        errno = 0;
        CHECK(ascope_alloc_aligned(arena, 8, unknown(wrong[i])) == NULL && errno == EINVAL);
    }
    CHECK(ascope_alloc_aligned(arena, 8, (size_t)1 << 63) == NULL);
    CHECK(ascope_alloc_aligned(arena, 8, unknown((size_t)1 << 62)) == NULL);
    CHECK(ascope_offset(arena) == before);
    long double *wide = ascope_new(arena, long double);
    CHECK(wide != NULL && (uintptr_t)wide % ASCOPE_ALIGNOF(long double) == 0);
    ascope_destroy(arena);
}

static void zeroed_memory_is_zero_after_anything(void)
{
    ascope_arena *arena = ascope_growing();
    for (size_t round = 0; round < 4; round++) {
        for (size_t count = 1; count < 20000; count = count * 3 + 1) {
            unsigned char *block = (unsigned char *)ascope_calloc(arena, count, 2);
            CHECK(block != NULL);
            for (size_t i = 0; i < count * 2; i++) {
                CHECK(block[i] == 0);
            }
            memset(block, 0xAA, count * 2);
        }
        if (round % 2 == 0) {
            ascope_reset(arena);
        } else {
            CHECK(ascope_realloc(arena, ascope_alloc(arena, 5000), 5000, 0) != NULL);
        }
    }
    ascope_destroy(arena);
}

static void zeroed_memory_is_zero_where_a_block_has_shrunk(void)
{
    for (int whole = 0; whole < 2; whole++) {
        ascope_options options = {ASCOPE_OPTIONS_INIT};
        options.capacity = 1 << 17;
        options.flags = ASCOPE_NO_KEEP; /* never handed out before */
        ascope_arena *arena = ascope_create(&options);
        char *block = (char *)ascope_alloc(arena, 50000);
        CHECK(block != NULL);
        memset(block, 0xAA, 50000);
        if (whole) {
            ascope_free(arena, block, 50000);
        } else {
            CHECK(ascope_realloc(arena, block, 50000, unknown(16)) == block);
        }
        char *zero = (char *)ascope_calloc(arena, 1, 60000);
        CHECK(zero == (whole ? block : block + 16));
        for (size_t i = 0; i < 60000; i++) {
            CHECK(zero[i] == 0);
        }
        ascope_destroy(arena);
    }
}

static void resizing_keeps_contents_and_the_last_block_stays(void)
{
    ascope_arena *arena = ascope_init(4096);
    char *text = (char *)ascope_realloc(arena, NULL, 0, 6);
    CHECK(text != NULL);
    memcpy(text, "first", 6);
    CHECK(ascope_realloc(arena, text, 6, 1000) == text && ascope_offset(arena) == 1000);
    CHECK(ascope_realloc(arena, text, 1000, 6) == text && ascope_offset(arena) == 8);
    char *other = (char *)ascope_alloc(arena, 8);
    CHECK(other == text + 8);
    memcpy(other, "another", 8);
    char *moved = (char *)ascope_realloc(arena, text, 6, 100);
    CHECK(moved != NULL && moved != text && strcmp(moved, "first") == 0 && strcmp(other, "another") == 0);
    size_t before = ascope_offset(arena);
    CHECK(ascope_realloc(arena, moved, 100, 8000) == NULL && errno == ENOMEM);
    CHECK(ascope_realloc(arena, other, 8, 8000) == NULL);
    CHECK(ascope_offset(arena) == before && strcmp(moved, "first") == 0);
    char *aligned = (char *)ascope_alloc_aligned(arena, 100, 256);
    CHECK(aligned != NULL && ascope_alloc(arena, 1) != NULL);
    aligned = (char *)ascope_realloc_aligned(arena, aligned, 100, 200, 256);
    CHECK(aligned != NULL && (uintptr_t)aligned % 256 == 0);
    CHECK(ascope_realloc_aligned(arena, aligned, 200, 300, 24) == NULL && errno == EINVAL);
    ascope_destroy(arena);
}

static void only_the_last_block_is_reused(void)
{
    ascope_arena *arena = ascope_init(4096);
    void *first = ascope_alloc(arena, 10);
    void *second = ascope_alloc(arena, 20);
    ascope_free(arena, first, 10);
    CHECK(ascope_offset(arena) == 40);
    ascope_free(arena, second, 20);
    CHECK(ascope_offset(arena) == 16);
    CHECK(ascope_alloc(arena, 1) == second);
    ascope_free(arena, NULL, 5);
    CHECK(ascope_offset(arena) == 24);
    CHECK(ascope_contains(arena, first) && ascope_contains(arena, (char *)second + 7));
    CHECK(!ascope_contains(arena, (char *)second + 8) && !ascope_contains(arena, (char *)ascope_base(arena) - 1));
    CHECK(!ascope_contains(arena, NULL) && !ascope_contains(arena, &arena));
    ascope_destroy(arena);
}

static void copies_are_copies(void)
{
    ascope_arena *arena = ascope_init(4096);
    CHECK(strcmp(ascope_strdup(arena, "a string"), "a string") == 0);
    CHECK(strcmp(ascope_strdup(arena, ""), "") == 0);
    CHECK(strcmp(ascope_strndup(arena, "a string", 3), "a s") == 0);
    CHECK(strcmp(ascope_strndup(arena, "ab", 3), "ab") == 0);
    const char raw[3] = {'x', 'y', 'z'};
    CHECK(memcmp(ascope_strndup(arena, raw, 3), "xyz", 4) == 0);
    CHECK(memcmp(ascope_memdup(arena, raw, 3), raw, 3) == 0);
    CHECK(ascope_memdup(arena, NULL, 0) != NULL);
    char *printed = ascope_printf(arena, "%s is %d, %5.2f", "this", 42, 3.14159);
    CHECK(printed != NULL && strcmp(printed, "this is 42,  3.14") == 0);
    CHECK(ascope_printf(arena, "%8000s", "") == NULL);
    ascope_destroy(arena);
}

static void a_rewind_says_what_became_of_it(void)
{
    ascope_arena *arena = ascope_init(4096);
    ascope_arena *other = ascope_init(4096);
    ascope_marker empty = ascope_mark(arena);
    CHECK(ascope_alloc(arena, 100) != NULL);
    ascope_marker later = ascope_mark(arena);
    CHECK(ascope_alloc(arena, 100) != NULL && ascope_offset(arena) == 208);
    uint64_t generation = arena->generation;
    CHECK(ascope_rewind(other, later) == ASCOPE_FOREIGN);
    CHECK(ascope_rewind(arena, later) == ASCOPE_OK && ascope_offset(arena) == 104);
    CHECK(arena->generation == generation + 1);
    CHECK(ascope_rewind(arena, later) == ASCOPE_OK);
    CHECK(ascope_rewind(arena, empty) == ASCOPE_OK && ascope_offset(arena) == 0);
    CHECK(ascope_alloc(arena, 400) != NULL);
    CHECK(ascope_rewind(arena, later) == ASCOPE_STALE && ascope_offset(arena) == 400);
    ascope_reset(arena);
    CHECK(ascope_offset(arena) == 0);
    CHECK(ascope_rewind(arena, empty) == ASCOPE_STALE);
    ascope_marker zero;
    memset(&zero, 0, sizeof zero);
    CHECK(ascope_rewind(arena, zero) == ASCOPE_FOREIGN);
    ascope_destroy(arena);
    ascope_destroy(other);
    ascope_destroy(NULL);
}

static void an_arena_knows_its_name_and_where_it_was_made(void)
{
    const uint32_t line = __LINE__ + 1;
    ASCOPE_ARENA(symbols, 128);
    CHECK(symbols->magic == ASCOPE_MAGIC && symbols->layout_version == ASCOPE_LAYOUT_VERSION);
    CHECK((const char *)symbols + symbols->header_bytes == symbols->base);
    CHECK(symbols->name_bytes == 7 && memcmp(symbols->name, "symbols", 7) == 0);
    CHECK(symbols->site_line == line && symbols->site_file_bytes == strlen(__FILE__));
    CHECK(memcmp(symbols->site_file, __FILE__, symbols->site_file_bytes) == 0);
    CHECK(symbols->committed >= 128 && symbols->reserved >= symbols->committed && symbols->id > 0 && symbols->pid > 1);
    CHECK(symbols->owner_tid != 0);
    char passing[] = "a name that is longer than thirty-two bytes";
    ascope_arena *named = ascope_growing_named(passing);
    memset(passing, 0, sizeof passing);
    CHECK(named->name_bytes == 32 && memcmp(named->name, "a name that is longer than thirty-two bytes", 32) == 0);
    CHECK((named->flags & ASCOPE_FLAG_GROWING) != 0);
    ascope_arena *broken = ascope_init_named("caf\xE9", 8);
    CHECK(broken->name_bytes == 3);
    ascope_arena *nameless = ascope_init(8);
    CHECK(nameless->name_bytes == 0 && nameless->name == NULL);
    ascope_arena *emptily = ascope_init_named("", 8);
    CHECK(emptily->name_bytes == 0 && emptily->name == NULL);
    ascope_destroy(emptily);
    ascope_arena *siteless = (ascope_init)(8);
    CHECK(siteless != NULL && siteless->site_file == NULL && siteless->site_line == 0);
    ascope_destroy(symbols);
    ascope_destroy(named);
    ascope_destroy(broken);
    ascope_destroy(nameless);
    ascope_destroy(siteless);
}

static void every_option_makes_an_arena_that_works(void)
{
    for (uint32_t flags = 0; flags < 1024; flags++) {
        ascope_options options = {ASCOPE_OPTIONS_INIT};
        options.flags = flags;
        const size_t bytes = flags % 16 == 5 ? 290000 : 29000;
        options.capacity = bytes + 100;
        options.reserve = (flags & ASCOPE_HEAP) != 0 ? 1 << 19 : 1 << 22;
        options.keep_bytes = 8192;
        options.commit_ahead = flags % 3 * 20000;
        ascope_arena *arena = ascope_create(&options);
        CHECK(arena != NULL);
        for (int round = 0; round < 3; round++) {
            char *block = (char *)ascope_calloc(arena, bytes, 1);
            CHECK(block != NULL && block[0] == 0 && block[bytes - 1] == 0);
            memset(block, 1, bytes);
            ascope_reset(arena);
        }
        ascope_destroy(arena);
    }
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.layout_version++;
    errno = 0;
    CHECK(ascope_create(&options) == NULL && errno == ENOTSUP);
    CHECK(ascope_create(NULL) == NULL && errno == EINVAL);
    options.layout_version--;
    options.capacity = SIZE_MAX;
    CHECK(ascope_create(&options) == NULL && errno == ENOMEM);
    options.capacity = (size_t)1 << 60; /* the system's own word: ENOMEM, or EINVAL under Valgrind */
    errno = 0;
    CHECK(ascope_create(&options) == NULL && errno != 0);
    /* A program built with an older, shorter struct. */
    options.capacity = 77;
    options.options_bytes = offsetof(ascope_options, keep_bytes);
    options.name = (const char *)1;
    ascope_arena *arena = ascope_create(&options);
    CHECK(arena != NULL && ascope_capacity(arena) == 77 && arena->name_bytes == 0);
    ascope_destroy(arena);
}

static void memory_is_taken_placed_and_kept_as_was_said(void)
{
    ascope_options options = {ASCOPE_OPTIONS_INIT};
    options.flags = ASCOPE_GROWING | ASCOPE_NO_KEEP | ASCOPE_SMALL_PAGES | ASCOPE_NO_COLOUR;
    options.reserve = 1 << 24;
    options.commit_ahead = 1 << 20;
    ascope_arena *much = ascope_create(&options);
    options.commit_ahead = 1;
    ascope_arena *little = ascope_create(&options);
    CHECK(much != NULL && little != NULL);
    CHECK(much->committed >= 1 << 20 && much->committed < (1 << 20) + 8192 && little->committed < 8192);
    CHECK((uintptr_t)much->base % 4096 == much->header_bytes && (uintptr_t)little->base % 4096 == little->header_bytes);
    ascope_destroy(much);
    ascope_destroy(little);
    options.flags = ASCOPE_NO_KEEP | ASCOPE_POPULATE_ALL;
    options.capacity = 1 << 20;
    ascope_arena *all = ascope_create(&options);
    CHECK(all != NULL && all->committed >= 1 << 20);
    ascope_destroy(all);

    ascope_release_kept();
    CHECK(ascope_kept().bytes == 0 && ascope_kept().count == 0);
    ascope_arena *arenas[5];
    for (int i = 0; i < 5; i++) {
        arenas[i] = ascope_init(1000);
        CHECK(arenas[i] != NULL);
    }
    ascope_set_kept_limits(1 << 20, 3);
    for (int i = 0; i < 5; i++) {
        ascope_destroy(arenas[i]);
    }
    CHECK(ascope_kept().count == 3 && ascope_kept().bytes >= 3000 && ascope_kept().bytes < 6000);
    ascope_set_kept_limits(0, 4096);
    CHECK(ascope_kept().count == 3); /* heeded from the next end on */
    ascope_release_kept();
    ascope_arena *last = ascope_init(1000);
    ascope_destroy(last);
    CHECK(ascope_kept().count == 0 && ascope_kept().bytes == 0);
    ascope_set_kept_limits((size_t)64 << 20, 4096);
}

static void a_buffer_of_the_callers_holds_an_arena(void)
{
    static char memory[4096];
    for (size_t skew = 0; skew < 128; skew += 5) {
        memset(memory, 0x55, sizeof memory);
        ascope_arena *arena = ascope_in_buffer(memory + skew, 2000);
        CHECK(arena != NULL && arena->site_line == __LINE__ - 1);
        size_t capacity = ascope_capacity(arena);
        CHECK(capacity >= 2000 - 384 - 127 - 7);
        char *block = (char *)ascope_calloc(arena, capacity, 1);
        CHECK(block != NULL && block >= memory + skew && block + capacity <= memory + skew + 2000);
        CHECK(block[0] == 0 && block[capacity - 1] == 0 && ascope_alloc(arena, 1) == NULL);
        CHECK(memory[skew + 2000] == 0x55);
        ascope_destroy(arena);
    }
    CHECK(ascope_in_buffer(memory, 300) == NULL && errno == ENOMEM);
    CHECK(ascope_in_buffer(NULL, 3000) == NULL && errno == EINVAL);
}

/* The functions behind the macros, as a program without the header calls them. */
static void the_plain_functions_do_the_same(void)
{
    ascope_arena *arena = (ascope_growing)();
    CHECK(arena != NULL);
    void *block = (ascope_alloc)(arena, 10);
    CHECK(block == ascope_base(arena));
    CHECK((ascope_realloc)(arena, block, 10, 20) == block && ascope_offset(arena) == 24);
    (ascope_free)(arena, block, 20);
    CHECK(ascope_offset(arena) == 0);
    ascope_marker mark = (ascope_mark)(arena);
    void *aligned = (ascope_alloc_aligned)(arena, 10, 64);
    CHECK(aligned != NULL && (uintptr_t)aligned % 64 == 0);
    CHECK((ascope_rewind)(arena, mark) == ASCOPE_OK && ascope_offset(arena) == 0);
    (ascope_reset)(arena);
    CHECK((ascope_rewind)(arena, mark) == ASCOPE_STALE);
    (ascope_destroy)(arena);
}

static void a_dump_shows_what_was_handed_out(void)
{
    ascope_arena *arena = ascope_init(1000);
    char *text = (char *)ascope_calloc(arena, 1, 600);
    memcpy(text, "dumped", 6);
    memcpy(text + 590, "\x7F\xFF end", 6);
    FILE *out = tmpfile();
    CHECK(out != NULL);
    ascope_dump(arena, out);
    rewind(out);
    char line[2000];
    CHECK(fgets(line, sizeof line, out) != NULL && strcmp(line, "\n") == 0);
    CHECK(fgets(line, sizeof line, out) != NULL && strcmp(line, "📦 Arena dump (600 used / 1000 total):\n") == 0);
    CHECK(fgets(line, sizeof line, out) != NULL && strlen(line) == 601);
    CHECK(memcmp(line, "dumped....", 10) == 0 && memcmp(line + 588, ".... end....\n", 13) == 0);
    CHECK(fgets(line, sizeof line, out) == NULL);
    fclose(out);
    ascope_destroy(arena);
}

/* ---- a model that is obviously right: an offset */

static uint64_t random_state = 88172645463325252u;

static size_t pick(size_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (size_t)(random_state % below);
}

static size_t up(size_t value, size_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static void pass(void *context, const ascope_event *event)
{
    (void)event;
    ++*(size_t *)context;
}

static void random_programs_agree_with_the_model(void)
{
    size_t seen = 0;
    const ascope_observer observer = {ASCOPE_OBSERVER_VERSION, sizeof(ascope_observer), &seen, pass, 0, NULL, NULL};
    for (size_t program = 0; program < 400; program++) {
        size_t capacity = pick(3000);
        ascope_options options = {ASCOPE_OPTIONS_INIT};
        options.capacity = capacity;
        options.flags = pick(2) != 0 ? ASCOPE_HEAP : 0;
        ascope_arena *arena = ascope_create(&options);
        CHECK(arena != NULL);
        uintptr_t base = (uintptr_t)ascope_base(arena);
        size_t at = 0; /* where the next slot begins */
        size_t last = 0, last_size = 0;
        int has_last = 0;
        for (size_t step = 0; step < 100; step++) {
            size_t size = unknown(pick(20) == 0 ? pick(4000) : pick(90));
            size_t align = (size_t)1 << (pick(3) == 0 ? pick(8) : pick(4));
            switch (pick(12)) {
            case 0:
                ascope_observe(arena, pick(2) != 0 ? &observer : NULL);
                break;
            case 1: /* an outsider's switch */
                *(volatile uintptr_t *)&arena->limit = pick(2);
                break;
            case 2:
                if (has_last) {
                    ascope_free(arena, (void *)(base + last), last_size);
                    at = last;
                    has_last = 0;
                }
                break;
            case 3:
            case 4:
                if (has_last) {
                    char *block = (char *)(base + last);
                    memset(block, (int)(step & 127), last_size);
                    void *same = ascope_realloc(arena, block, last_size, size);
                    CHECK((same != NULL) == (last + size <= (size == 0 ? up(capacity, 8) : capacity)));
                    if (same != NULL) {
                        CHECK(same == block);
                        for (size_t i = 0; i < size && i < last_size; i++) {
                            CHECK(block[i] == (char)(step & 127));
                        }
                        last_size = size;
                        at = up(last + size, 8);
                    }
                }
                break;
            case 5: {
                ascope_marker mark = ascope_mark(arena);
                void *block = ascope_alloc(arena, size);
                CHECK((block != NULL) == (at + size <= (size == 0 ? up(capacity, 8) : capacity)));
                CHECK(ascope_rewind(arena, mark) == ASCOPE_OK);
                break;
            }
            case 6:
                if (pick(10) == 0) {
                    ascope_reset(arena);
                    at = 0;
                    has_last = 0;
                }
                break;
            default: {
                size_t start = (size_t)(up(base + at, align) - base);
                int fits = start + size <= (size == 0 ? up(capacity, 8) : capacity);
                void *block = align <= 8 ? ascope_alloc(arena, size) : ascope_alloc_aligned(arena, size, align);
                CHECK((block != NULL) == fits);
                if (block != NULL) {
                    CHECK((uintptr_t)block == base + start);
                    memset(block, 0xEE, size);
                    last = start;
                    last_size = size;
                    has_last = 1;
                    at = up(start + size, 8);
                }
            }
            }
            CHECK(ascope_offset(arena) == (at < capacity ? at : capacity));
        }
        ascope_destroy(arena);
    }
    CHECK(seen > 1000);
}

int main(void)
{
    exactly_the_capacity_and_not_a_byte_more();
    sizes_that_no_memory_has_are_refused_and_change_nothing();
    every_power_of_two_aligns_and_nothing_else_does();
    zeroed_memory_is_zero_after_anything();
    zeroed_memory_is_zero_where_a_block_has_shrunk();
    resizing_keeps_contents_and_the_last_block_stays();
    only_the_last_block_is_reused();
    copies_are_copies();
    a_rewind_says_what_became_of_it();
    an_arena_knows_its_name_and_where_it_was_made();
    every_option_makes_an_arena_that_works();
    memory_is_taken_placed_and_kept_as_was_said();
    a_buffer_of_the_callers_holds_an_arena();
    the_plain_functions_do_the_same();
    a_dump_shows_what_was_handed_out();
    random_programs_agree_with_the_model();
    puts("all kept");
    return 0;
}
