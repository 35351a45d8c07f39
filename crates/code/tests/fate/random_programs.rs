//! Random C functions around one allocation, with the source as oracle: each knows whether it uses the result.
//!
//! Conditions read a volatile variable, so that no compiler can prove a use unreachable. The callees in the same file
//! are random too: what gcc finds out about the registers they leave alone, it uses.

use crate::compile::{compile, compilers};
use crate::elf_source::{ElfSource, Stripped};
use crate::sites::{backtraces, calls};
use arenascope_code::{CodeSource, fate_along};
use arenascope_event::FateKind;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Marsaglia's xorshift64: the same programs in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

const TICKS: u64 = 12;

/// A statement that does not touch `p`.
fn stranger(dice: &mut Dice, text: &mut String, depth: u32) {
    match dice.below(if depth == 0 { 9 } else { 14 }) {
        0 => write!(text, "vol = {};", dice.below(100)),
        1 => write!(text, "tick{}();", dice.below(TICKS)),
        2 => write!(text, "seen = tock{}(vol);", dice.below(TICKS)),
        3 => write!(text, "tock{}({});", dice.below(TICKS), dice.below(9)),
        4 => write!(text, "fseen = fseen * {}.5;", dice.below(9)),
        5 => write!(text, "table[vol & 7]++;"),
        6 => write!(text, "if (vol == {}) die();", dice.below(99)),
        7 => write!(text, "if (hook) hook(vol);"),
        8 if depth < 2 => write!(text, "outside(\"%d\", vol);"),
        8 => write!(text, "seen = (vol == 3) + (vol != 7);"),
        9 | 10 => {
            write!(text, "if (vol > {}) {{ ", dice.below(50)).unwrap();
            stranger(dice, text, depth - 1);
            text.push_str(" } else { ");
            stranger(dice, text, depth - 1);
            write!(text, " }}")
        }
        11 => {
            text.push_str("for (int i = 0; i < vol; i++) { ");
            stranger(dice, text, depth - 1);
            write!(text, " }}")
        }
        12 => {
            text.push_str("switch (vol) { ");
            for case in 0..dice.below(7) + 1 {
                write!(text, "case {case}: ").unwrap();
                stranger(dice, text, depth - 1);
                text.push_str(" break; ");
            }
            write!(text, "}}")
        }
        _ => {
            text.push_str("do { ");
            stranger(dice, text, depth - 1);
            write!(text, " }} while (vol);")
        }
    }
    .unwrap();
}

/// A statement that uses `p`, perhaps on one way only.
fn user(dice: &mut Dice, text: &mut String, depth: u32) {
    match dice.below(if depth == 0 { 9 } else { 13 }) {
        0 => text.push_str("kept = p;"),
        1 => text.push_str("*p = 1;"),
        2 => text.push_str("lseen = (long)p;"),
        3 => text.push_str("if (p) vol = 1;"),
        4 => text.push_str("outside(\"%p\", p);"),
        5 => text.push_str("kept = vol ? p : 0;"),
        6 => text.push_str("lseen = (long)p & 0xff;"),
        7 => text.push_str("p[vol] = 3;"),
        8 => text.push_str("seen = p == kept;"),
        9 | 10 => {
            write!(text, "if (vol == {}) {{ ", dice.below(50)).unwrap();
            some(dice, text, depth - 1);
            text.push_str(" } else { ");
            stranger(dice, text, depth - 1);
            text.push_str(" }");
        }
        11 => {
            text.push_str("while (vol) { ");
            some(dice, text, depth - 1);
            text.push_str(" }");
        }
        _ => {
            text.push_str("switch (vol) { case 0: vol = 1; break; case 1: ");
            some(dice, text, depth - 1);
            text.push_str(" break; case 2: vol = 9; case 3: vol = 8; break; case 4: seen = 1; }");
        }
    }
}

/// Strangers around one use.
fn some(dice: &mut Dice, text: &mut String, depth: u32) {
    for _ in 0..dice.below(3) {
        stranger(dice, text, depth);
        text.push(' ');
    }
    user(dice, text, depth);
}

