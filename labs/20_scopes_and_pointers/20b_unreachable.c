// 📦 File: 20b_unreachable.c
// 🔬 Goal: An arena that is never emptied keeps what nobody can reach any more

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_SIZE 16384u

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
	size = (size + 15) & ~15u;
	if (size > a->capacity - a->offset)
		return (NULL);
	char *ptr = a->base + a->offset;
	a->offset += size;
	return (ptr);
}

// Names a moment; whoever watches puts a jump there.
__attribute__((noinline)) void	arenascope_mark(const char *name)
{
	__asm__ volatile(".byte 0x0f, 0x1f, 0x44, 0x00, 0x00" : : "r"(name) : "memory");
}

typedef struct s_answer
{
	struct s_answer	*next;
	char			text[56];
}	t_answer;

static t_arena	arena;
static t_answer	*answers;

void	serve(int number)
{
	char *work = arena_alloc(&arena, 512); // LAB: nobody has it when the request is over
	snprintf(work, 512, "request %d, worked on at length", number);

	t_answer *answer = arena_alloc(&arena, sizeof(*answer));
	snprintf(answer->text, sizeof(answer->text), "answer %d (%zu letters)", number, strlen(work));
	answer->next = answers;
	answers = answer;
}

int	main(void)
{
	arena_init(&arena, memory, sizeof(memory));
	for (int number = 1; number <= 24; number++)
	{
		serve(number);
		if (number % 8 == 0)
			printf("✅ %d requests, %u bytes in use\n", number, arena.offset);
		if (number == 12)
			arenascope_mark("half of the requests");
	}
	printf("🧠 %s … ", answers->text);
	t_answer *first = answers;
	while (first->next)
		first = first->next;
	printf("%s\n", first->text);
	return (0);
}
