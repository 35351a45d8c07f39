//! A table of C functions, each of which uses the allocator's result or throws it away, under many compilers and flags.
//!
//! The oracle is the source: `used_…` must never be called dropped, `ignored_…` must be (or, where listed, may be
//! unknown).

use crate::compile::{compile, compilers, try_compile};
use crate::elf_source::{ElfSource, Stripped};
use crate::sites::{backtraces, calls};
use arenascope_code::{CodeSource, fate_along};
use arenascope_event::FateKind;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

/// The allocator, alone in its file, so that nobody sees into it.
const ALLOCATOR: &str = r"
char region[1 << 16]; unsigned long used_bytes; int calls;
__attribute__((noinline)) void *the_alloc(unsigned long n) {
    void *p = region + used_bytes; used_bytes += n; calls++;
    if (used_bytes > sizeof region) return 0;
    return p;
}
";

/// The table. `TICK` functions are in the same file and small, so that gcc's -fipa-ra keeps values in rax across them.
const SNIPPETS: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#ifdef SAME_FILE
static char region[1 << 16]; static unsigned long used_bytes; static volatile int alloc_calls;
static __attribute__((noinline, noclone)) void *the_alloc(unsigned long n) {
    void *p = region + used_bytes; used_bytes += n; alloc_calls++;
    if (used_bytes > sizeof region) return 0;
    return p;
}
#else
extern void *the_alloc(unsigned long n);
#endif
#define NOINLINE __attribute__((noinline))
volatile int seen; volatile double seen_d; void *kept; int flag; char *table[8]; void (*hook)(int); jmp_buf env;
struct node { struct node *next; int value; };

/* Small functions of the same file: some leave rax alone. */
static NOINLINE void tick(void) { seen = 1; }
static NOINLINE void tick_if(int x) { if (x) seen = 2; }
static NOINLINE void tick_twice(void) { tick(); tick(); }
static NOINLINE void tick_loop(int n) { for (int i = 0; i < n; i++) seen = i; }
static NOINLINE int tock(int x) { seen = x; return x + 1; }
static NOINLINE void print_it(void) { puts("it"); }
static NOINLINE void die(void) { puts("die"); exit(3); }
static NOINLINE void call_hook(int x) { if (hook) hook(x); }
NOINLINE void tick_public(void) { seen = 3; }

/* Helpers that return the result on. */
NOINLINE void *helper_return(unsigned long n) { tick(); void *p = the_alloc(n); tick(); return p; }
NOINLINE void *helper_return_direct(unsigned long n) { return the_alloc(n + 8); }
NOINLINE void *helper_return_deep(unsigned long n) { void *p = helper_return(n); seen = 9; return p; }
NOINLINE void *helper_return_if(unsigned long n) { if (n > 64) { seen = 1; return 0; } void *p = the_alloc(n); seen = 2; return p; }
NOINLINE int helper_is_ok(unsigned long n) { return the_alloc(n) != 0; }
NOINLINE void helper_void(unsigned long n) { the_alloc(n); seen = 4; }

