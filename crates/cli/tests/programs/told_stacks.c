/* The told call, for programs in other languages. */
#include "told_stacks.h"

void told_begin(int argc, char **argv) { begin(argc, argv); }
struct arena *told_arena(void) { return &arena; }
