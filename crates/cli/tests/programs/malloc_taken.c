// Takes the addresses of malloc and free, as tables of functions do: built -no-pie its own PLT stubs are their addresses, for
// the libraries too. strdup allocates in the C library, which calls malloc by no stub of ours. Prints how many blocks live.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    void *(*get)(size_t);
    void (*give)(void *);
} volatile table;

int main(void)
{
    static char *kept[30];
    table.get = malloc; // in code: an address in data is the dynamic linker's to write, and the function's own
    table.give = free;
    for (int i = 0; i < 30; i++)
        kept[i] = i % 3 == 0 ? table.get(100) : i % 3 == 1 ? malloc(200) : strdup("by the library");
    for (int i = 0; i < 30; i += 2)
        i % 4 ? free(kept[i]) : table.give(kept[i]);
    fputs("15 live\n", stderr);
    return 0;
}
