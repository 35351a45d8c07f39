// A program with a malloc of its own: blocks are cut from one static range and never used again.
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static char memory[1 << 20];
static size_t used;

void *malloc(size_t size)
{
    size_t need = (size + 31) & ~(size_t)15;
    if (sizeof memory - used < need)
        return NULL;
    char *block = memory + used;
    used += need;
    *(size_t *)block = size;
    return block + 16;
}

void free(void *block)
{
    (void)block;
}

void *calloc(size_t count, size_t size)
{
    void *block = malloc(count * size);
    return block ? memset(block, 0, count * size) : NULL;
}

void *realloc(void *old, size_t size)
{
    void *block = malloc(size);
    if (block && old) {
        size_t had = ((size_t *)old)[-2];
        memcpy(block, old, had < size ? had : size);
    }
    return block;
}

int main(void)
{
    char *text = malloc(100);
    strcpy(text, "one malloc of many");
    text = realloc(text, 200);
    free(calloc(4, 25));
    printf("%s\n", text);
    free(text);
    return 0;
}
