/* The clauses of a text, each begun at a cache line of 64 bytes although nothing asks for that. With -DMENDED they begin at
   multiples of 4, which is all that they need. Expectation: padding-waste at the line marked TOKEN, nothing when mended. */
#include "bump.h"

#include <stdio.h>
#include <string.h>

#ifdef MENDED
#define ALIGN 4
#else
#define ALIGN 64
#endif

struct token {
	unsigned length;
	char text[];
};

NOINLINE void *token_alloc(struct bump *b, size_t size)
{
	size_t at = (b->offset + ALIGN - 1) & ~(size_t)(ALIGN - 1);

	if (size > b->capacity - at)
		return NULL;
	b->offset = at + size;
	return b->base + at;
}

static const char source[] =
	"an arena gives out memory from one end of a region to the other,and takes all of it back at once,fast,"
	"which is why programs that know when a piece of work ends like it so much,but,"
	"a mistake in it is seen by no tool that watches malloc alone,so look twice,";

int main(void)
{
	unsigned clauses = 0, letters = 0;
	struct bump tokens;

	if (bump_init(&tokens, 1 << 20))
		return 1;
	for (int round = 0; round < 60; round++) {
		for (const char *word = source; *word;) {
			unsigned length = (unsigned)strcspn(word, ",");
			struct token *token = token_alloc(&tokens, sizeof *token + length + 1); /* TOKEN */

			if (!token)
				return 2;
			token->length = length;
			memcpy(token->text, word, length);
			token->text[length] = 0;
			clauses++;
			letters += token->length;
			word += length + 1;
		}
	}
	printf("%u clauses, %u letters\n", clauses, letters);
	bump_destroy(&tokens);
	return 0;
}
