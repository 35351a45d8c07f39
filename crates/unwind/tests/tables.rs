//! The tables of real modules, row by row against gimli's own, and of damaged ones.

use arenascope_unwind::{Built, Kind, Rule, SavedFrame, Section, build};
use gimli::{BaseAddresses, CfaRule, EhFrame, LittleEndian, RegisterRule, UnwindContext, UnwindSection, X86_64};
use object::{Object, ObjectSection, ObjectSegment};
use proptest::prelude::*;

struct Module {
    bytes: Vec<u8>,
}

impl Module {
    fn read(path: &str) -> Module {
        Module { bytes: std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}")) }
    }

    fn parts(&self) -> (Vec<u8>, u64, (u64, u64)) {
        let file = object::File::parse(&*self.bytes).expect("an ELF file");
        let section = file.section_by_name(".eh_frame").expect("call frame information");
        let segments = file.segments().filter(|s| s.permissions().executable());
        let code = segments.fold((u64::MAX, 0), |(low, high), segment| {
            (low.min(segment.address()), high.max(segment.address() + segment.size()))
        });
        (section.uncompressed_data().expect("bytes").to_vec(), section.address(), code)
    }
}

/// Every module that this test process has mapped: itself (Rust), the C library, the loader, libgcc.
fn mapped_modules() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a map");
    let mut paths: Vec<String> = maps
        .lines()
        .filter(|line| line.contains(" r-xp "))
        .filter_map(|line| line.find('/').map(|at| line[at..].to_owned()))
        .collect();
    paths.sort();
    paths.dedup();
    for program in ["/usr/bin/python3", "/bin/bash", "/usr/bin/gdb"] {
        if let Ok(path) = std::fs::canonicalize(program) {
            paths.push(path.to_string_lossy().into_owned());
        }
    }
    assert!(paths.len() >= 3, "{paths:?}");
    paths
}

/// What gimli says at one address, in our words; `None` where no function is described.
fn as_gimli_says(section: &Section<'_>, code: (u64, u64), address: u64) -> Option<Rule> {
    let frames = EhFrame::new(section.bytes, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address).set_text(code.0);
    let mut context = UnwindContext::new();
    let row = frames.unwind_info_for_address(&bases, &mut context, address, EhFrame::cie_from_offset).ok()?;
    if row.register(X86_64::RA) == Some(RegisterRule::Undefined) {
        return Some(Rule::END);
    }
    let CfaRule::RegisterAndOffset { register, offset } = row.cfa() else { return Some(Rule::UNKNOWN) };
    if row.register(X86_64::RA) != Some(RegisterRule::Offset(-8)) {
        return Some(Rule::UNKNOWN);
    }
    let saved = match row.register(X86_64::RBP) {
        None | Some(RegisterRule::SameValue) => SavedFrame::Same,
        Some(RegisterRule::Offset(offset)) => SavedFrame::Below(offset.unsigned_abs()),
        _ => SavedFrame::Lost,
    };
    Some(match *register {
        X86_64::RSP => Rule::new(Kind::Stack, *offset, saved),
        X86_64::RBP => Rule::new(Kind::Frame, *offset, saved),
        _ => Rule::UNKNOWN,
    })
}

fn compare(path: &str, places: usize) -> Built {
    let module = Module::read(path);
    let (bytes, address, code) = module.parts();
    let section = Section { address, bytes: &bytes };
    let built = build(section, code).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(built.unreadable, 0, "{path}");
    assert!(built.starts.is_sorted_by(|a, b| a < b), "{path}: sorted, no place twice");
    assert!(built.rules.windows(2).all(|pair| pair[0] != pair[1]), "{path}: no rule twice in a row");
    // Both sides of borders, and places in between.
    let step = (built.starts.len() / places).max(1);
    let mut asked = 0;
    for (index, start) in built.starts.iter().enumerate().step_by(step) {
        let next = built.starts.get(index + 1).copied().unwrap_or(*start + 1);
        for offset in [*start, (*start + next) / 2, next - 1] {
            let ours = built.table().rule(u64::from(offset));
            let theirs = as_gimli_says(&section, code, code.0 + u64::from(offset));
            asked += 1;
            match (ours.kind(), theirs) {
                (Kind::Gap, None) => {}
                // Expressions that we know by their look.
                (Kind::Plt | Kind::Signal | Kind::Realigned, Some(Rule::UNKNOWN)) => {}
                (_, theirs) => assert_eq!(Some(ours), theirs, "{path} at {:#x}", code.0 + u64::from(offset)),
            }
        }
    }
    assert!(asked > 100, "{path}: {asked}");
    built
}