/* Used. */
NOINLINE void used_stored_global(void) { kept = the_alloc(8); }
NOINLINE void used_stored_local_deref(void) { char *p = the_alloc(8); *p = 1; }
NOINLINE void used_after_tick(void) { char *p = the_alloc(8); tick(); *p = 1; }
NOINLINE void used_after_tick_if(int x) { char *p = the_alloc(8); tick_if(x); *p = 1; }
NOINLINE void used_after_two_ticks(void) { char *p = the_alloc(8); tick_twice(); tick(); kept = p; }
NOINLINE void used_after_loop(int n) { char *p = the_alloc(8); tick_loop(n); kept = p; }
NOINLINE void used_after_tock(int n) { char *p = the_alloc(8); int r = tock(n); p[r & 1] = 1; }
NOINLINE void used_after_public_tick(void) { char *p = the_alloc(8); tick_public(); *p = 1; }
NOINLINE void used_after_print(void) { char *p = the_alloc(8); print_it(); *p = 1; }
NOINLINE void used_after_die(int x) { char *p = the_alloc(8); if (x) die(); *p = 1; }
NOINLINE void used_after_hook(int x) { char *p = the_alloc(8); call_hook(x); *p = 1; }
NOINLINE void used_after_puts(void) { char *p = the_alloc(8); puts("x"); *p = 1; }
NOINLINE void used_on_one_side(int x) { char *p = the_alloc(8); tick(); if (x) *p = 1; else seen = 5; }
NOINLINE void used_on_rare_side(int x) { char *p = the_alloc(8); if (__builtin_expect(x == 77, 0)) { print_it(); kept = p; } seen = 5; }
NOINLINE void used_deep_in_branches(int a, int b, int c) { char *p = the_alloc(8); if (a) { if (b) seen = 1; else if (c) { tick(); *p = 2; } else seen = 2; } else seen = 3; }
NOINLINE void used_compared(void) { if (the_alloc(8)) seen = 6; }
NOINLINE void used_compared_not(void) { if (!the_alloc(8)) die(); seen = 6; }
NOINLINE int used_as_bool(void) { return the_alloc(8) != 0; }
NOINLINE int used_as_low_half(void) { return (int)(long)the_alloc(8); }
NOINLINE char used_as_byte(void) { char c = (char)(long)the_alloc(8); tick(); return c; }
NOINLINE void used_passed(void) { memset(the_alloc(8), 0, 8); }
NOINLINE void used_passed_printf(void) { printf("%p\n", the_alloc(8)); }
NOINLINE void used_passed_seventh(void) { printf("%d %d %d %d %d %d %p\n", 1, 2, 3, 4, 5, 6, the_alloc(8)); }
NOINLINE void used_strcpy(void) { strcpy(the_alloc(8), "abc"); }
NOINLINE void used_in_table(int i) { table[i & 7] = the_alloc(8); }
NOINLINE void used_as_node(struct node *head) { struct node *n = the_alloc(sizeof *n); n->next = head->next; head->next = n; n->value = 1; }
NOINLINE void used_in_loop(int n) { char *last = 0; for (int i = 0; i < n; i++) { char *p = the_alloc(8); if (last) *last = 1; last = p; } kept = last; }
NOINLINE void used_only_last_of_loop(int n) { void *p = 0; for (int i = 0; i < n; i++) p = the_alloc(8); kept = p; }
NOINLINE void used_switch(int x) { char *p = the_alloc(8); switch (x) { case 0: seen = 1; break; case 1: *p = 1; break; case 2: seen = 3; break; case 3: seen = 4; break; case 4: tick(); break; case 5: p[1] = 2; break; default: seen = 0; } }
NOINLINE void used_computed_goto(int x) { static void *to[] = { &&a, &&b, &&c }; char *p = the_alloc(8); tick(); goto *to[x]; a: seen = 1; return; b: *p = 1; return; c: seen = 3; }
NOINLINE void used_cmov(int x) { char *p = the_alloc(8); kept = x ? p : 0; }
NOINLINE void *used_returned_ternary(int x) { char *p = the_alloc(8); tick(); return x ? p : table; }
NOINLINE void used_by_arithmetic(void) { unsigned long p = (unsigned long)the_alloc(8); seen = p % 7; }
NOINLINE void used_as_double(void) { seen_d = (double)(unsigned long)the_alloc(8); }
NOINLINE void used_by_asm(void) { void *p = the_alloc(8); __asm__ volatile("xchg %%rbx, %0; xchg %%rbx, %0" : : "a"(p)); }
NOINLINE void used_by_asm_call(void) { void *p = the_alloc(8); __asm__ volatile("nop" : "+a"(p) : : "memory"); kept = p; }
NOINLINE void used_by_cmpxchg(void) { void *p = the_alloc(8); __sync_val_compare_and_swap(&kept, p, (void *)0); }
NOINLINE void used_by_xchg(void) { void *p = the_alloc(8); __atomic_exchange_n(&kept, p, 5); }
NOINLINE void used_setjmp(void) { char *volatile p = the_alloc(8); if (setjmp(env)) *p = 1; else seen = 1; }
NOINLINE void used_helper(void) { kept = helper_return(8); }
NOINLINE void used_helper_direct(void) { char *p = helper_return_direct(8); tick(); *p = 1; }
NOINLINE void used_helper_deep(void) { kept = helper_return_deep(8); }
NOINLINE void used_helper_if(unsigned long n) { char *p = helper_return_if(n); if (p) *p = 1; }
NOINLINE void used_helper_bool(void) { seen = helper_is_ok(8); }
NOINLINE void *used_tail_public(void) { char *p = the_alloc(8); tick_public(); return p; }
NOINLINE void used_volatile_local(void) { void *volatile p = the_alloc(8); (void)p; }
NOINLINE void used_offset(void) { kept = (char *)the_alloc(8) + 16; }
NOINLINE void used_float_between(double d) { char *p = the_alloc(8); seen_d = d * 3.0 / (d + 1); tick(); *p = 1; }
NOINLINE void used_alloca(int n) { char *p = the_alloc(8); char *q = __builtin_alloca(n); q[0] = 1; seen = q[0]; tick(); *p = 1; }
NOINLINE void used_vla_loop(int n, int *v) { char *p = the_alloc(8); int s = 0; for (int i = 0; i < n; i++) s += v[i]; seen = s; *p = 1; }
NOINLINE void used_big_switch_after(int x, int y) { char *p = the_alloc(8); tick_if(x); switch (y) { case 1: seen = 11; break; case 5: seen = 15; break; case 9: seen = 19; break; case 70: seen = 4; break; } kept = p; }
NOINLINE void used_recursive(int n) { char *p = the_alloc(8); if (n > 0) used_recursive(n - 1); *p = 1; }

