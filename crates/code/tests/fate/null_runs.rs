//! Programs whose allocator returns NULL are run until they fault; a handler inside them prints what a recorder would
//! know. The source says which faults come from that NULL.

use crate::compile::{compile, compilers};
use crate::elf_source::ElfSource;
use arenascope_code::{NullFault, NullUse, null_use};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Prints the backtrace of the refused allocation and of the fault (by frame pointers), and the registers.
const RUNTIME: &str = r#"
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>
static unsigned long *top;
static void chain(unsigned long *frame) {
    for (int i = 0; i < 12; i++) {
        if (frame >= top || frame < (unsigned long *)&frame || ((long)frame & 7)) break;
        if (!frame[1]) break;
        printf(" %lx", frame[1]);
        if ((unsigned long *)frame[0] <= frame) break;
        frame = (unsigned long *)frame[0];
    }
    printf("\n");
}
static void on_fault(int s, siginfo_t *info, void *context) {
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    static const int order[16] = { REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8, REG_R9,
        REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
    printf("pc %llx\naddress %lx\nregisters", r[REG_RIP], (long)info->si_addr);
    for (int i = 0; i < 16; i++) printf(" %llx", r[order[i]]);
    printf("\nbacktrace");
    unsigned long *frame = (unsigned long *)r[REG_RBP];
    if (frame > (unsigned long *)r[REG_RSP] - 1) chain(frame); else printf("\n");
    fflush(stdout);
    signal(SIGSEGV, SIG_DFL);
}
__attribute__((noinline, optimize("no-omit-frame-pointer"))) void *the_alloc(unsigned long n) {
    if (n >= 1000) {
        printf("returned_to");
        chain((unsigned long *)__builtin_frame_address(0));
        return 0;
    }
    return malloc(n);
}
extern void (*scenarios[])(int);
int main(int argc, char **argv) {
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
    top = (unsigned long *)__builtin_frame_address(0) + 64;
    sigaction(SIGSEGV, &action, 0);
    scenarios[atoi(argv[1])](argc);
    return 0;
}
"#;

const PRELUDE: &str = r"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
extern void *the_alloc(unsigned long);
#define NOINLINE __attribute__((noinline))
struct node { long a; struct node *next; long values[4]; };
volatile int vol; char *volatile nowhere; struct node *global; volatile long lvol;
NOINLINE void tick(void) { vol = 1; }
NOINLINE void fill(char *p, int n) { for (int i = 0; i < n; i++) p[i] = (char)n; }
NOINLINE void link_it(struct node *n) { tick(); n->next = 0; }
NOINLINE void *helper(unsigned long n) { void *p = the_alloc(n); tick(); return p; }
NOINLINE void *helper_direct(unsigned long n) { return the_alloc(n); }
NOINLINE void set(char **p) { *p = nowhere; }
";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Expected {
    /// Proven under every compiler and level.
    Proven,
    /// Proven or consistent.
    Speaks,
    /// Never proven; consistent or not.
    NotProven,
    /// Nothing may be said.
    No,
}
use Expected::{No, NotProven, Proven, Speaks};

const SCENARIOS: &[(&str, &str, Expected)] = &[
    ("plain", "char *p = the_alloc(1000); *p = 1;", Proven),
    ("field", "struct node *n = the_alloc(1000); n->next = 0;", Proven),
    ("after other calls", "char *p = the_alloc(1000); tick(); puts(\"x\"); *p = 1;", Proven),
    ("read", "long *p = the_alloc(1000); lvol = p[2];", Proven),
    ("index", "char *p = the_alloc(1000); p[vol + 3] = 1;", Proven),
    ("loop", "char *p = the_alloc(1000); for (int i = 0; i < argc + 5; i++) p[i] = 1;", Proven),
    ("one of many", "for (int i = 0; i < 5; i++) { char *p = the_alloc(i == 3 ? 1000 : 8); *p = 1; }", Proven),
    ("two live", "char *q = the_alloc(8); char *p = the_alloc(1000); *q = 1; *p = 1;", Proven),
    ("conditional", "char *p = the_alloc(1000); if (vol) puts(\"x\"); else tick(); p[1] = 1;", Proven),
    (
        "tested and used all the same",
        "char *p = the_alloc(1000); if (!p) puts(\"no memory\"); tick(); *(char *volatile)p = 1;",
        Proven,
    ),
    ("returned", "char *p = helper(1000); *p = 1;", Proven),
    ("returned directly", "char *p = helper_direct(1000); tick(); *p = 1;", Proven),
    ("own function", "fill(the_alloc(1000), argc + 1);", Proven),
    ("own function after a call", "link_it(the_alloc(1000));", Proven),
    ("offset", "char *p = the_alloc(1000); p += 16; tick(); *p = 1;", Proven),
    ("memset", "memset(the_alloc(1000), 1, 1000 + argc);", Speaks),
    ("strcpy", "strcpy(the_alloc(1000), argc > 7 ? \"a\" : \"text\");", Speaks),
    ("sprintf", "sprintf(the_alloc(1000), \"%d\", argc);", NotProven),
    ("global", "global = the_alloc(1000); tick(); global->a = 1;", Speaks),
    ("another null", "the_alloc(1000); tick(); *nowhere = 1;", No),
    ("another null, this one checked", "char *p = the_alloc(1000); if (p) *p = 1; tick(); *nowhere = 1;", No),
    ("this one replaced", "char *p = the_alloc(1000); if (!p) p = malloc(8); *p = 1; *nowhere = 1;", No),
    ("another null, this one freed", "char *p = the_alloc(1000); free(p); *nowhere = 1;", NotProven),
    ("another null, this one printed", "char *p = the_alloc(1000); printf(\"%p\\n\", p); *nowhere = 1;", NotProven),
    ("overwritten through its address", "char *p = the_alloc(1000); set(&p); *p = 1;", NotProven),
    ("wild", "char *p = the_alloc(1000); if (!p) *(volatile char *)0x414141414000 = 1;", No),
    ("null in a callee", "the_alloc(1000); fill(nowhere, argc + 1);", No),
    ("another null in memset", "the_alloc(1000); memset(nowhere, 1, 1000 + argc);", No),
];