#[test]
fn every_rule_is_what_gimli_says_in_real_modules() {
    for path in mapped_modules() {
        compare(&path, 400);
    }
}

#[test]
fn the_c_library_has_its_signal_frame_its_end_and_its_plt() {
    let maps = mapped_modules();
    let libc = maps.iter().find(|path| path.contains("libc.so")).expect("the C library");
    let built = compare(libc, 50);
    let count = |kind: Kind| built.rules.iter().filter(|bits| Rule::from_bits(**bits).kind() == kind).count();
    assert_eq!(count(Kind::Signal), 1, "__restore_rt");
    assert!(count(Kind::End) >= 1, "clone");
    assert!(count(Kind::Plt) >= 1);
    let unknown = count(Kind::Unknown);
    assert!(unknown * 20 < built.rules.len(), "{unknown} of {} rules are unknown", built.rules.len());
}

fn sample() -> (Vec<u8>, u64, (u64, u64)) {
    Module::read("/proc/self/exe").parts()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_sections_give_errors_or_tables_in_order(
        skip in 0usize..200_000, len in 0usize..20_000, damage in prop::collection::vec((any::<u16>(), any::<u8>()), 0..40)
    ) {
        let (bytes, address, code) = sample();
        let start = skip.min(bytes.len());
        let mut part = bytes[start..(start + len).min(bytes.len())].to_vec();
        for (at, byte) in damage {
            let length = part.len().max(1);
            if let Some(place) = part.get_mut(usize::from(at) % length) {
                *place = byte;
            }
        }
        if let Ok(built) = build(Section { address: address + start as u64, bytes: &part }, code) {
            prop_assert!(built.starts.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(built.starts.len(), built.rules.len());
        }
    }
}

#[test]
fn instructions_that_all_functions_share_are_not_followed_without_end() {
    // One CIE of 60,000 bytes, and functions of 24 bytes that all begin with it.
    let mut bytes = Vec::new();
    let cie_body = 60_000u32;
    bytes.extend((cie_body + 13).to_le_bytes());
    bytes.extend([0, 0, 0, 0, 1, 0, 1, 0x78, 16]);
    bytes.resize(bytes.len() + cie_body as usize + 4 - 4 + 4, 0);
    let body = bytes.len() - 4;
    bytes.truncate(body);
    let length = (body - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    for number in 0..50_000u64 {
        let at = bytes.len() as u32 + 4;
        bytes.extend(20u32.to_le_bytes());
        bytes.extend(at.to_le_bytes());
        bytes.extend((0x1000 + number * 16).to_le_bytes());
        bytes.extend(16u64.to_le_bytes());
    }
    let outcome = build(Section { address: 0, bytes: &bytes }, (0, 1 << 30));
    assert_eq!(outcome, Err(arenascope_unwind::BuildError::TooMuchWork));
}

#[test]
fn of_two_rules_for_one_place_the_later_holds() {
    // A CIE that says "rsp + 8, the return address right below", and a function of 16 bytes whose instructions advance by nothing
    // between three offsets, in its middle too.
    let entry = |head: u32, body: &[u8]| {
        let mut body = [&head.to_le_bytes()[..], body].concat();
        body.resize(body.len().next_multiple_of(8) + 4, 0);
        [&(body.len() as u32).to_le_bytes()[..], &body].concat()
    };
    let (nothing, four, offset) = (0x40, 0x44, 0x0e);
    let mut bytes = entry(0, &[1, 0, 1, 0x78, 16, 0x0c, 7, 8, 0x90, 1]);
    let function = [&0x1000u64.to_le_bytes()[..], &16u64.to_le_bytes()].concat();
    let body =
        [&function[..], &[nothing, offset, 16, four, offset, 24, nothing, offset, 32, nothing, offset, 40]].concat();
    bytes.extend(entry(bytes.len() as u32 + 4, &body));
    let built = build(Section { address: 0, bytes: &bytes }, (0x1000, 0x2000)).expect("a table");
    let rule = |offset| Rule::new(Kind::Stack, offset, SavedFrame::Same).bits();
    assert_eq!((&built.starts[..], &built.rules[..]), (&[0, 4, 16][..], &[rule(16), rule(40), Rule::GAP.bits()][..]));
}