fn program(dice: &mut Dice, functions: u64) -> (String, Vec<String>) {
    let mut text = String::from(
        "extern void *the_alloc(unsigned long); extern int outside(const char *, ...); extern void exit(int);\n\
         extern volatile int vol, seen; extern volatile long lseen; extern volatile double fseen; extern char *kept;\n\
         extern int table[8]; extern void (*hook)(int);\n\
         #define N static __attribute__((noinline))\n\
         N void die(void) { outside(\"die\"); exit(1); }\n",
    );
    for i in 0..TICKS {
        // Later ticks may call earlier ones.
        let call = |dice: &mut Dice| match i {
            0 => "vol = 1;".to_string(),
            _ => format!("tick{}();", dice.below(i)),
        };
        let body = match dice.below(6) {
            0 => "vol = 3;".to_string(),
            1 => "if (vol) seen = 1;".to_string(),
            2 => call(dice),
            3 => format!("seen = 4; {} vol = 2;", call(dice)),
            4 => "table[vol & 3] = 1;".to_string(),
            _ => "for (int i = 0; i < vol; i++) seen = i;".to_string(),
        };
        writeln!(text, "N void tick{i}(void) {{ {body} }}").unwrap();
        let body = match dice.below(4) {
            0 => "return x + 1;".to_string(),
            1 => format!("{} return x;", call(dice)),
            2 => "outside(\"tock\"); return vol;".to_string(),
            _ => "seen = x; return 0;".to_string(),
        };
        writeln!(text, "N int tock{i}(int x) {{ {body} }}").unwrap();
    }
    let mut names = Vec::new();
    for i in 0..functions {
        let used = dice.below(2) == 0;
        let returns = used && dice.below(4) == 0;
        let name = format!("{}_{i}", if used { "used" } else { "ignored" });
        let mut body = String::new();
        for _ in 0..dice.below(2) {
            stranger(dice, &mut body, 1);
        }
        body.push_str(if used { " char *p = " } else { " " });
        body.push_str("the_alloc(vol); ");
        for _ in 0..dice.below(4) {
            stranger(dice, &mut body, 2);
            body.push(' ');
        }
        if returns {
            body.push_str("return p;");
        } else if used {
            some(dice, &mut body, 2);
        }
        if !returns {
            for _ in 0..dice.below(3) {
                stranger(dice, &mut body, 2);
            }
        }
        let kind = if returns { "char *" } else { "void " };
        writeln!(text, "__attribute__((noinline)) {kind}{name}(void) {{ {body} }}").unwrap();
        names.push(name);
    }
    text.push_str("void main_like(void) {\n");
    for name in &names {
        let keep = if text.contains(&format!("char *{name}(")) { "kept = " } else { "" };
        writeln!(text, "    if (vol == 4) {keep}{name}();").unwrap();
    }
    text.push_str("}\n");
    (text, names)
}

#[test]
fn random_programs_are_never_accused_of_what_they_do_not_do() {
    let rounds: u64 = std::env::var("FATE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(10);
    let flag_sets: &[&[&str]] = &[
        &["-O0"],
        &["-O1"],
        &["-O2"],
        &["-O2", "-fPIC", "-fno-semantic-interposition"],
        &["-O3", "-fomit-frame-pointer", "-march=haswell"],
        &["-Os"],
        &["-O2", "-fno-plt", "-fcf-protection=full"],
        &["-O2", "-fno-jump-tables", "-fno-inline"],
    ];
    let directory = tempfile::tempdir().unwrap();
    let mut counts: BTreeMap<(bool, FateKind), u32> = BTreeMap::new();
    let mut wrong = String::new();
    for round in 0..rounds {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (round + 1).wrapping_mul(0xd134_2543_de82_ef95));
        let (text, names) = program(&mut dice, 40);
        for compiler in compilers() {
            let set = flag_sets[usize::try_from(dice.below(flag_sets.len() as u64)).unwrap()];
            let flags = [set, &["-shared", "-fPIC", "-fvisibility=hidden"]].concat();
            let built = compile(directory.path(), compiler, &flags, "c", &text);
            let elf = ElfSource::open(&built);
            std::fs::remove_file(&built).unwrap();
            let calls = calls(&elf);
            for name in &names {
                let used = name.starts_with("used");
                for mut trace in backtraces(&calls, name, "the_alloc") {
                    trace.extend(
                        calls
                            .iter()
                            .find(|c| c.callee == *name && c.caller == "main_like")
                            .and_then(|c| c.return_address),
                    );
                    for (code, stripped) in [(&elf as &dyn CodeSource, false), (&Stripped(&elf), true)] {
                        let fate = fate_along(code, &trace);
                        *counts.entry((used, fate.kind)).or_default() += 1;
                        // Without names a jump into another function looks like the function's own code, and
                        // that one's filler `push rax` like an argument: less is found, nothing wrong is said.
                        let falsely_dropped = used && fate.kind == FateKind::Dropped;
                        let falsely_read = !used && fate.kind == FateKind::Read && !stripped;
                        if falsely_dropped || falsely_read {
                            let line = text.lines().find(|l| l.contains(&format!(" {name}(")));
                            writeln!(
                                wrong,
                                "round {round}, {compiler} {flags:?}, {name}: {:?}: {}\n    {}",
                                fate.kind,
                                fate.because,
                                line.unwrap_or("")
                            )
                            .unwrap();
                        }
                    }
                }
            }
        }
    }
    println!("(used, kind): {counts:?}");
    assert!(wrong.is_empty(), "{wrong}");
    assert!(counts[&(true, FateKind::Read)] > 100 && counts[&(false, FateKind::Dropped)] > 100);
}
