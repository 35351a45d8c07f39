// 📦 File: 19_fragmentation_and_reuse.c
// 🔬 Goal: See fragmentation: free every other block, and ask for one that would fit into the sum of the holes

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 1024
#define BLOCK_SIZE 128
#define BLOCKS 8

// Holes are kept in a list, in the holes themselves.
typedef struct s_hole
{
	struct s_hole	*next;
	size_t			size;
}	t_hole;

typedef struct s_arena
{
	char	*base;
	size_t	offset;
	size_t	capacity;
	t_hole	*holes;
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
	a->holes = NULL;
	printf("📦 Arena of %zu bytes\n", size);
}

// First fit, and the whole hole: what is left of it is wasted until the block is given back.
void	*arena_alloc(t_arena *a, size_t size)
{
	for (t_hole **link = &a->holes; *link != NULL; link = &(*link)->next)
	{
		t_hole *hole = *link;
		if (hole->size >= size)
		{
			*link = hole->next;
			memset(hole, 0, hole->size);
			return (hole);
		}
	}
	if (size > a->capacity - a->offset)
		return (NULL);
	char *ptr = a->base + a->offset;
	a->offset += size;
	return (ptr);
}

void	arena_give_back(t_arena *a, void *block, size_t size)
{
	t_hole *hole = block;

	hole->next = a->holes;
	hole->size = size;
	a->holes = hole;
}

size_t	arena_free_bytes(const t_arena *a)
{
	size_t bytes = a->capacity - a->offset;

	for (const t_hole *hole = a->holes; hole != NULL; hole = hole->next)
		bytes += hole->size;
	return (bytes);
}

// One letter for 32 bytes: the block's, or a dot where nobody lives.
void	arena_draw(const t_arena *a, char *const *block)
{
	char line[ARENA_SIZE / 32 + 1];

	memset(line, '.', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	for (int i = 0; i < BLOCKS; i++)
		if (block[i] != NULL)
			memset(line + (block[i] - a->base) / 32, 'A' + i, BLOCK_SIZE / 32);
	printf("🧠 [%s] %zu bytes free\n", line, arena_free_bytes(a));
}

void	arena_free(t_arena *a)
{
	munmap(a->base, a->capacity);
	printf("🧹 Arena memory freed\n");
	a->base = NULL;
	a->holes = NULL;
}

int	main(void)
{
	t_arena	arena;
	char	*block[BLOCKS];

	arena_init(&arena, ARENA_SIZE);
	for (int i = 0; i < BLOCKS; i++)
	{
		block[i] = arena_alloc(&arena, BLOCK_SIZE);
		memset(block[i], 'a' + i, BLOCK_SIZE);
	}
	arena_draw(&arena, block);

	for (int i = 0; i < BLOCKS; i += 2)
	{
		arena_give_back(&arena, block[i], BLOCK_SIZE); // LAB: holes
		block[i] = NULL;
	}
	arena_draw(&arena, block);

	char *big = arena_alloc(&arena, 2 * BLOCK_SIZE); // LAB: refused
	printf("%s a block of %d\n", big == NULL ? "❌ no room for" : "✅", 2 * BLOCK_SIZE);

	block[0] = arena_alloc(&arena, BLOCK_SIZE); // LAB: reused
	memset(block[0], 'A', BLOCK_SIZE);
	printf("✅ a block of %d, at +%td: the hole that came last\n", BLOCK_SIZE, block[0] - arena.base);
	arena_draw(&arena, block);

	arena_free(&arena);
	return (0);
}
