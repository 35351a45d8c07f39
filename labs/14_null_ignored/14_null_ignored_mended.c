// 📦 File: 14_null_ignored_mended.c
// 🔬 Goal: 14 again: the caller asks, and stops

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 128
#define BLOCK_SIZE 48

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
	if (a->offset + size > a->capacity)
	{
		printf("❌ Arena out of memory at offset %zu\n", a->offset);
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
	for (int i = 1; i <= 3; i++)
	{
		char *line = arena_alloc(&arena, BLOCK_SIZE); // LAB: refused
		fflush(stdout);
		if (line == NULL)
			break ;
		line[0] = (char)('0' + i); // LAB: used
		strcpy(line + 1, ". line");
		printf("🧠 %s\n", line);
	}
	arena_free(&arena);
	return (0);
}
