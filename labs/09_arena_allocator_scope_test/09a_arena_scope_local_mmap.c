/* 09a: your first arena. One mmap() call gives a region; base, offset and capacity say everything about it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ARENA_SIZE = 4096, BLOCK_SIZE = 64 };

typedef struct s_arena
{
	void	*base;		/* first byte of the region */
	size_t	offset;		/* bytes handed out so far */
	size_t	capacity;	/* bytes the region may hand out */
}	t_arena;

/* Maps `size` bytes. From here on the region is ours, and only ours. */
void	arena_init(t_arena *a, size_t size)
{
	void	*region;

	region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
	{
		perror("mmap");
		exit(1);
	}
	*a = (t_arena){.base = region, .offset = 0, .capacity = size};
	printf("📦 Arena initialized at %p (%zu bytes)\n", a->base, a->capacity);
}

/* Hands out the next `size` bytes, or NULL when they do not fit. No header, no free list: the offset moves, that is all. */
void	*arena_alloc(t_arena *a, size_t size)
{
	char	*block;

	if (size > a->capacity - a->offset)
	{
		fprintf(stderr, "❌ Arena out of memory!\n");
		return (NULL);
	}
	block = (char *)a->base + a->offset;
	a->offset += size;
	printf("✅ arena_alloc(%zu) → %p (offset = %zu)\n", size, (void *)block, a->offset);
	return (block);
}

/* Prints every byte handed out; what is not printable ASCII becomes a dot. */
void	arena_dump(t_arena *a)
{
	const unsigned char	*bytes = a->base;

	printf("🧠 Arena dump:\n");
	for (size_t i = 0; i < a->offset; i++)
		putchar(bytes[i] >= 32 && bytes[i] < 127 ? bytes[i] : '.');
	putchar('\n');
}

/* Gives the whole region back. Every block dies here, at once. */
void	arena_free(t_arena *a)
{
	if (munmap(a->base, a->capacity) == 0)
		printf("🧹 Arena memory freed\n");
	else
		perror("munmap");
	*a = (t_arena){0};
}

int	main(void)
{
	t_arena	arena;
	char	*first;
	char	*second;
	char	*third;

	arena_init(&arena, ARENA_SIZE);
	first = arena_alloc(&arena, BLOCK_SIZE);
	second = arena_alloc(&arena, BLOCK_SIZE);
	third = arena_alloc(&arena, BLOCK_SIZE);
	strcpy(first, "Hello arena");
	strcpy(second, "Scoped allocator is born");
	strcpy(third, "This is not malloc");
	arena_dump(&arena);
	arena_free(&arena);
	return (0);
}
