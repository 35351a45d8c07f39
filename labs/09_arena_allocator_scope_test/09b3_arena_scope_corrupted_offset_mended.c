// 📦 File: 09b3_arena_scope_corrupted_offset_mended.c
// 🔬 Goal: 09b3 again: two blocks given back, and a bound check that cannot wrap around

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 256
#define BLOCK_SIZE 32

typedef struct s_arena
{
	void	*base;
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
	printf("🎯 Arena initialized at %p (%zu bytes)\n", a->base, size);
}

void	*arena_alloc(t_arena *a, size_t size)
{
	if (size > a->capacity - a->offset)
	{
		fprintf(stderr, "❌ Arena out of memory at offset %zu\n", a->offset);
		return (NULL);
	}
	void *ptr = (char *)a->base + a->offset;
	a->offset += size;
	printf("✅ arena_alloc(%zu) → %p (offset now %zu)\n", size, ptr, a->offset);
	return (ptr);
}

void	arena_free(t_arena *a)
{
	if (munmap(a->base, a->capacity) != 0)
		perror("munmap");
	else
		printf("🧹 Arena memory freed\n");
	a->base = NULL;
	a->offset = 0;
	a->capacity = 0;
}

int	main(void)
{
	t_arena arena;

	arena_init(&arena, ARENA_SIZE);
	char *a = arena_alloc(&arena, BLOCK_SIZE);
	char *b = arena_alloc(&arena, BLOCK_SIZE);
	strcpy(a, "First block ok.");
	strcpy(b, "Second block too.");
	printf("📦 %s %s\n", a, b);

	// Gives both blocks back by hand.
	arena.offset -= 2 * BLOCK_SIZE;
	printf("🧠 offset is now %zd\n", (ssize_t)arena.offset);

	char *c = arena_alloc(&arena, BLOCK_SIZE);
	printf("🧠 the block begins %td bytes from the arena's base\n", c - (char *)arena.base);

	arena_free(&arena);
	return (0);
}
