/* A fork with an arena on both sides. By the first argument
 *   private    private memory; child and parent go on allocating: note fork-private-write
 *   twice      shared memory, private cursor, both processes alive: fork-same-block, certain
 *   exited     the same, the child has ended before: a note, fork-same-block, possible
 *   siblings   the same by two children: fork-same-block, certain
 *   cursor     cursor and lock in the shared memory too: nothing
 *   reset      shared memory, private cursor, the child resets before the parent allocates: nothing
 *   scratch    three children, one after the other, use the same shared scratch memory: nothing
 *   exec       private memory, the child allocates and executes another program: nothing
 *   daemon     private memory, the parent ends: nothing
 * Exit 0. Build with -pthread. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

typedef struct {
	char *base;
	size_t offset, capacity;
	pthread_mutex_t lock;
} t_arena;

static int up[2], down[2];

NOINLINE void arena_init(t_arena *a, size_t size, int sharing)
{
	pthread_mutexattr_t attributes;

	a->base = mmap(NULL, size, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
	if (a->base == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	a->offset = 0;
	a->capacity = size;
	pthread_mutexattr_init(&attributes);
	pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&a->lock, &attributes);
}

NOINLINE void *arena_alloc(t_arena *a, size_t size)
{
	void *block;

	pthread_mutex_lock(&a->lock);
	block = a->base + a->offset;
	a->offset += size;
	pthread_mutex_unlock(&a->lock);
	return block;
}

NOINLINE void arena_reset(t_arena *a)
{
	a->offset = 0;
}

static void say(int fd)
{
	if (write(fd, "x", 1) != 1)
		_exit(3);
}

static void hear(int fd)
{
	char c;

	if (read(fd, &c, 1) != 1)
		_exit(4);
}

/* A child that allocates, says so, and waits to be let go. */
static pid_t child(t_arena *arena, const char *how)
{
	pid_t pid = fork(); /* the fork */

	if (pid != 0)
		return pid;
	strcpy(arena_alloc(arena, 64), "child"); /* the child's block */
	if (!strcmp(how, "reset"))
		arena_reset(arena);
	if (!strcmp(how, "exec"))
		execl("/bin/true", "true", (char *)0);
	say(up[1]);
	if (strcmp(how, "exited") && strcmp(how, "scratch") && strcmp(how, "daemon"))
		hear(down[0]);
	_exit(0);
}

int main(int count, char **words)
{
	const char *how = count > 1 ? words[1] : "twice";
	int is_private = !strcmp(how, "private") || !strcmp(how, "exec") || !strcmp(how, "daemon");
	t_arena own, *arena = &own;

	if (pipe(up) || pipe(down))
		return 2;
	if (!strcmp(how, "cursor"))
		arena = mmap(NULL, sizeof(own), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	arena_init(arena, 65536, is_private ? MAP_PRIVATE : MAP_SHARED);
	strcpy(arena_alloc(arena, 64), "before");
	if (!strcmp(how, "scratch") || !strcmp(how, "siblings")) {
		int children = how[1] == 'i' ? 2 : 3;
		for (int i = 0; i < children; i++) {
			child(arena, how);
			hear(up[0]);
			if (how[1] == 'c')
				wait(NULL);
			usleep(5000);
		}
		for (int i = 0; how[1] == 'i' && i < children; i++)
			say(down[1]);
	} else {
		child(arena, how);
		if (!strcmp(how, "daemon")) {
			hear(up[0]);
			return 0;
		}
		if (strcmp(how, "exec"))
			hear(up[0]);
		if (!strcmp(how, "exited") || !strcmp(how, "exec"))
			wait(NULL);
		usleep(5000); /* more than clocks of two processes can differ */
		strcpy(arena_alloc(arena, 64), "parent"); /* the parent's block */
		usleep(5000);
		if (strcmp(how, "exited") && strcmp(how, "exec"))
			say(down[1]);
	}
	while (wait(NULL) > 0)
		;
	return 0;
}
