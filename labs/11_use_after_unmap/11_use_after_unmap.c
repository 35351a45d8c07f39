// 📦 File: 11_use_after_unmap.c
// 🔬 Goal: Keep a pointer into an arena, unmap the arena, use the pointer

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_SIZE 4096

// Three pointers instead of base, offset and capacity.
typedef struct s_arena
{
	char	*start;
	char	*here;
	char	*end;
}	t_arena;

t_arena	arena_open(size_t size)
{
	t_arena a;

	a.start = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a.start == MAP_FAILED)
	{
		perror("mmap");
		exit(1);
	}
	a.here = a.start;
	a.end = a.start + size;
	printf("📦 Arena of %zu bytes at %p\n", size, (void *)a.start);
	return (a);
}

char	*arena_alloc(t_arena *a, size_t size)
{
	if (size > (size_t)(a->end - a->here))
	{
		fprintf(stderr, "❌ Arena out of memory!\n");
		return (NULL);
	}
	char *ptr = a->here;
	a->here += size;
	printf("✅ arena_alloc(%zu) → %p (%td bytes left)\n", size, (void *)ptr, a->end - a->here);
	return (ptr);
}

void	arena_close(t_arena *a)
{
	munmap(a->start, (size_t)(a->end - a->start));
	printf("🧹 Arena unmapped\n");
	a->start = NULL;
	a->here = NULL;
	a->end = NULL;
}

// What a parser does: all words in one arena, one of them kept in a global.
static const char	*g_last_word;

static size_t	count_words(const char *text)
{
	t_arena	arena = arena_open(ARENA_SIZE);
	size_t	words = 0;

	while (*text != '\0')
	{
		size_t length = strcspn(text, " ");
		char *word = arena_alloc(&arena, length + 1); // LAB: word
		memcpy(word, text, length);
		word[length] = '\0';
		g_last_word = word;
		words++;
		text += length + (text[length] == ' ');
	}
	arena_close(&arena); // LAB: unmapped
	return (words);
}

int	main(void)
{
	size_t words = count_words("all blocks die together");

	printf("🧠 %zu words\n", words);
	printf("🤡 and the last one is…\n");
	fflush(stdout);
	printf("%c%s\n", g_last_word[0], g_last_word + 1); // LAB: used
	return (0);
}
