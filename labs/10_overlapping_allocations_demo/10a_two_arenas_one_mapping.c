// 📦 File: 10a_two_arenas_one_mapping.c
// 🔬 Goal: Two arenas carved from one mapping, the second one too early: both own the same kilobyte

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MAPPING_SIZE 8192
#define ARENA_SIZE 4096
#define BLOCK_SIZE 1024

typedef struct s_arena
{
	char	*base;
	size_t	offset;
	size_t	capacity;
}	t_arena;

void	arena_init(t_arena *a, char *memory, size_t size)
{
	a->base = memory;
	a->offset = 0;
	a->capacity = size;
	printf("📦 Arena of %zu bytes\n", size);
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

int	main(void)
{
	t_arena	names;
	t_arena	numbers;

	char *memory = mmap(NULL, MAPPING_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return (perror("mmap"), 1);
	arena_init(&names, memory, ARENA_SIZE); // LAB: first
	arena_init(&numbers, memory + 3 * BLOCK_SIZE, ARENA_SIZE); // LAB: second

	char *name[4];
	for (int i = 0; i < 4; i++)
	{
		name[i] = arena_alloc(&names, BLOCK_SIZE); // LAB: name
		snprintf(name[i], BLOCK_SIZE, "name %d", i + 1);
	}
	printf("🧠 the last name is \"%s\"\n", name[3]);

	char *number = arena_alloc(&numbers, BLOCK_SIZE); // LAB: number
	strcpy(number, "42");
	printf("🤡 the last name is \"%s\"\n", name[3]);

	munmap(memory, MAPPING_SIZE);
	printf("🧹 Both arenas freed\n");
	return (0);
}