struct Run {
    returned_to: Vec<u64>,
    pc: u64,
    address: u64,
    registers: [u64; 16],
    backtrace: Vec<u64>,
}

fn run(program: &std::path::Path, scenario: usize) -> Run {
    let output = Command::new(program).arg(scenario.to_string()).output().unwrap();
    assert_eq!(output.status.signal(), Some(11), "the scenario must fault");
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers = |word: &str| -> Vec<u64> {
        text.lines()
            .rfind(|line| line.split(' ').next() == Some(word))
            .unwrap_or_else(|| panic!("no {word} in {text}"))
            .split(' ')
            .skip(1)
            .map(|n| u64::from_str_radix(n, 16).unwrap())
            .collect()
    };
    Run {
        returned_to: numbers("returned_to"),
        pc: numbers("pc")[0],
        address: numbers("address")[0],
        registers: numbers("registers").try_into().unwrap(),
        backtrace: numbers("backtrace"),
    }
}

#[test]
fn faults_are_tied_to_the_null_they_come_from() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let runtime = compile(directory, "gcc", &["-O1", "-c", "-fno-omit-frame-pointer"], "c", RUNTIME);
    let mut source = String::from(PRELUDE);
    let mut table = String::new();
    for (number, (_, body, _)) in SCENARIOS.iter().enumerate() {
        source.push_str(&format!("NOINLINE void scenario_{number}(int argc) {{ {body} }}\n"));
        table.push_str(&format!("scenario_{number}, "));
    }
    source.push_str(&format!("void (*scenarios[])(int) = {{ {table} }};\n"));
    let mut wrong = String::new();
    let mut proven = 0;
    for compiler in compilers() {
        for flags in
            [&["-O0"][..], &["-O1", "-fno-omit-frame-pointer"], &["-O2", "-fno-omit-frame-pointer"], &["-O2"], &["-Os"]]
        {
            // Static, so that the faults inside the C library lie in the same file.
            let all = [flags, &["-static", "-no-pie", runtime.to_str().unwrap()]].concat();
            let program = compile(directory, compiler, &all, "c", &source);
            let elf = ElfSource::open(&program);
            for (number, (name, _, expected)) in SCENARIOS.iter().enumerate() {
                let run = run(&program, number);
                let fault = NullFault {
                    returned_to: &run.returned_to,
                    pc: run.pc,
                    address: run.address,
                    registers: &run.registers,
                    backtrace: &run.backtrace,
                };
                let answer = null_use(&elf, &fault);
                proven += u32::from(matches!(answer, NullUse::Proven(_)));
                // Without frame pointers the caller is guessed; and compilers make loops into memset.
                let frames = flags.contains(&"-O0") || flags.contains(&"-fno-omit-frame-pointer");
                let weaker = (name.starts_with("returned") && !frames) || matches!(*name, "loop" | "own function");
                let expected = if weaker { &Speaks } else { expected };
                let fine = match expected {
                    Proven => matches!(answer, NullUse::Proven(_)),
                    Speaks => answer != NullUse::No,
                    NotProven => !matches!(answer, NullUse::Proven(_)),
                    No => answer == NullUse::No,
                };
                if !fine {
                    wrong.push_str(&format!("{compiler} {flags:?} {name} ({expected:?}): {answer:?}\n"));
                } else if std::env::var_os("NULL_SHOW").is_some() {
                    println!("{compiler} {flags:?} {name}: {answer:?}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(proven > 50, "{proven}");
}
