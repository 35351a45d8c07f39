/* Faults planted in a program on arenascope.h, one by name; with "mended" behind it the same steps without the fault. */
#include <arenascope.h>
#include <stdio.h>
#include <string.h>

static char *volatile kept;

static int is(const char *wanted, const char *name)
{
    return strcmp(wanted, name) == 0;
}

int main(int count, char **words)
{
    const char *fault = count > 1 ? words[1] : "";
    int mended = count > 2;
    ascope_arena *arena = ascope_init_named("planted", 4096);
    char *below = ascope_alloc(arena, 40);
    ascope_marker place = ascope_mark(arena);
    char *block = ascope_alloc(arena, 24); /* the block */
    char *above = ascope_alloc(arena, 16);
    memset(below, 'b', 40);
    memset(block, 'o', 24);
    memset(above, 'a', 16);
    size_t offset = ascope_offset(arena);
    kept = block;
    if (is(fault, "overflow")) {
        kept[mended ? 23 : 24] = 'X';
    } else if (is(fault, "underflow")) {
        kept[mended ? 0 : -1] = 'X';
    } else if (is(fault, "double-free")) {
        ascope_free(arena, block, 24);
        if (!mended) {
            ascope_free(arena, block, 24); /* the second free */
        }
    } else if (is(fault, "use-after-rewind")) {
        if (mended) {
            kept[5] = 'X';
        }
        ascope_rewind(arena, place); /* the rewind */
        if (!mended) {
            kept[5] = 'X';
        }
    } else if (is(fault, "use-after-reset")) {
        if (mended) {
            kept[5] = 'X';
        }
        ascope_reset(arena); /* the reset */
        if (!mended) {
            kept[5] = 'X';
        }
    } else if (is(fault, "region")) {
        ascope_free(arena, above, 16);
        char *last = ascope_alloc(arena, 4096 - ascope_offset(arena)); /* the last block */
        memset(last, 'l', 4096 - offset);
        kept = last;
        if (!mended) {
            kept[4096 - offset + 16 + 11] = 'X'; /* beyond the arena's capacity */
        }
    } else if (is(fault, "wrong-free") || is(fault, "wrong-resize")) {
        ascope_arena *empty = ascope_init_named("empty", 4096); /* the other arena */
        if (is(fault, "wrong-free")) {
            ascope_free(mended ? arena : empty, block, 24); /* the free through it */
        } else {
            kept = ascope_realloc(mended ? arena : empty, block, 24, 40); /* the resize through it */
        }
        ascope_destroy(empty);
    } else if (is(fault, "inside-free")) {
        ascope_free(arena, mended ? block : block + 8, mended ? 24 : 16); /* the free inside it */
    } else if (is(fault, "free-between")) {
        ascope_free(arena, mended ? block : block + 32, 24); /* the free between blocks */
    } else if (is(fault, "guard")) {
        kept[mended ? 23 : 24 + 11] = 'X'; /* the touch */
    }
    printf("%zu %zu\n", offset, ascope_capacity(arena));
    fflush(stdout);
    ascope_arena *others[100];
    int many = is(fault, "call-unmapped") ? 100 : 0;
    for (int i = 0; i < many; i++) {
        others[i] = ascope_init_named("other", 400000);
    }
    if (many > 0) {
        ascope_destroy(arena);
        arena = ascope_init_named("far", 400000); /* the far arena */
    }
    if (mended && is(fault, "call-alloc")) {
        ascope_alloc(arena, 24);
    } else if (mended && is(fault, "call-reset")) {
        ascope_reset(arena);
    } else if (mended && many > 0) {
        ascope_reset(arena);
    }
    ascope_destroy(arena); /* the end */
    for (int i = 0; i < many; i++) {
        ascope_destroy(others[i]);
    }
    if (!mended && is(fault, "call-alloc")) {
        kept = ascope_alloc(arena, 24); /* the alloc of a dead arena */
    } else if (!mended && is(fault, "call-reset")) {
        ascope_reset(arena); /* the reset of a dead arena */
    } else if (!mended && is(fault, "call-destroy")) {
        ascope_destroy(arena); /* the second end */
    } else if (!mended && many > 0) {
        ascope_reset(arena); /* the far reset */
    }
    if (is(fault, "use-after-unmap") && !mended) {
        kept[5] = 'X'; /* the touch of a dead arena */
    }
    return 0;
}
