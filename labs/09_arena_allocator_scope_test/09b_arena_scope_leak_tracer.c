/* 09b: one block that nobody keeps, and one "overflow" that is announced and does not happen. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ARENA_SIZE = 256, BLOCK_SIZE = 32 };

typedef struct s_arena
{
	void	*base;
	size_t	offset;
	size_t	capacity;
}	t_arena;

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
	printf("🎯 Arena initialized at %p (%zu bytes)\n", a->base, a->capacity);
}

void	*arena_alloc(t_arena *a, size_t size)
{
	char	*block;

	if (size > a->capacity - a->offset)
	{
		fprintf(stderr, "❌ Arena out of memory at offset %zu\n", a->offset);
		return (NULL);
	}
	block = (char *)a->base + a->offset;
	a->offset += size;
	printf("✅ arena_alloc(%zu) → %p (offset now %zu)\n", size, (void *)block, a->offset);
	return (block);
}

void	arena_dump(t_arena *a)
{
	const unsigned char	*bytes = a->base;

	printf("\n📦 Arena dump (%zu used / %zu total):\n", a->offset, a->capacity);
	for (size_t i = 0; i < a->offset; i++)
		putchar(bytes[i] >= 32 && bytes[i] < 127 ? bytes[i] : '.');
	putchar('\n');
}

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
	char	*last;

	arena_init(&arena, ARENA_SIZE);
	first = arena_alloc(&arena, BLOCK_SIZE);
	second = arena_alloc(&arena, BLOCK_SIZE);
	strcpy(first, "First block ok.");
	strcpy(second, "Second block too.");

	/* Nobody keeps the result: these 32 bytes are out of reach until the arena ends. */
	arena_alloc(&arena, BLOCK_SIZE); /* LAB: dropped */
	printf("⚠️  Leaked 32 bytes — no tracking.\n");

	/* Announced as an overflow. 20 bytes of the first text stay, " 🤡 Oops!" and its NUL are 12: 20 + 12 = 32, the
	   last byte of the block and not one more. What is overwritten is the block's own text. */
	last = arena_alloc(&arena, BLOCK_SIZE);
	strcpy(last, "This will overwrite next");
	strcpy(last + 20, " 🤡 Oops!");

	arena_dump(&arena);
	arena_free(&arena);
	return (0);
}
