// 📦 File: 17_what_other_tools_see.c
// 🔬 Goal: Four bugs in one hand-made arena, for every tool to look at

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 4096
#define SLOT_SIZE 32

typedef struct s_slot
{
	struct s_slot	*next;
}	t_slot;

typedef struct s_arena
{
	char	*base;
	size_t	offset;
	size_t	capacity;
	t_slot	*waiting;
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
	a->waiting = NULL;
}

void	*arena_alloc(t_arena *a, size_t size)
{
	if (a->waiting != NULL && size <= SLOT_SIZE)
	{
		t_slot *slot = a->waiting;
		a->waiting = slot->next;
		memset(slot, 0, SLOT_SIZE);
		return (slot);
	}
	if (size > a->capacity - a->offset)
		return (NULL);
	char *ptr = a->base + a->offset;
	a->offset += size;
	return (ptr);
}

void	arena_give_back(t_arena *a, void *block)
{
	t_slot *slot = block;

	slot->next = a->waiting;
	a->waiting = slot;
}

void	arena_free(t_arena *a)
{
	munmap(a->base, a->capacity);
	a->base = NULL;
}

int	main(void)
{
	t_arena arena;

	arena_init(&arena, ARENA_SIZE);
	char *a = arena_alloc(&arena, SLOT_SIZE); // LAB: given back twice
	char *b = arena_alloc(&arena, SLOT_SIZE); // LAB: overflows
	char *c = arena_alloc(&arena, SLOT_SIZE);
	strcpy(a, "First block ok.");
	strcpy(c, "Third block, nobody touches me");

	// 1: nobody keeps it.
	arena_alloc(&arena, SLOT_SIZE); // LAB: dropped
	char *d = arena_alloc(&arena, SLOT_SIZE);
	strcpy(d, "Last block");

	// 2: one byte too many.
	strcpy(b, "--------------------------------"); // LAB: overflow

	// 3: used after it was given back. 4: given back again.
	arena_give_back(&arena, a); // LAB: first
	strcpy(a + 16, "still here");
	arena_give_back(&arena, a); // LAB: second

	printf("🤡 third block: \"%s\"\n", c);
	arena_free(&arena);
	printf("🧹 Arena memory freed\n");
	return (0);
}
