//! Code that may jump into a function behind its first instruction: the compiler's `.cold` parts, and hand-written
//! neighbours that share a tail (glibc's `mempcpy` jumps to `memcpy + 3`).
//!
//! Relied on: nothing that a direct branch could use to enter is left out within [`REACH`]. Decoding 128 KiB costs a
//! millisecond, so the wide part is handed on only when its bytes hold a displacement that leads into the function's
//! first instructions; that scan takes 0.1 to 0.3 ms. Absent: the decoding itself (`arenascope_code::detour`).

use arenascope_code::detour::Elsewhere;
use arenascope_symbols::Image;
use std::ops::Range;

/// Bytes looked through on either side.
const REACH: u64 = 64 << 10;
/// Bytes on either side that are always decoded: short jumps reach 127 bytes, and are too common to scan for.
const NEAR: u64 = 160;
/// A function that begins at most this many bytes before the code to be decoded is decoded from its start.
const BACK: u64 = 4 << 10;
/// Bytes from the function's start that a patch may take: `endbr64`, four bytes of a jump, and the rest of the longest
/// instruction.
const TAKEN: u64 = 4 + 4 + 15;

/// The code around the function at `start` (address in the file) of `size` bytes, to be asked for jumps into it.
/// `bias` is added to all addresses.
pub fn of(image: &Image, bias: u64, start: u64, size: u64) -> Vec<Elsewhere<'_>> {
    let Some((text_start, text)) = image.code_section(start) else { return Vec::new() };
    let symbols = image.symbols();
    // From a symbol on, so that decoding begins with an instruction.
    let part = |range: Range<u64>| {
        let after = symbols.partition_point(|symbol| symbol.address <= range.start);
        let before = after.checked_sub(1).and_then(|at| symbols.get(at)).map(|symbol| symbol.address);
        let close = before.filter(|before| range.start.saturating_sub(*before) < BACK);
        let from = close.unwrap_or(range.start).max(text_start);
        let skip = usize::try_from(from.saturating_sub(text_start)).ok()?;
        let rest = text.get(skip..)?;
        let wanted = usize::try_from(range.end.saturating_sub(from)).ok()?;
        Some(Elsewhere { address: from.wrapping_add(bias), code: rest.get(..wanted.min(rest.len()))? })
    };
    let around = |reach: u64| start.saturating_sub(reach)..start.saturating_add(size).saturating_add(reach);
    let mut parts: Vec<Elsewhere<'_>> = part(around(NEAR)).into_iter().collect();
    let address = start.wrapping_add(bias);
    let taken = address.wrapping_add(1)..address.wrapping_add(TAKEN);
    let own = address..address.wrapping_add(size);
    parts.extend(part(around(REACH)).filter(|wide| leads_into(wide, &taken, &own)));
    parts.extend(cold_parts(image, start).filter_map(|(address, size)| {
        let code = image.code(address, usize::try_from(size).ok()?)?;
        Some(Elsewhere { address: address.wrapping_add(bias), code })
    }));
    parts
}

/// The code around the marker at `start` (address in the file) that short jumps reach it from, and the places of longer ones that may
/// lead into its middle (`far`, from [`far_jumps`]).
pub fn of_marker<'a>(image: &'a Image, bias: u64, start: u64, far: &[u64]) -> Vec<Elsewhere<'a>> {
    let Some((text_start, text)) = image.code_section(start) else { return Vec::new() };
    let symbols = image.symbols();
    let part = |center: u64| {
        let wanted = center.saturating_sub(NEAR);
        let after = symbols.partition_point(|symbol| symbol.address <= wanted);
        let before = after.checked_sub(1).and_then(|at| symbols.get(at)).map(|symbol| symbol.address);
        let close = before.filter(|before| wanted.saturating_sub(*before) < BACK);
        let from = close.unwrap_or(wanted).max(text_start);
        let rest = text.get(usize::try_from(from.saturating_sub(text_start)).ok()?..)?;
        let length = usize::try_from(center.saturating_add(NEAR).saturating_sub(from)).ok()?;
        Some(Elsewhere { address: from.wrapping_add(bias), code: rest.get(..length.min(rest.len()))? })
    };
    std::iter::once(start).chain(far.iter().copied()).filter_map(part).collect()
}

/// What may be branches with a 32-bit displacement into the middle of a marker's nop, in the sections of code that hold `markers`
/// (addresses in the file, ascending): where it ends, and which marker. One pass over each section.
pub fn far_jumps(image: &Image, markers: &[u64]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut done = 0u64;
    for &marker in markers {
        if marker < done {
            continue;
        }
        let Some((start, text)) = image.code_section(marker) else { continue };
        done = start.saturating_add(text.len() as u64);
        found.extend(branches(start, text).filter_map(|(end, target)| {
            let at = markers.partition_point(|marker| *marker < target).checked_sub(1)?;
            let nop = *markers.get(at)?;
            (target > nop && target < nop.saturating_add(5)).then_some((end, nop))
        }));
    }
    found
}

