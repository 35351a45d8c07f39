//! Which allocators keep threads apart by themselves, asked of real compilers' code.

use crate::compile::{compile, compilers};
use crate::elf_source::ElfSource;
use arenascope_code::synchronises;
use arenascope_event::Synchronises::{self, No, Perhaps, Unknown};

const HEAD: &str = "#define _GNU_SOURCE\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <stdatomic.h>\n\
    #include <pthread.h>\n#include <sys/mman.h>\n#include <unistd.h>\n\
    typedef struct { char *base; size_t offset, capacity; pthread_mutex_t lock; void *(*more)(size_t); } t_arena;\n";

fn verdicts(function: &str) -> Vec<Synchronises> {
    let directory = tempfile::tempdir().expect("a folder");
    let source = format!(
        "{HEAD}__attribute__((noinline)) {function}\n\
         int main(void) {{ static t_arena a; return asked(&a, 8) != 0; }}\n"
    );
    let mut all = Vec::new();
    for compiler in compilers() {
        for flags in
            [&["-O0"][..], &["-O2"], &["-O2", "-fno-omit-frame-pointer", "-fstack-protector-all"], &["-Os", "-fno-plt"]]
        {
            let mut flags = flags.to_vec();
            flags.push("-pthread");
            let program = compile(directory.path(), compiler, &flags, "c", &source);
            let elf = ElfSource::open(&program);
            let start = elf.functions().into_iter().find(|(_, _, name)| *name == "asked").expect("the function").0;
            all.push(synchronises(&elf, start));
        }
    }
    all
}

fn always(function: &str, expected: Synchronises) {
    let said = verdicts(function);
    assert!(said.iter().all(|verdict| *verdict == expected), "{said:?}, not {expected:?}: {function}");
}

#[test]
fn a_plain_bump_orders_nothing() {
    always("void *asked(t_arena *a, size_t n) { void *p = a->base + a->offset; a->offset += n; return p; }", No);
}

#[test]
fn printing_mapping_and_dying_order_nothing_for_the_caller() {
    always(
        "void *asked(t_arena *a, size_t n) {\n\
         if (a->offset + n > a->capacity) { fprintf(stderr, \"out of memory\\n\"); return NULL; }\n\
         if (!a->base) { a->base = mmap(NULL, 4096, 3, 0x22, -1, 0); if (a->base == MAP_FAILED) { perror(\"mmap\"); exit(1); } }\n\
         void *p = a->base + a->offset; a->offset += n; memset(p, 0, n); usleep_not();\n\
         printf(\"alloc(%zu) %p\\n\", n, p); return p; }"
            .replace("usleep_not();", "")
            .as_str(),
        No,
    );
}

#[test]
fn a_helper_of_the_same_file_is_looked_into() {
    let helper = "void help(t_arena *a, size_t n) { a->offset += n; }\n\
        void *asked(t_arena *a, size_t n) { void *p = a->base + a->offset; help(a, n); return p; }";
    always(helper, No);
    let locked = "void help(t_arena *a, size_t n) { __atomic_fetch_add(&a->offset, n, __ATOMIC_SEQ_CST); }\n\
        void *asked(t_arena *a, size_t n) { void *p = a->base + a->offset; a->capacity--; help(a, n); return p; }";
    always(locked, Perhaps);
}

#[test]
fn locks_atomics_and_thread_local_cursors_may_keep_threads_apart() {
    for body in [
        "pthread_mutex_lock(&a->lock); void *p = a->base + a->offset; a->offset += n; pthread_mutex_unlock(&a->lock); return p;",
        "return a->base + __atomic_fetch_add(&a->offset, n, __ATOMIC_RELAXED);",
        "while (__atomic_exchange_n(&a->capacity, 1, __ATOMIC_ACQUIRE)) ; void *p = a->base + a->offset; a->offset += n; \
         __atomic_store_n(&a->capacity, 0, __ATOMIC_RELEASE); return p;",
        "static __thread char *base; static __thread size_t offset; if (!base) base = malloc(1 << 20); \
         void *p = base + offset; offset += n; a->capacity--; return p;",
        "size_t *own = pthread_getspecific(3); void *p = a->base + *own; *own += n; return p;",
        "unsigned cpu = sched_getcpu_of(); void *p = a->base + (&a->offset)[cpu]; (&a->offset)[cpu] += n; return p;",
    ] {
        let declared = "extern int sched_getcpu(void);\n#define sched_getcpu_of sched_getcpu\n";
        always(
            &format!(
                "void *asked(t_arena *a, size_t n);\n{declared}__attribute__((noinline)) void *asked(t_arena *a, size_t n) {{ {body} }}"
            ),
            Perhaps,
        );
    }
}

#[test]
fn what_cannot_be_followed_is_unknown() {
    always(
        "void *asked(t_arena *a, size_t n) { a->offset += n; void *p = a->more(n); a->capacity--; return p; }",
        Unknown,
    );
}

#[test]
fn a_function_that_changes_nothing_has_nothing_to_protect() {
    always("void *asked(t_arena *a, size_t n) { return a->base + a->offset + n; }", Unknown);
    always("void *asked(t_arena *a, size_t n) { return malloc(n + a->offset); }", Unknown);
}
