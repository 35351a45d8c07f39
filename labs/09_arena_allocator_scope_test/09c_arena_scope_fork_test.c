// 📦 File: 09c_arena_scope_fork_test.c
// 🔬 Goal: Fork after allocating, three times: private memory; shared memory with a private cursor; both shared

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARENA_SIZE 4096
#define BLOCK_SIZE 64

typedef struct s_arena
{
	char	*base;
	size_t	offset;
	size_t	capacity;
}	t_arena;

void	arena_init(t_arena *a, size_t size, int sharing)
{
	a->base = mmap(NULL, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
	if (a->base == MAP_FAILED)
	{
		perror("mmap");
		exit(1);
	}
	a->offset = 0;
	a->capacity = size;
}

void	*arena_alloc(t_arena *a, size_t size)
{
	if (size > a->capacity - a->offset)
	{
		fprintf(stderr, "❌ Arena out of memory!\n");
		return (NULL);
	}
	void *ptr = a->base + a->offset;
	a->offset += size;
	return (ptr);
}

void	arena_free(t_arena *a)
{
	munmap(a->base, a->capacity);
	a->base = NULL;
	a->offset = 0;
	a->capacity = 0;
}

// Each process waits for the other, so that both live until the end.
static void	give_turn(int turn[2])
{
	if (write(turn[1], "", 1) != 1)
		_exit(1);
}

static void	wait_turn(int turn[2])
{
	char byte;

	if (read(turn[0], &byte, 1) != 1)
		_exit(1);
}

// Parent, child, parent, and the child once more: whose text stands where?
static void	fork_and_look(t_arena *arena)
{
	char *mine = arena_alloc(arena, BLOCK_SIZE); // LAB: before
	strcpy(mine, "parent, before the fork");

	int childs_turn[2];
	int parents_turn[2];
	if (pipe(childs_turn) != 0 || pipe(parents_turn) != 0)
	{
		perror("pipe");
		exit(1);
	}
	fflush(stdout);
	pid_t child = fork(); // LAB: fork
	if (child < 0)
	{
		perror("fork");
		exit(1);
	}
	if (child == 0)
	{
		char *block = arena_alloc(arena, BLOCK_SIZE); // LAB: child
		strcpy(block, "child");
		printf("✅ child:  block at +%td, offset %zu\n", block - arena->base, arena->offset);
		fflush(stdout);
		give_turn(parents_turn);
		wait_turn(childs_turn);
		printf("🧠 child:  its block holds \"%s\"\n", block);
		fflush(stdout);
		usleep(20 * 1000); // it has more to do with its block
		_exit(0);
	}
	wait_turn(parents_turn);
	printf("🧠 parent: offset %zu, +64 holds \"%s\"\n", arena->offset, arena->base + BLOCK_SIZE);
	char *block = arena_alloc(arena, BLOCK_SIZE); // LAB: parent
	strcpy(block, "parent");
	printf("✅ parent: block at +%td, +64 holds \"%s\"\n", block - arena->base, arena->base + BLOCK_SIZE);
	fflush(stdout);
	give_turn(childs_turn);
	waitpid(child, NULL, 0);
	arena_free(arena);
}

int	main(void)
{
	t_arena	arena;

	printf("📦 private memory, private cursor\n");
	arena_init(&arena, ARENA_SIZE, MAP_PRIVATE);
	fork_and_look(&arena);

	printf("📦 shared memory, private cursor\n");
	t_arena other;
	arena_init(&other, ARENA_SIZE, MAP_SHARED);
	fork_and_look(&other);

	printf("📦 shared memory, shared cursor\n");
	t_arena *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return (perror("mmap"), 1);
	arena_init(shared, ARENA_SIZE, MAP_SHARED);
	fork_and_look(shared);
	munmap(shared, sizeof(*shared));
	return (0);
}
