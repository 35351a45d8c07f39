/* Markers: an allocator that is inlined away tells Arenascope what it does.
 *
 *     #include "arenascope-mark.h"
 *     static inline void *arena_alloc(struct arena *arena, size_t size)
 *     {
 *         void *block = ...;
 *         ARENASCOPE_ALLOC(arena, block, size);
 *         return block;
 *     }
 *
 * Each macro is five bytes that do nothing (one nop) where it stands, and a note beside the program that says where its operands
 * are there. `arenascope run` turns the nop into a jump. Nobody watching: the nop is all that runs. No call, no branch, no flag, no
 * code to link; operands stay in the registers that the compiler chose. The notes are those of <sys/sdt.h> (provider `arenascope`,
 * probes `alloc`, `free`, ...): perf, bpftrace, gdb and SystemTap use the same markers. `strip` leaves them in place.
 *
 * Where to put them: ALLOC, RESIZE, MARK, CREATE behind what they tell, once the result is known; FREE, REWIND, RESET, DESTROY before
 * it. Under the arena's lock, if it has one. The block of a refused ALLOC is NULL; where the two ways out of an alloc function are apart
 * let them be, with a marker on each: where they meet for the marker's sake the compiler forgets which one was taken.
 *
 * `arena` is any word that tells this arena from the others: a pointer that is in a register there anyway costs nothing. 0 is "the
 * one arena of the program". (The address of an arena object that the compiler would have kept in registers alone makes it keep the
 * object in memory: give the base of its memory instead.) Pointers and integers of at most 8 bytes; each operand is evaluated once, with markers and without.
 *
 * gcc and clang, C89 to C23, C++98 to C++23, Linux on x86-64; elsewhere, or with ARENASCOPE_NO_MARKERS defined, the macros do nothing.
 * ARENASCOPE_MARKERS is 1 where they do. */
#ifndef ARENASCOPE_MARK_MACROS_H
#define ARENASCOPE_MARK_MACROS_H

#if !defined(ARENASCOPE_NO_MARKERS) && defined(__x86_64__) && !defined(__ILP32__) && defined(__linux__) && defined(__GNUC__)
#define ARENASCOPE_MARKERS 1
#else
#define ARENASCOPE_MARKERS 0
#endif

/* `arena` begins. `capacity` in bytes, 0 where it has none; `name` a C string, or 0. */
#define ARENASCOPE_CREATE(arena, capacity, name) \
	ARENASCOPE_MARKER3_("create", ARENASCOPE_ADDRESS_(arena), capacity, ARENASCOPE_ADDRESS_(name))
/* `block` of `size` bytes was handed out; NULL: it was refused. */
#define ARENASCOPE_ALLOC(arena, block, size) \
	ARENASCOPE_MARKER3_("alloc", ARENASCOPE_ADDRESS_(arena), ARENASCOPE_ADDRESS_(block), size)
/* The same, with the alignment that was asked for, in bytes. */
#define ARENASCOPE_ALLOC_ALIGNED(arena, block, size, align) \
	ARENASCOPE_MARKER4_("alloc", ARENASCOPE_ADDRESS_(arena), ARENASCOPE_ADDRESS_(block), size, align)
/* The block at `old_block` lies at `new_block` now and has `size` bytes; NULL: it was refused, and the old one is what it was. */
#define ARENASCOPE_RESIZE(arena, old_block, new_block, size) \
	ARENASCOPE_MARKER4_("resize", ARENASCOPE_ADDRESS_(arena), ARENASCOPE_ADDRESS_(old_block), \
		ARENASCOPE_ADDRESS_(new_block), size)
/* `block` is about to be given back, by itself. */
#define ARENASCOPE_FREE(arena, block) \
	ARENASCOPE_MARKER2_("free", ARENASCOPE_ADDRESS_(arena), ARENASCOPE_ADDRESS_(block))
/* The cursor was saved: `mark` is what a later REWIND will be given. */
#define ARENASCOPE_MARK(arena, mark) ARENASCOPE_MARKER2_("mark", ARENASCOPE_ADDRESS_(arena), mark)
/* Every block since `mark` is about to be gone. */
#define ARENASCOPE_REWIND(arena, mark) ARENASCOPE_MARKER2_("rewind", ARENASCOPE_ADDRESS_(arena), mark)
/* Every block is about to be gone; the arena stays. Its bytes are captured as they are here. */
#define ARENASCOPE_RESET(arena) ARENASCOPE_MARKER1_("reset", ARENASCOPE_ADDRESS_(arena))
/* The arena is about to end. Its bytes are captured as they are here. */
#define ARENASCOPE_DESTROY(arena) ARENASCOPE_MARKER1_("destroy", ARENASCOPE_ADDRESS_(arena))
/* Names this moment, a C string: the bytes of every living arena are captured, and `name` is a moment for `--at`, `--from`, `--to`. The
 * third moment of a name is NAME@3. At most 1 MiB of an arena and 256 MiB in all are kept, and 128 bytes of the name. */
#define ARENASCOPE_MOMENT(name) ARENASCOPE_MARKER1_("moment", ARENASCOPE_ADDRESS_(name))
/* The same by its older name. */
#define arenascope_mark(name) ARENASCOPE_MOMENT(name)

