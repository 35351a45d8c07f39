/* The mended twin of null.c: the program asks before it uses. Expect: no finding, one refused allocation. */
#define MENDED 1
#include "null.c"
