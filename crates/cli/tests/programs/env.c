/* Prints what a program can see of its surroundings: environment, open descriptors, signal mask and dispositions,
 * limits, name, parent's eyes.
 * Expect: byte for byte the same with and without us (but for the shell's `_`). */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include "bump.h"

extern char **environ;

int main(int argc, char **argv)
{
	struct bump b;
	sigset_t mask;
	char name[17] = "";
	DIR *open_files = opendir("/proc/self/fd");
	struct dirent *entry;

	if (bump_init(&b, 1 << 20) != 0 || open_files == NULL)
		return 1;
	for (char **e = environ; *e != NULL; e++)
		puts(strcpy(bump_alloc(&b, strlen(*e) + 1), *e));
	printf("LD_PRELOAD %s\n", getenv("LD_PRELOAD") != NULL ? "is set" : "is not set");
	for (int i = 0; i < argc; i++)
		printf("argument %d: %s\n", i, i == 0 ? "program" : argv[i]);
	while ((entry = readdir(open_files)) != NULL)
		if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(open_files))
			printf("descriptor %s\n", entry->d_name);
	closedir(open_files);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int s = 1; s < 32; s++) {
		struct sigaction now;
		int ignored = sigaction(s, NULL, &now) == 0 && now.sa_handler == SIG_IGN;
		int fresh = now.sa_handler == SIG_DFL;
		if (sigismember(&mask, s) || ignored || !fresh)
			printf("signal %d:%s%s%s\n", s, sigismember(&mask, s) ? " blocked" : "", ignored ? " ignored" : "",
				!ignored && !fresh ? " handled" : "");
	}
	prctl(PR_GET_NAME, name);
	printf("name %s, dumpable %d\n", name, prctl(PR_GET_DUMPABLE));
	for (int r = 0; r < 16; r++) {
		struct rlimit limit;
		if (getrlimit(r, &limit) == 0)
			printf("limit %d: %llu %llu\n", r, (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
	}
	bump_destroy(&b);
	return 0;
}
