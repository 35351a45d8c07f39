// 📦 File: 20a_lifetime_inversion.c
// 🔬 Goal: A block of an outer scope points into an inner one, which ends first

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_SIZE 4096u

typedef struct s_arena
{
	char			*base;
	unsigned int	offset;
	unsigned int	capacity;
}	t_arena;

static char memory[ARENA_SIZE];

void	arena_init(t_arena *a, char *base, unsigned int size)
{
	a->base = base;
	a->offset = 0;
	a->capacity = size;
	printf("📦 Arena initialized (%u bytes)\n", size);
}

void	*arena_alloc(t_arena *a, unsigned int size)
{
	if (size > a->capacity - a->offset)
		return (NULL);
	char *ptr = a->base + a->offset;
	a->offset += size;
	memset(ptr, 0, size);
	printf("✅ arena_alloc(%u) (offset = %u)\n", size, a->offset);
	return (ptr);
}

typedef unsigned int	t_mark;

t_mark	arena_mark(t_arena *a)
{
	return (a->offset);
}

void	arena_rewind(t_arena *a, t_mark mark)
{
	a->offset = mark;
}

typedef struct s_counter
{
	long	hits;
	char	name[24];
}	t_counter;

typedef struct s_session
{
	long		number;
	t_counter	*counter;
}	t_session;

t_counter	*counter_new(t_arena *arena, const char *name)
{
	t_counter	*counter = arena_alloc(arena, sizeof(*counter)); // LAB: the inner block
	counter->hits = 0;
	snprintf(counter->name, sizeof(counter->name), "%s", name);
	return (counter);
}

int	main(void)
{
	t_arena		arena;

	arena_init(&arena, memory, sizeof(memory));
	t_session *session = arena_alloc(&arena, sizeof(*session)); // LAB: the outer block
	session->number = 7;
	t_mark request = arena_mark(&arena);
	session->counter = counter_new(&arena, "requests");
	session->counter->hits++;
	printf("🧠 session %ld: %ld %s\n", session->number, session->counter->hits, session->counter->name);
	arena_rewind(&arena, request); // LAB: the scope ends
	printf("⏪ back to %u\n", arena.offset);

	session->counter->hits = 2; // the session lives, its counter does not
	char *page = arena_alloc(&arena, 64);
	strcpy(page, "the next request's page");
	printf("🧠 session %ld: %s\n", session->number, page);
	return (0);
}
