// 📦 File: 15a_offset_not_reset_mended.c
// 🔬 Goal: 15a again: the reset sets the offset back

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 4096
#define ROUNDS 6

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
	return (ptr);
}

void	arena_reset(t_arena *a)
{
	memset(a->base, 0, a->offset);
	a->offset = 0;
	printf("🧹 Arena cleared (offset = %zu)\n", a->offset);
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
	for (int i = 1; i <= ROUNDS; i++)
	{
		char *request = arena_alloc(&arena, 512); // LAB: round
		char *answer = arena_alloc(&arena, 256);
		if (request == NULL || answer == NULL)
		{
			printf("🤡 round %d: no room, and nothing in use\n", i);
			break ;
		}
		snprintf(request, 512, "request %d", i);
		snprintf(answer, 256, "answer to %s", request);
		printf("🧠 %s\n", answer);
		arena_reset(&arena); // LAB: reset
	}
	arena_free(&arena);
	return (0);
}
