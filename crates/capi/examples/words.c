/* Counts words: every word is copied into one arena, and one call ends them all. */
#include <arenascope.h>

struct word {
    struct word *next;
    const char *text;
    size_t times;
};

int main(void)
{
    const char *text = "the cat and the dog and the bird saw Oz";
    ASCOPE_GROWING_ARENA(words);
    if (words == NULL) {
        perror("words");
        return 1;
    }
    struct word *first = NULL;
    size_t all = 0, different = 0;
    while (*text != 0) {
        size_t length = strcspn(text, " ");
        struct word *word = first;
        while (word != NULL && (strncmp(word->text, text, length) != 0 || word->text[length] != 0)) {
            word = word->next;
        }
        if (word == NULL) {
            word = ascope_new(words, struct word);
            const char *copy = ascope_strndup(words, text, length);
            if (word == NULL || copy == NULL) {
                perror("word");
                return 1;
            }
            word->next = first;
            word->text = copy;
            word->times = 0;
            first = word;
            different++;
        }
        word->times++;
        all++;
        text += length;
        text += strspn(text, " ");
    }
    ascope_dump(words, stdout);
    printf("%zu words, %zu of them different\n", all, different);
    ascope_destroy(words);
    return 0;
}
