// 📦 File: 18_marks_out_of_order.c
// 🔬 Goal: Two scopes that close in the wrong order: the second rewind brings dead bytes back to life

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 4096u

// Offsets of 32 bits are plenty here.
typedef struct s_arena
{
	char			*base;
	unsigned int	offset;
	unsigned int	capacity;
}	t_arena;

void	arena_init(t_arena *a, unsigned int size)
{
	a->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a->base == MAP_FAILED)
	{
		perror("mmap");
		exit(1);
	}
	a->offset = 0;
	a->capacity = size;
	printf("📦 Arena initialized at %p (%u bytes)\n", (void *)a->base, size);
}

void	*arena_alloc(t_arena *a, unsigned int size)
{
	if (size > a->capacity - a->offset)
	{
		printf("❌ Arena out of memory at offset %u\n", a->offset);
		return (NULL);
	}
	char *ptr = a->base + a->offset;
	a->offset += size;
	printf("✅ arena_alloc(%u) → %p (offset = %u)\n", size, (void *)ptr, a->offset);
	return (ptr);
}

typedef unsigned int	t_mark;

t_mark	arena_mark(t_arena *a)
{
	printf("📍 mark at %u\n", a->offset);
	return (a->offset);
}

void	arena_rewind(t_arena *a, t_mark mark)
{
	printf("⏪ rewind %u → %u\n", a->offset, mark);
	a->offset = mark;
}

void	arena_free(t_arena *a)
{
	munmap(a->base, a->capacity);
	printf("🧹 Arena memory freed\n");
	a->base = NULL;
	a->offset = 0;
}

int	main(void)
{
	t_arena arena;

	arena_init(&arena, ARENA_SIZE);
	char *title = arena_alloc(&arena, 32);
	strcpy(title, "outlives both scopes");

	t_mark outer = arena_mark(&arena);
	char *a = arena_alloc(&arena, 64);
	strcpy(a, "of the outer scope");
	t_mark inner = arena_mark(&arena); // LAB: inner mark
	char *b = arena_alloc(&arena, 128);
	strcpy(b, "of the inner scope");
	printf("🧠 %s, %s\n", a, b);

	arena_rewind(&arena, outer); // LAB: outer ends
	arena_rewind(&arena, inner); // LAB: out of order
	printf("🤡 %u bytes in use, %u are wanted\n", arena.offset, outer);
	char *c = arena_alloc(&arena, 16); // LAB: next block
	strcpy(c, "after both");
	printf("🧠 %s, %s, at +%td\n", title, c, c - arena.base);

	arena_free(&arena);
	return (0);
}
