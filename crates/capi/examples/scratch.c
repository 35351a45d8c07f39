/* Scratch memory: what a line needs while it is parsed is given back at once, by going back to a marker. */
#include <arenascope.h>

int main(void)
{
    const char *const lines[] = {"a,b", "1,2,3", "w,x,y,z"};
    ascope_arena *scratch = ascope_init_named("scratch", 4096);
    if (scratch == NULL) {
        perror("scratch");
        return 1;
    }
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        ascope_marker before = ascope_mark(scratch);
        char **fields = NULL;
        size_t count = 0;
        for (const char *at = lines[i]; at != NULL; count++) {
            const char *comma = strchr(at, ',');
            size_t length = comma != NULL ? (size_t)(comma - at) : strlen(at);
            /* The array moves when a field's copy lies behind it: the arena keeps old copies until the rewind. */
            char **larger = (char **)ascope_realloc(scratch, fields, count * sizeof *fields, (count + 1) * sizeof *fields);
            char *copy = larger != NULL ? ascope_strndup(scratch, at, length) : NULL;
            if (copy == NULL) {
                perror("field");
                return 1;
            }
            fields = larger;
            fields[count] = copy;
            at = comma != NULL ? comma + 1 : NULL;
        }
        if (ascope_rewind(scratch, before) != ASCOPE_OK) {
            return 1;
        }
        printf("line %zu: %zu fields, scratch memory %zu bytes after it\n", i + 1, count, ascope_offset(scratch));
    }
    ascope_destroy(scratch);
    return 0;
}