/* Ignored. */
NOINLINE void ignored_alone(void) { the_alloc(8); }
NOINLINE void ignored_then_store(void) { the_alloc(8); seen = 1; }
NOINLINE int ignored_return_zero(void) { the_alloc(8); return 0; }
NOINLINE int ignored_return_argument(int x) { the_alloc(8); return x; }
NOINLINE void ignored_puts(void) { the_alloc(8); puts("x"); }
NOINLINE void ignored_printf(int x) { the_alloc(8); printf("%d %f\n", x, 1.5 * x); }
NOINLINE void ignored_twice(void) { the_alloc(8); the_alloc(16); seen = 1; }
NOINLINE void ignored_tick(void) { the_alloc(8); tick(); seen = 1; }
NOINLINE void ignored_tick_print(void) { the_alloc(8); tick(); print_it(); }
NOINLINE void ignored_branch(int x) { the_alloc(8); if (x) puts("a"); else puts("b"); }
NOINLINE void ignored_branch_mixed(int x) { the_alloc(8); if (x) puts("a"); seen = 2; }
NOINLINE void ignored_loop(int n) { for (int i = 0; i < n; i++) the_alloc(8); }
NOINLINE void ignored_loop_after(int n) { the_alloc(8); for (int i = 0; i < n; i++) seen = i; }
NOINLINE double ignored_double(double d) { the_alloc(8); return d + 1; }
NOINLINE void ignored_hook(int x) { the_alloc(8); if (hook) hook(x); }
NOINLINE void ignored_die(int x) { the_alloc(8); if (x) die(); puts("x"); }
NOINLINE void ignored_exit(int x) { the_alloc(8); if (x) exit(1); puts("x"); }
NOINLINE void ignored_abort(int x) { the_alloc(8); if (x) abort(); seen = 3; }
NOINLINE void ignored_cast(void) { (void)the_alloc(8); kept = 0; }
NOINLINE void ignored_memset(char *q) { the_alloc(8); memset(q, 0, 100); }
NOINLINE void ignored_helper(void) { helper_return(8); seen = 1; }
NOINLINE void ignored_helper_direct(void) { helper_return_direct(8); seen = 1; }
NOINLINE void ignored_helper_deep(void) { helper_return_deep(8); puts("x"); }
NOINLINE void ignored_helper_if(unsigned long n) { helper_return_if(n); seen = 1; }
NOINLINE void ignored_helper_void(void) { helper_void(8); seen = 1; }
NOINLINE int ignored_many_paths(int a, int b) { the_alloc(8); if (a) { if (b) return 3; puts("q"); return 4; } tick(); return b ? 5 : tock(a); }
NOINLINE void ignored_switch(int x) { the_alloc(8); switch (x) { case 0: puts("0"); break; case 1: puts("1"); break; case 2: seen = 1; break; case 3: seen = 2; break; case 4: puts("4"); break; default: seen = 7; } }
NOINLINE void ignored_recursive(int n) { the_alloc(8); if (n > 0) ignored_recursive(n - 1); puts("x"); }
NOINLINE void ignored_call_self(int n) { the_alloc(8); if (n > 0) ignored_call_self(n - 1); }
NOINLINE void ignored_vararg(char *q, int x) { the_alloc(8); sprintf(q, "%d", x); }
NOINLINE int ignored_stack_big(int x) { char b[400]; the_alloc(8); memset(b, x, sizeof b); return b[x & 255]; }
NOINLINE void ignored_exit_only(void) { the_alloc(8); exit(1); }
"#;

