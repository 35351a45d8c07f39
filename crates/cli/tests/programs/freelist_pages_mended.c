/* The mended twin of freelist_pages.c: the helper's block is kept and used. Expect: silent. */
#define MENDED 1
#include "freelist_pages.c"
