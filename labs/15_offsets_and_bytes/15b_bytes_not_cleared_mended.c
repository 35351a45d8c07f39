// 📦 File: 15b_bytes_not_cleared_mended.c
// 🔬 Goal: 15b again: what was used is cleared before it is used again

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 4096
#define BLOCK_SIZE 64

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
		printf("❌ Arena out of memory at offset %zu\n", a->offset);
		return (NULL);
	}
	char *ptr = a->base + a->offset;
	a->offset += size;
	printf("✅ arena_alloc(%zu) → %p (offset = %zu)\n", size, (void *)ptr, a->offset);
	return (ptr);
}

void	arena_reset(t_arena *a)
{
	memset(a->base, 0, a->offset);
	a->offset = 0;
	printf("🧹 Arena reset\n");
}

void	arena_free(t_arena *a)
{
	munmap(a->base, a->capacity);
	printf("🧹 Arena memory freed\n");
	a->base = NULL;
	a->offset = 0;
	a->capacity = 0;
}

int	main(void)
{
	t_arena arena;

	arena_init(&arena, ARENA_SIZE);
	char *login = arena_alloc(&arena, BLOCK_SIZE); // LAB: before
	strcpy(login, "user=ada password=correct horse");
	printf("🧠 logged in\n");
	arena_reset(&arena); // LAB: reset

	// The next request: its author takes fresh memory to be empty.
	char *message = arena_alloc(&arena, BLOCK_SIZE); // LAB: after
	printf("🧠 an empty message: \"%s\"\n", message);

	arena_free(&arena);
	return (0);
}