/// The functions of the table whose names begin with `prefix`, with their return types.
fn declared(prefix: &str) -> Vec<(String, String)> {
    SNIPPETS
        .lines()
        .filter_map(|line| line.strip_prefix("NOINLINE "))
        .filter_map(|line| line.split('(').next())
        .filter_map(|head| {
            let name = head.split([' ', '*']).next_back()?;
            let kind = head.strip_suffix(name)?.trim();
            name.starts_with(prefix).then(|| (name.to_string(), kind.to_string()))
        })
        .collect()
}

fn roots(prefix: &str) -> Vec<String> {
    declared(prefix).into_iter().map(|(name, _)| name).collect()
}

/// A `main` in its own file that calls every root, so that the callers' callers are ordinary code. What a `used_…`
/// function returns is used.
fn main_source() -> String {
    let mut declarations = String::from("extern volatile long sink;\n");
    let mut calls = String::new();
    for (name, kind) in declared("used_").iter().chain(&declared("ignored_")) {
        declarations.push_str(&format!("{kind} {name}(long);\n"));
        let keep = if kind == "void" || name.starts_with("ignored_") { "" } else { "sink = (long)" };
        calls.push_str(&format!("    if (argc > 9) {keep}{name}(argc);\n"));
    }
    format!("volatile long sink;\n{declarations}int main(int argc, char **argv) {{\n{calls}    return 0;\n}}\n")
}

/// Verdicts of all sites under one source view: root, kind, sentence.
fn verdicts(elf: &ElfSource, code: &dyn CodeSource, prefix: &str) -> Vec<(String, FateKind, String)> {
    let calls = calls(elf);
    let mut verdicts = Vec::new();
    for root in roots(prefix) {
        for mut trace in backtraces(&calls, &root, "the_alloc") {
            // The root's own caller, main.
            trace.extend(
                calls.iter().filter(|c| c.callee == root && c.caller == "main").filter_map(|c| c.return_address).next(),
            );
            if trace.is_empty() {
                continue;
            }
            let fate = fate_along(code, &trace);
            verdicts.push((root.clone(), fate.kind, fate.because));
        }
    }
    verdicts
}

/// Ignored results that may get another verdict than dropped, and why.
fn excused(root: &str, build: &str, kind: FateKind) -> Option<&'static str> {
    let by_source = match root {
        "ignored_switch" => Some("a jump through a table is not followed"),
        "ignored_exit_only" => Some("every way ends in a call that never returns"),
        "ignored_call_self" | "ignored_recursive" => Some("calls itself before overwriting"),
        // Clang aligns the stack of a callee by pushing rax. While that may be popped again, the walk goes on
        // inside the callee, and meets its jumps through registers.
        "ignored_double" if build.starts_with("clang") => Some("the next callee pushes rax"),
        "ignored_hook" if build.contains("retpoline") => Some("a thunk hides a jump"),
        _ => None,
    };
    match kind {
        FateKind::Unknown => by_source,
        // The helper does more between the call and its return.
        FateKind::Read if matches!(root, "ignored_helper" | "ignored_helper_deep") => {
            Some("the helper keeps the result in a variable before it returns it")
        }
        FateKind::Read if build.contains("-O0") && root.starts_with("ignored_helper") => {
            Some("the helper keeps the result in a variable, or spills it, before it returns it")
        }
        _ => None,
    }
}

