/* Loads a library with markers, works, closes it; and again: `marked_loader LIBRARY ROUNDS`. With `-DOWN` it has a marker itself. */
#include "../../../capi/include/arenascope-mark.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words)
{
	int round, rounds = count > 2 ? atoi(words[2]) : 1;
#ifdef OWN
	static char block[8];
	ARENASCOPE_ALLOC(block, block, sizeof block);
#endif

	for (round = 0; round < rounds; round++) {
		void *library = dlopen(words[1], RTLD_NOW);
		unsigned long (*work)(int);

		if (!library) {
			puts(dlerror());
			return 1;
		}
		*(void **)&work = dlsym(library, "plugin_work");
		printf("%lu\n", work(100));
		dlclose(library);
		printf("%s\n", dlopen(words[1], RTLD_NOW | RTLD_NOLOAD) ? "still there" : "gone");
	}
	return 0;
}
