// 📦 File: 10c_broken_offset.c
// 🔬 Goal: An offset that moves on by too little: sizes are rounded down to 16 where they must be rounded up

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 4096
#define ALIGN 16

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
	printf("📦 Arena initialized at %p (%zu bytes)\n", a->base, size);
}

void	*arena_alloc(t_arena *a, size_t size)
{
	if (size > a->capacity - a->offset)
	{
		fprintf(stderr, "❌ Arena out of memory!\n");
		return (NULL);
	}
	void *ptr = (char *)a->base + a->offset;
	a->offset += size & ~(size_t)(ALIGN - 1); // LAB: rounded down
	printf("✅ arena_alloc(%zu) → %p (offset = %zu)\n", size, ptr, a->offset);
	return (ptr);
}

void	arena_free(t_arena *a)
{
	if (munmap(a->base, a->capacity) != 0)
		perror("munmap");
	else
		printf("🧹 Arena memory freed\n");
}

int	main(void)
{
	t_arena arena;

	arena_init(&arena, ARENA_SIZE);
	char *a = arena_alloc(&arena, 32);
	char *b = arena_alloc(&arena, 40); // LAB: under
	strcpy(a, "32 is a multiple of 16.");
	strcpy(b, "40 is none, and its last bytes are 8.");
	printf("🧠 \"%s\"\n", b);

	char *c = arena_alloc(&arena, 48); // LAB: over
	strcpy(c, "Whose bytes?");
	printf("🤡 \"%s\"\n", b);

	arena_free(&arena);
	return (0);
}
