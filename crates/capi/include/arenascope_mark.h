/* A mark: the program names a moment, and Arenascope saves the bytes of every living arena there.
 *
 *     #include "arenascope_mark.h"
 *     arenascope_mark("before the second request");
 *
 * Then `arenascope diff TRACE --from 'before the second request' --to end`. A mark of the same name may be set often: the
 * third one is NAME@3. Nothing is linked: this header defines the function, once in a program. Unwatched it costs a call
 * that does nothing. `arenascope run` finds it by its name in the symbol table, so do not strip it away. At most 1 MiB of
 * an arena and 256 MiB in all are saved, and 128 bytes of the name are kept. C11 and C++17, gcc and clang. */
#ifndef ARENASCOPE_MARK_H
#define ARENASCOPE_MARK_H

#ifdef __cplusplus
extern "C" {
#endif

/* Weak, so that every file may include it and no compiler knows what it does. */
__attribute__((weak, noinline, used)) void arenascope_mark(const char *name)
{
#if defined(__x86_64__)
	/* Five bytes that do nothing: room for the jump of whoever watches. */
	__asm__ volatile(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00" : : "r"(name) : "memory");
#else
	__asm__ volatile("" : : "r"(name) : "memory");
#endif
}

#ifdef __cplusplus
}
#endif

#endif
