/* A server's log that lives in an arena nobody empties: a line for each request, through the whole run. With -DMENDED the arena
   is emptied when a day's lines have been written out. Arguments: milliseconds to run.
   Expectation: only-grows (a run of at least ten seconds), not when mended. */
#include "bump.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct line {
	struct line *before;
	long number;
	char text[112];
};

NOINLINE void bump_empty(struct bump *b)
{
	b->offset = 0;
}

static long elapsed_ms(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) * 1000 + (now.tv_nsec - start->tv_nsec) / 1000000;
}

int main(int argc, char **argv)
{
	long milliseconds = argc > 1 ? atol(argv[1]) : 100;
	const struct timespec a_moment = {0, 2000000};
	struct line *newest = NULL;
	struct bump lines;
	long total = 0, request = 0;
	struct timespec start;

	clock_gettime(CLOCK_MONOTONIC, &start);
	if (bump_init(&lines, 8 << 20)) /* CREATED */
		return 1;
	for (; elapsed_ms(&start) < milliseconds; request++) {
		struct line *line = bump_alloc(&lines, sizeof *line);

		if (!line)
			return 2;
		line->before = newest;
		line->number = request;
		snprintf(line->text, sizeof line->text, "GET /page/%ld 200", request);
		newest = line;
#ifdef MENDED
		if (request % 100 == 99) {
			newest = NULL;
			bump_empty(&lines);
		}
#endif
		nanosleep(&a_moment, NULL);
	}
	for (struct line *line = newest; line; line = line->before)
		total += line->number;
	/* A server does not tidy up before it is stopped. */
	printf("%s\n", total >= 0 ? "served" : "?");
	return 0;
}
