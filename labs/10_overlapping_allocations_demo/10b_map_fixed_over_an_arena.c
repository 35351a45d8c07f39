// 📦 File: 10b_map_fixed_over_an_arena.c
// 🔬 Goal: MAP_FIXED over a living arena: the kernel replaces its pages without a word

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096
#define ARENA_SIZE (2 * PAGE)
#define BLOCK_SIZE 3000

typedef struct s_arena
{
	void	*base;
	size_t	offset;
	size_t	capacity;
}	t_arena;

void	arena_init(t_arena *a, size_t size, void *wish, int more_flags)
{
	a->base = mmap(wish, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more_flags, -1, 0);
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
	a->offset += size;
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
	t_arena	first;
	t_arena	second;

	arena_init(&first, ARENA_SIZE, NULL, 0); // LAB: first
	char *a = arena_alloc(&first, BLOCK_SIZE);
	char *b = arena_alloc(&first, BLOCK_SIZE);
	strcpy(a, "First block ok.");
	strcpy(b + 2000, "End of the second block.");
	printf("🧠 \"%s\" \"%s\"\n", a, b + 2000);

	// "Somewhere behind the first one": where the first one's second page is.
	arena_init(&second, PAGE, (char *)first.base + PAGE, MAP_FIXED); // LAB: over
	char *c = arena_alloc(&second, 64);
	strcpy(c, "Block of the second arena.");
	printf("🤡 \"%s\" \"%s\"\n", a, b + 2000);

	arena_free(&second);
	arena_free(&first);
	return (0);
}
