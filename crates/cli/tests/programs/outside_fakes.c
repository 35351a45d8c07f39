/* Things that begin as arena headers do and are none, as layout 2 has them, one kind a page; no library. Prints their addresses as JSON, waits for
 * the end of stdin. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGES = 16 };

static char *pages;

static void put(char *at, int offset, uint64_t value, int bytes)
{
    memcpy(at + offset, &value, (size_t)bytes);
}

/* A header without fault, at the page's begin, for 1000 bytes. */
static char *sound(int page)
{
    char *at = pages + page * 4096;
    memcpy(at, "ARENASC1", 8);
    put(at, 8, 2, 4);
    put(at, 12, 384, 4);
    put(at, 16, (uint64_t)at + 384 + 80, 8);
    put(at, 24, (uint64_t)at + 384, 8);
    put(at, 64, 1000, 8);
    put(at, 72, 1000, 8);
    put(at, 80, 1000, 8);
    put(at, 88, (uint64_t)page + 100, 8);
    return at;
}

int main(void)
{
    /* At the mapping's end, and alone: what stands behind the last page is not there. */
    char *around = mmap(NULL, (PAGES + 2) * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pages = around + 4096;
    mprotect(pages, PAGES * 4096, PROT_READ | PROT_WRITE);
    munmap(around, 4096);
    munmap(pages + PAGES * 4096, 4096);
    sound(0);
    put(sound(1), 8, 7, 4);                                   /* a layout to come */
    put(sound(2), 16, (uint64_t)pages + 2 * 4096 + 5000, 8);  /* a cursor outside */
    put(sound(3), 152, 0xffffffff, 4);                        /* a name of 4 GiB */
    put(sound(3), 144, (uint64_t)pages + 3 * 4096 + 160, 8);
    put(sound(4), 64, (uint64_t)1 << 63, 8);                  /* a capacity of 2^63 */
    put(sound(5), 80, (uint64_t)1 << 45, 8);                  /* a reservation that nobody mapped */
    memcpy(pages + 6 * 4096, "ARENASC1", 8);                  /* half-initialised: nothing but the magic word */
    put(sound(7), 144, 0xdead0000, 8);                        /* a name that is nowhere: told, and no damage */
    put(sound(7), 152, 9, 4);
    char *shared = pages + 8 * 4096;                          /* a shared arena whose rows go in a circle: told, and no damage */
    memcpy(shared, "ARENASHR", 8);
    put(shared, 8, 1, 4);
    put(shared, 12, 8192, 4);
    put(shared, 24, (uint64_t)shared + 8192, 8);
    put(shared, 32, 4096, 8);
    put(shared, 40, (uint64_t)shared + 384, 8);
    put(shared, 48, 200, 8);
    put(shared, 384, (uint64_t)shared + 384, 8);
    char *slab = pages + 11 * 4096;                           /* a slab of more slots than there is memory */
    memcpy(slab, "ASCOSLAB", 8);
    put(slab, 8, 640, 8);
    put(slab, 16, 60000, 8);
    put(slab, 24, 50000, 8);
    memcpy(pages + 13 * 4096 - 8, "ARENASC1", 8);             /* the last eight bytes of a page: no place for a header */
    memcpy(pages + PAGES * 4096 - 128, "ARENASC1", 8);        /* a header that would not fit into the last page */
    printf("{\"pages\":%lu}\n", (unsigned long)pages);
    fflush(stdout);
    getchar();
    return 0;
}