/* What follows is how. */

/* An array becomes its address, and an address of anything is one of nothing in particular. */
#ifdef __cplusplus
#define ARENASCOPE_ADDRESS_(value) (reinterpret_cast<const volatile void *>(value))
#else
#define ARENASCOPE_ADDRESS_(value) ((const volatile void *)(value))
#endif

#if ARENASCOPE_MARKERS

/* Where operands may be: a number, memory that it is in anyway, a register. clang would store into memory what is in a register. */
#ifndef ARENASCOPE_MARK_CONSTRAINT
#if defined(__clang__)
#define ARENASCOPE_MARK_CONSTRAINT "nr"
#else
#define ARENASCOPE_MARK_CONSTRAINT "nor"
#endif
#endif

/* gcc estimates a function's size by the lines of its assembly, and inlines by that estimate: this is one instruction. */
#if !defined(__clang__) && __GNUC__ >= 9
#define ARENASCOPE_MARK_ONE_ __inline__
#else
#define ARENASCOPE_MARK_ONE_
#endif

/* The note is that of SystemTap: https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation. "?" puts it into the COMDAT group
 * of the function, so that it goes where the function goes; the base tells how far a prelinker has moved the program. */
#define ARENASCOPE_MARKER_(role, arguments) \
	"990:\t.byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n" \
	"\t.pushsection .note.stapsdt,\"?\",\"note\"\n" \
	"\t.balign 4\n" \
	"\t.4byte 992f-991f, 994f-993f, 3\n" \
	"991:\t.asciz \"stapsdt\"\n" \
	"992:\t.balign 4\n" \
	"993:\t.8byte 990b\n" \
	"\t.8byte _.stapsdt.base\n" \
	"\t.8byte 0\n" \
	"\t.asciz \"arenascope\"\n" \
	"\t.asciz \"" role "\"\n" \
	"\t.asciz \"" arguments "\"\n" \
	"994:\t.balign 4\n" \
	"\t.popsection\n" \
	"\t.ifndef _.stapsdt.base\n" \
	"\t.pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
	"\t.weak _.stapsdt.base\n" \
	"\t.hidden _.stapsdt.base\n" \
	"_.stapsdt.base:\t.space 1\n" \
	"\t.size _.stapsdt.base, 1\n" \
	"\t.popsection\n" \
	"\t.endif\n"

/* An operand: how many bytes it has, and where it is. */
#define ARENASCOPE_TEXT_(number) "%c[arenascope_s" #number "]@%[arenascope_a" #number "]"
#define ARENASCOPE_OPERAND_(number, value) \
	[arenascope_s##number] "n"(sizeof(value)), [arenascope_a##number] ARENASCOPE_MARK_CONSTRAINT(value)

/* Those of one operand are told before bytes are captured: what the program has written is in memory there. */
#define ARENASCOPE_MARKER1_(role, a) \
	do { \
		__asm__ ARENASCOPE_MARK_ONE_ __volatile__(ARENASCOPE_MARKER_(role, ARENASCOPE_TEXT_(1)) \
			: : ARENASCOPE_OPERAND_(1, a) : "memory"); \
	} while (0)
#define ARENASCOPE_MARKER2_(role, a, b) \
	do { \
		__asm__ ARENASCOPE_MARK_ONE_ __volatile__( \
			ARENASCOPE_MARKER_(role, ARENASCOPE_TEXT_(1) " " ARENASCOPE_TEXT_(2)) \
			: : ARENASCOPE_OPERAND_(1, a), ARENASCOPE_OPERAND_(2, b)); \
	} while (0)
#define ARENASCOPE_MARKER3_(role, a, b, c) \
	do { \
		__asm__ ARENASCOPE_MARK_ONE_ __volatile__( \
			ARENASCOPE_MARKER_(role, ARENASCOPE_TEXT_(1) " " ARENASCOPE_TEXT_(2) " " ARENASCOPE_TEXT_(3)) \
			: : ARENASCOPE_OPERAND_(1, a), ARENASCOPE_OPERAND_(2, b), ARENASCOPE_OPERAND_(3, c)); \
	} while (0)
#define ARENASCOPE_MARKER4_(role, a, b, c, d) \
	do { \
		__asm__ ARENASCOPE_MARK_ONE_ __volatile__( \
			ARENASCOPE_MARKER_(role, ARENASCOPE_TEXT_(1) " " ARENASCOPE_TEXT_(2) " " ARENASCOPE_TEXT_(3) " " \
				ARENASCOPE_TEXT_(4)) \
			: : ARENASCOPE_OPERAND_(1, a), ARENASCOPE_OPERAND_(2, b), ARENASCOPE_OPERAND_(3, c), \
			ARENASCOPE_OPERAND_(4, d)); \
	} while (0)

#else

#define ARENASCOPE_MARKER1_(role, a) do { (void)(a); } while (0)
#define ARENASCOPE_MARKER2_(role, a, b) do { (void)(a); (void)(b); } while (0)
#define ARENASCOPE_MARKER3_(role, a, b, c) do { (void)(a); (void)(b); (void)(c); } while (0)
#define ARENASCOPE_MARKER4_(role, a, b, c, d) do { (void)(a); (void)(b); (void)(c); (void)(d); } while (0)

#endif

#endif
