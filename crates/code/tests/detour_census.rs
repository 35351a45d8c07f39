//! The planner over every function of real programs: how many it takes, what it refuses, and that each plan holds what
//! a plan promises.

use arenascope_code::detour::{MAX_RELOCATED, Refusal, Target, plan};
use iced_x86::{Code, Decoder, DecoderOptions};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use std::collections::BTreeMap;

/// Where the file is pretended to be mapped; thunks and trampolines lie below it.
const BIAS: u64 = 0x7f00_1000_0000;
const THUNK: u64 = BIAS - 0x20_0000;
const TRAMPOLINE: u64 = BIAS - 0x10_0000;

/// What became of the functions of one file.
#[derive(Default)]
struct Census {
    /// Functions of 16 bytes and more; those of them that can be patched.
    long: usize,
    long_ok: usize,
    /// Shorter ones.
    short: usize,
    short_ok: usize,
    /// Refusals of long functions by kind, with one function as an example.
    refusals: BTreeMap<String, (usize, String)>,
}

fn kind(refusal: &Refusal) -> String {
    let debug = format!("{refusal:?}");
    debug.split([' ', '{']).next().unwrap_or_default().to_string()
}

/// What every plan promises, whatever the function.
fn assert_holds(target: &Target<'_>, name: &str) -> Result<(), Refusal> {
    let detour = plan(target, THUNK, TRAMPOLINE)?;
    let at = (detour.patch_at - target.address) as usize;
    assert!(at == 0 || at == 4, "{name}");
    assert_eq!(detour.original[..], target.code[at..at + 5], "{name}");
    assert!(detour.relocated.len() <= MAX_RELOCATED, "{name}");
    let mut decoder = Decoder::with_ip(64, &detour.relocated, TRAMPOLINE, DecoderOptions::NONE);
    let instructions: Vec<_> = decoder.iter().collect();
    assert!(instructions.iter().all(|instruction| !instruction.is_invalid()), "{name}");
    let last = instructions.last().expect("a plan relocates something");
    assert!(matches!(last.code(), Code::Jmp_rel32_64 | Code::Jmp_rel8_64), "{name}");
    assert_eq!(last.near_branch_target(), detour.patch_at + detour.moved as u64, "{name}");
    Ok(())
}

/// The census of one ELF file; `None` when it cannot be read here.
fn census(path: &std::path::Path) -> Option<Census> {
    let bytes = std::fs::read(path).ok()?;
    let file = object::File::parse(bytes.as_slice()).expect("an ELF file");
    // Sizes by address: of several names for one function the longest.
    let mut functions: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    for symbol in file.symbols().chain(file.dynamic_symbols()) {
        if symbol.kind() == SymbolKind::Text && symbol.is_definition() && symbol.size() > 0 {
            let entry = functions.entry(symbol.address()).or_default();
            if entry.0 < symbol.size() {
                *entry = (symbol.size(), symbol.name().unwrap_or_default().to_string());
            }
        }
    }
    let addresses: Vec<u64> = functions.keys().copied().collect();
    let mut census = Census::default();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let data = section.data().expect("text is in the file");
        for (&address, (size, name)) in functions.range(section.address()..section.address() + section.size()) {
            let code = &data[(address - section.address()) as usize..];
            let code = &code[..code.len().min(*size as usize + 32)];
            let next = addresses.partition_point(|&other| other <= address);
            let target = Target {
                address: BIAS + address,
                code,
                size: *size,
                next_function: addresses.get(next).map(|next| BIAS + next),
            };
            let outcome = assert_holds(&target, name);
            let ok = outcome.is_ok();
            if *size < 16 {
                census.short += 1;
                census.short_ok += usize::from(ok);
                continue;
            }
            census.long += 1;
            census.long_ok += usize::from(ok);
            if let Err(refusal) = outcome {
                let entry = census.refusals.entry(kind(&refusal)).or_insert_with(|| (0, name.clone()));
                entry.0 += 1;
            }
        }
    }
    Some(census)
}

#[test]
fn nearly_every_function_of_real_programs_can_be_patched() {
    let ours = std::env::current_exe().expect("tests are files");
    let mut counted = 0;
    for (path, least) in [
        (ours.as_path(), 0.98),
        (std::path::Path::new("/usr/lib/x86_64-linux-gnu/libc.so.6"), 0.98),
        (std::path::Path::new("/usr/lib/x86_64-linux-gnu/libapr-1.so.0"), 0.98),
        (std::path::Path::new("/usr/sbin/nginx"), 0.98),
    ] {
        let Some(census) = census(path) else {
            eprintln!("{} is not installed: not counted", path.display());
            continue;
        };
        counted += census.long;
        println!(
            "{}: {} of {} functions of 16 bytes and more, {} of {} shorter ones",
            path.file_name().unwrap_or_default().to_string_lossy(),
            census.long_ok,
            census.long,
            census.short_ok,
            census.short,
        );
        for (kind, (count, name)) in &census.refusals {
            println!("  {kind} {count} ({name})");
        }
        let share = census.long_ok as f64 / census.long.max(1) as f64;
        assert!(share > least, "{}: only {share:.3}", path.display());
    }
    assert!(counted > 1000, "only {counted} functions were looked at");
}
