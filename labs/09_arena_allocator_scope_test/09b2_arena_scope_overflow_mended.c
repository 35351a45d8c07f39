// 📦 File: 09b2_arena_scope_overflow_mended.c
// 🔬 Goal: 09b2 again, with a copy that knows the size of the block

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 512
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
	if (a->offset + size > a->capacity)
	{
		fprintf(stderr, "❌ Arena out of memory at offset %zu\n", a->offset);
		return (NULL);
	}
	void *ptr = (char *)a->base + a->offset;
	a->offset += size;
	return (ptr);
}

// The visual log: every byte that is not what it was.
void	arena_compare(t_arena *a, const char *before)
{
	const char *now = a->base;

	if (memcmp(before, now, a->offset) == 0)
		printf("✅ nothing changed\n");
	for (size_t i = 0; i < a->offset; i++)
	{
		if (before[i] != now[i])
			printf("   byte %zu: %02x → %02x\n", i, (unsigned char)before[i], (unsigned char)now[i]);
	}
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
	t_arena	arena;
	char	before[ARENA_SIZE];

	arena_init(&arena, ARENA_SIZE);
	char *a = arena_alloc(&arena, BLOCK_SIZE);
	char *b = arena_alloc(&arena, BLOCK_SIZE); // LAB: the block
	char *c = arena_alloc(&arena, BLOCK_SIZE);
	strcpy(a, "First block ok.");
	strcpy(b, "-------------------------------");
	strcpy(c, "Third block, nobody touches me");
	printf("📦 third block: \"%s\"\n", c);

	memcpy(before, arena.base, arena.offset);

	// 31 dashes and the zero: the 32nd dash does not fit, and is left out.
	snprintf(b, BLOCK_SIZE, "%s", "--------------------------------");

	arena_compare(&arena, before);
	printf("📦 third block: \"%s\"\n", c);

	arena_free(&arena);
	return (0);
}
