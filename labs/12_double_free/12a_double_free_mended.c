// 📦 File: 12a_double_free_mended.c
// 🔬 Goal: 12a again: the pointer is forgotten with the block

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 4096
#define SLOT_SIZE 32

// An arena with a memory: what is given back waits in a list, and is handed out again first.
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
	printf("📦 Arena initialized at %p (%zu bytes)\n", (void *)a->base, size);
}

void	*arena_alloc(t_arena *a, size_t size)
{
	if (a->waiting != NULL && size <= SLOT_SIZE)
	{
		t_slot *slot = a->waiting;
		a->waiting = slot->next;
		memset(slot, 0, SLOT_SIZE);
		printf("✅ arena_alloc(%zu) → %p (again)\n", size, (void *)slot);
		return (slot);
	}
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

void	arena_give_back(t_arena *a, void *block)
{
	t_slot *slot = block;

	if (slot == NULL)
		return ;
	slot->next = a->waiting;
	a->waiting = slot;
	printf("🧹 arena_give_back(%p)\n", block);
}

void	arena_free(t_arena *a)
{
	munmap(a->base, a->capacity);
	printf("🧹 Arena memory freed\n");
	a->base = NULL;
	a->waiting = NULL;
}

int	main(void)
{
	t_arena arena;

	arena_init(&arena, ARENA_SIZE);
	char *a = arena_alloc(&arena, SLOT_SIZE);
	char *b = arena_alloc(&arena, SLOT_SIZE);
	strcpy(a, "First block ok.");
	strcpy(b, "Second block too.");

	arena_give_back(&arena, a);
	a = NULL;
	printf("🧠 %s\n", b);
	arena_give_back(&arena, a);

	char *alice = arena_alloc(&arena, SLOT_SIZE);
	char *bob = arena_alloc(&arena, SLOT_SIZE);
	strcpy(alice, "I am Alice.");
	strcpy(bob, "I am Bob.");
	printf("🧠 Alice says: %s\n", alice);

	arena_free(&arena);
	return (0);
}
