// 📦 File: 13a_resize_in_place.c
// 🔬 Goal: The last block of an arena can grow and shrink where it lies

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 4096

typedef struct s_arena
{
	char	*base;
	size_t	offset;
	size_t	capacity;
}	t_arena;

void	arena_init(t_arena *a, size_t size)
{
	a->base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a->base == MAP_FAILED)
	{
		perror("mmap");
		exit(1);
	}
	a->offset = 0;
	a->capacity = size;
	printf("📦 Arena initialized at %p (%zu bytes)\n", (void *)a->base, size);
}

void	*arena_alloc(t_arena *a, size_t size)
{
	if (size > a->capacity - a->offset)
	{
		fprintf(stderr, "❌ Arena out of memory!\n");
		return (NULL);
	}
	char *ptr = a->base + a->offset;
	a->offset += size;
	printf("✅ arena_alloc(%zu) → %p (offset = %zu)\n", size, (void *)ptr, a->offset);
	return (ptr);
}

// In place when nothing lies behind the block; otherwise to a new place, and the old one is lost until the end.
void	*arena_resize(t_arena *a, void *block, size_t old_size, size_t size)
{
	char *ptr = block;

	if (ptr + old_size == a->base + a->offset && size <= a->capacity - (size_t)(ptr - a->base))
	{
		a->offset = (size_t)(ptr - a->base) + size;
		printf("✅ arena_resize(%zu → %zu) in place (offset = %zu)\n", old_size, size, a->offset);
		return (ptr);
	}
	if (size > a->capacity - a->offset)
	{
		fprintf(stderr, "❌ Arena out of memory!\n");
		return (NULL);
	}
	char *moved = a->base + a->offset;
	a->offset += size;
	memcpy(moved, ptr, old_size < size ? old_size : size);
	printf("✅ arena_resize(%zu → %zu) moved (offset = %zu)\n", old_size, size, a->offset);
	return (moved);
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
	strcpy(title, "A line that grows:");
	char *line = arena_alloc(&arena, 16);
	strcpy(line, "one");
	line = arena_resize(&arena, line, 16, 64); // LAB: grows
	strcat(line, ", two, three, four, five");
	printf("🧠 %s %s\n", title, line);

	// 28 bytes are enough: the rest goes back to the arena, and the next block begins there.
	line = arena_resize(&arena, line, 64, 28); // LAB: shrinks
	char *next = arena_alloc(&arena, 16);
	strcpy(next, "six");
	printf("🧠 %s, %s\n", line, next);

	arena_free(&arena);
	return (0);
}