/// Start and size of the `.cold` parts of the function at `start`.
fn cold_parts(image: &Image, start: u64) -> impl Iterator<Item = (u64, u64)> {
    let symbols = image.symbols();
    let first = symbols.partition_point(|symbol| symbol.address < start);
    let here = symbols.get(first..).unwrap_or_default();
    let names: Vec<&str> =
        here.iter().take_while(|symbol| symbol.address == start).map(|symbol| &*symbol.name).collect();
    symbols.iter().filter_map(move |symbol| {
        let whole = symbol.name.find(".cold").and_then(|at| symbol.name.get(..at))?;
        names.contains(&whole).then_some((symbol.address, symbol.size))
    })
}

/// What may be direct branches and calls with a 32-bit displacement in `code` at `address`: where the displacement
/// ends, and the target. Every true one is among them, but for a
/// `call` or `jmp` that is the very first instruction.
fn branches(address: u64, code: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    code.windows(6).zip(6u64..).filter_map(move |(bytes, end)| {
        // call, jmp; jcc; xbegin
        let [before, opcode, displacement @ ..] = bytes.first_chunk::<6>()?;
        let is_branch = matches!((before, opcode), (_, 0xe8 | 0xe9) | (0x0f, 0x80..=0x8f) | (0xc7, 0xf8));
        let end = address.wrapping_add(end);
        is_branch.then(|| (end, end.wrapping_add_signed(i64::from(i32::from_le_bytes(*displacement)))))
    })
}

/// True when bytes outside `own` that may be a branch lead into `taken`.
fn leads_into(part: &Elsewhere<'_>, taken: &Range<u64>, own: &Range<u64>) -> bool {
    branches(part.address, part.code)
        .any(|(end, target)| taken.contains(&target) && !(own.start < end && end <= own.end))
}

/// True when direct branches or calls with a 32-bit displacement lead to `target` from code of its section outside
/// `own`. All are addresses in the file. O(bytes of the section).
pub fn called_from_outside(image: &Image, target: u64, own: &[Range<u64>]) -> bool {
    let Some((start, text)) = image.code_section(target) else { return false };
    branches(start, text).any(|(end, to)| to == target && !own.iter().any(|own| own.start < end && end <= own.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displacements_that_lead_into_the_first_instructions_are_seen() {
        for (code, expected) in [
            // nop; jmp to 0x1003, from 0x2000 + 6
            (&[0x90, 0xe9, 0xfd, 0xef, 0xff, 0xff][..], true),
            // je to 0x1003
            (&[0x0f, 0x84, 0xfd, 0xef, 0xff, 0xff], true),
            // jmp to 0x1000: the function's start, welcome
            (&[0x90, 0xe9, 0xfa, 0xef, 0xff, 0xff], false),
            // add eax, the same number: no branch
            (&[0x90, 0x05, 0xfd, 0xef, 0xff, 0xff], false),
            (&[0x90, 0x90, 0x90, 0x90, 0x90, 0x90], false),
            (&[0xe9, 0xfe], false),
        ] {
            let part = Elsewhere { address: 0x2000, code };
            assert_eq!(leads_into(&part, &(0x1001..0x1017), &(0x1000..0x1100)), expected, "{code:x?}");
        }
    }

    /// `f` and `g`, which jumps behind the first instruction of `f`; `between` bytes lie between them.
    fn program(folder: &std::path::Path, between: usize, target: &str) -> Image {
        let body = "sub $24, %rsp; mov %rdi, %rax; lea 8(%rax), %rax; add $24, %rsp; ret";
        let text = format!(
            ".globl f, g, _start\n.type f, @function\nf: {body}\n.size f, . - f\n.skip {between}, 0x90\n\
             .type g, @function\ng: xor %eax, %eax\njmp {target}\n.size g, . - g\n_start: ret\n"
        );
        let (source, program) = (folder.join("a.s"), folder.join("a"));
        std::fs::write(&source, text).expect("a file");
        let built = std::process::Command::new("gcc").arg("-nostdlib").arg(&source).arg("-o").arg(&program).status();
        assert!(built.expect("gcc is needed for this test").success());
        Image::open(&program).expect("a program")
    }

    #[test]
    fn neighbours_that_jump_behind_the_first_instruction_keep_a_function_unpatched() {
        use arenascope_code::detour::{Refusal, Target, plan_with};
        let folder = std::env::temp_dir().join(format!("arenascope-neighbours-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        for (between, target, refused) in [
            (16, "f+4", true),
            (100, "f+4", true),
            (1000, "f+4", true),
            (60_000, "f+4", true),
            (16, "f", false),
            (1000, "f", false),
        ] {
            let image = program(&folder, between, target);
            let f = image.find("f").first().expect("f").function;
            let bias = 0x5555_0000_0000;
            let code = image.code(f.address, f.size as usize + 32).expect("its code");
            let whole = Target { address: f.address + bias, code, size: f.size, next_function: None };
            let parts = of(&image, bias, f.address, f.size);
            let plan = plan_with(&whole, &parts, f.address + bias + 0x1000, f.address + bias + 0x1010);
            let found = matches!(plan, Err(Refusal::BranchIntoPatch { .. }));
            assert_eq!(found, refused, "{between} {target}: {plan:?}");
            let g = image.find("g").first().expect("g").function;
            let outside = called_from_outside(&image, f.address, std::slice::from_ref(&(f.address..f.end())));
            assert_eq!(outside, !refused && between >= 1000, "{between} {target}");
            assert!(!called_from_outside(&image, f.address, &[f.address..f.end(), g.address..g.end()]));
        }
        let _ = std::fs::remove_dir_all(&folder);
    }
}
