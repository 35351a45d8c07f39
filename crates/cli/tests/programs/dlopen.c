/* Loads a library that holds the allocator (first argument: its path), works with it, and unloads it.
 * Expect: 10 alloc events in bump_alloc of the plugin when it was there to be hooked; else the reason why not. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	int (*work)(int);

	if (library == NULL || (*(void **)&work = dlsym(library, "plugin_work")) == NULL) {
		puts("no plugin");
		return 1;
	}
	printf("%d\n", work(4) + work(6));
	dlclose(library);
	return 0;
}