fn each_build(mut act: impl FnMut(&str, &ElfSource)) {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let main_source = main_source();
    let extras: &[&[&str]] = &[
        &[],
        &["-fcf-protection=full"],
        &["-fno-omit-frame-pointer"],
        &["-fstack-protector-all"],
        &["-pg"],
        &["-DSAME_FILE"],
        &["-no-pie"],
        &["-fPIC", "-shared"],
        &["-fPIC", "-shared", "-fno-plt"],
        &["-fPIC", "-shared", "-fno-semantic-interposition", "-Wl,-z,now"],
        &["-fsanitize=address"],
        &["-ffunction-sections", "-fno-reorder-blocks-and-partition"],
        &["-mindirect-branch=thunk"],
        &["-mretpoline"],
        &["-flto"],
        &["-static"],
        &["-march=haswell"],
    ];
    let mut builds = 0;
    for compiler in compilers() {
        let allocator = compile(directory, compiler, &["-O1", "-fPIC", "-c"], "c", ALLOCATOR);
        let allocator = allocator.to_str().unwrap();
        let main = compile(directory, compiler, &["-O1", "-fPIC", "-c"], "c", &main_source);
        let main = main.to_str().unwrap();
        for level in ["-O0", "-O1", "-O2", "-O3", "-Os"] {
            // Everything at the two levels that differ most, the plainest sets at the others.
            let some = if matches!(level, "-O0" | "-O2") { extras.len() } else { 6 };
            for extra in &extras[..some] {
                let mut flags = vec![level];
                flags.extend_from_slice(extra);
                flags.push(main);
                if !extra.contains(&"-shared") && !extra.contains(&"-DSAME_FILE") {
                    flags.push(allocator);
                }
                // A flag that only the other compiler knows is no failure.
                let Ok(program) = try_compile(directory, compiler, &flags, "c", SNIPPETS) else {
                    continue;
                };
                builds += 1;
                let name = format!("{compiler} {}", flags[..=extra.len()].join(" "));
                act(&name, &ElfSource::open(&program));
                remove(&program);
            }
        }
    }
    assert!(builds >= 50, "only {builds} builds succeeded");
}

fn remove(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

/// One site under one build.
struct Row {
    build: String,
    root: String,
    stripped: bool,
    kind: FateKind,
    because: String,
}

/// All verdicts of all builds, made once for both tests.
fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let mut rows = Vec::new();
        each_build(|build, elf| {
            for (code, stripped) in [(elf as &dyn CodeSource, false), (&Stripped(elf), true)] {
                for prefix in ["used_", "ignored_"] {
                    for (root, kind, because) in verdicts(elf, code, prefix) {
                        let build = build.to_string();
                        rows.push(Row { build, root, stripped, kind, because });
                    }
                }
            }
        });
        rows
    })
}

#[test]
fn what_the_source_uses_is_never_called_dropped() {
    let mut wrong = Vec::new();
    let mut counts: BTreeMap<FateKind, u32> = BTreeMap::new();
    for row in rows().iter().filter(|row| row.root.starts_with("used_")) {
        *counts.entry(row.kind).or_default() += 1;
        if row.kind == FateKind::Dropped {
            wrong.push(format!("{}: {}: {}", row.build, row.root, row.because));
        }
    }
    println!("used: {counts:?}");
    assert!(wrong.is_empty(), "{} false accusations:\n{}", wrong.len(), wrong.join("\n"));
    assert!(counts[&FateKind::Read] > 1000);
}

#[test]
fn what_the_source_ignores_is_called_dropped() {
    let mut missed: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut counts: BTreeMap<FateKind, u32> = BTreeMap::new();
    let ignored = |row: &&Row| row.root.starts_with("ignored_") && !row.stripped;
    for row in rows().iter().filter(ignored) {
        *counts.entry(row.kind).or_default() += 1;
        if row.kind != FateKind::Dropped && excused(&row.root, &row.build, row.kind).is_none() {
            let text = format!("{}: {:?}: {}", row.build, row.kind, row.because);
            missed.entry(&row.root).or_default().push(text);
        }
    }
    println!("ignored: {counts:?}");
    let text: String =
        missed.iter().map(|(root, builds)| format!("{root} ({}): {}\n", builds.len(), builds.join("\n    "))).collect();
    assert!(missed.is_empty(), "{text}");
    assert!(counts[&FateKind::Dropped] > 2000);
}
