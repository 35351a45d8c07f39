/* Correct use of glibc's obstacks, hard: objects grown byte by byte and word by word, moved by growing, finished, freed back to
 * an earlier object, blanks, alignment changed, two obstacks at once, one emptied and used again. Its allocators are two
 * functions of its own, as programs with obstacks have them. */
#include <obstack.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define obstack_chunk_alloc malloc
#define obstack_chunk_free free

__attribute__((noinline)) static void *take(struct obstack *stack, size_t size)
{
    return obstack_alloc(stack, size);
}

__attribute__((noinline)) static char *keep(struct obstack *stack, const char *text, size_t size)
{
    return obstack_copy0(stack, text, size);
}

__attribute__((noinline)) static void back_to(struct obstack *stack, void *object)
{
    obstack_free(stack, object);
}

static unsigned count(struct obstack *words, struct obstack *scratch, const char *text)
{
    unsigned total = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        char *word = keep(words, text, length);
        char *mark = take(scratch, 1);
        for (size_t i = 0; i < length; i++) {
            char *copies = take(scratch, length + i);
            memset(copies, word[i], length + i);
            total += (unsigned)copies[i];
        }
        back_to(scratch, mark);
        text += length + (text[length] == ' ');
    }
    return total;
}

int main(void)
{
    struct obstack words, scratch;
    unsigned sum = 0;
    obstack_init(&words);
    obstack_begin(&scratch, 256);
    for (int round = 0; round < 40; round++) {
        char *base = take(&words, 8);
        memset(base, round, 8);
        sum += count(&words, &scratch, "the quick brown fox jumps over the lazy dog again and again and again");
        for (int i = 0; i < 700; i++) {
            obstack_1grow(&words, (char)('a' + i % 26));
            if (i % 50 == 0)
                obstack_grow(&words, "0123456789", 10);
        }
        obstack_1grow(&words, 0);
        size_t size = (size_t)obstack_object_size(&words);
        char *grown = obstack_finish(&words);
        sum += (unsigned)size + (unsigned)strlen(grown);
        obstack_alignment_mask(&words) = round % 2 ? 31 : 15;
        uint64_t *aligned = take(&words, sizeof *aligned);
        *aligned = (uint64_t)round;
        sum += (unsigned)*aligned;
        if (round % 4 == 3)
            back_to(&words, base);
    }
    back_to(&words, NULL);
    obstack_init(&words);
    sum += count(&words, &scratch, "used again");
    back_to(&words, NULL);
    back_to(&scratch, NULL);
    printf("%u\n", sum);
    return 0;
}
