/* Forbids itself system calls, and goes on allocating. Arguments: how (strict, prctl, syscall, probe), and "die" for a
   wrong access at the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct {
    char *base;
    size_t cap, off;
} Arena;

static char memory[1 << 20];

__attribute__((noinline, noclone)) void *arena_alloc(Arena *a, size_t n)
{
    n = (n + 15) & ~(size_t)15;
    if (a->off + n > a->cap)
        return NULL;
    void *p = a->base + a->off;
    a->off += n;
    return p;
}

__attribute__((noinline, noclone)) void arena_reset(Arena *a)
{
    a->off = 0;
}

__attribute__((noinline, noclone)) char *elsewhere(Arena *a)
{
    return arena_alloc(a, 48);
}

int main(int count, char **arguments)
{
    Arena arena = {memory, sizeof memory, 0};
    const char *how = count > 1 ? arguments[1] : "strict";
    long status = 0;
    /* write, exit, exit_group; everything else kills. */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    char *kept = arena_alloc(&arena, 32);
    kept[0] = 'a';
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!strcmp(how, "strict"))
        status = prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
    else if (!strcmp(how, "prctl"))
        status = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
    else if (!strcmp(how, "syscall"))
        status = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
    else {
        /* Two that fail, and leave everything as it is. */
        filter.len = 0;
        status = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == -1 && errno == EINVAL;
        status += syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 1, NULL) == -1 && errno == EINVAL;
    }
    for (int i = 0; i < 100000; i++) {
        kept = arena_alloc(&arena, 24);
        if (!kept)
            arena_reset(&arena);
        else
            kept[0] = 'b';
    }
    kept = elsewhere(&arena);
    kept[0] = 'c';
    write(1, status == 2 ? "probed\n" : status == 0 ? "walled in\n" : "failed\n", status == 2 ? 7 : 10);
    if (count > 2)
        *(volatile char *)8 = 1;
    if (!strcmp(how, "strict"))
        syscall(SYS_exit, 0);
    return 0;
}
