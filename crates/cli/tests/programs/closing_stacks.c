/* Libraries loaded and closed in a loop, often at the same address, while other threads make watched calls. */
#define _GNU_SOURCE
#include "told_stacks.h"
#include <dlfcn.h>
#include <stdatomic.h>

static atomic_int stop;

NOINLINE static int leaf(int n) { char *p = (char *)take(&arena, 16); *p = n; STAY; return *p; }
NOINLINE static int deeper(int n) { n = n ? deeper(n - 1) + 1 : leaf(1); STAY; return n; }

static void *thread(void *argument)
{
	while (!atomic_load(&stop))
		deeper(4);
	return argument;
}

int main(int argc, char **argv)
{
	pthread_t threads[2];

	begin(argc, argv);
	arena.capacity = 1 << 30;
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, thread, NULL);
	for (int i = 0; i < 60; i++) {
		void *library = dlopen(argv[2 + i % 3], RTLD_NOW);
		int (*plugin)(int (*)(int), int);

		if (library == NULL)
			return 3;
		*(void **)&plugin = dlsym(library, "plugin");
		plugin(leaf, 3);
		plugin(leaf, 4);
		dlclose(library);
	}
	atomic_store(&stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	leaf(argc);
	leaf(argc);
	return 0;
}
