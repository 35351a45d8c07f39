//! Call frame information to a table, in our process.
//!
//! Accepts any bytes: what cannot be read is an error or a rule that says [`Kind::Unknown`], never a panic. Time is bounded by the
//! section's length, also where a forged one lets every function begin with the same long instructions. Expressions are not run but
//! known by their look: those of procedure linkage tables, of signal frames, and of functions that realign their stack.

use crate::rule::{Kind, Rule, SavedFrame};
use crate::table::Table;
use alloc::vec::Vec;
use core::fmt;
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, EndianSlice, FrameDescriptionEntry, LittleEndian, Register,
    RegisterRule, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow, X86_64,
};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;
type Row = UnwindTableRow<usize>;

/// More rules are not kept: 32 MiB of table. The largest browsers have a third of that.
const RULES: usize = 1 << 22;
/// Bytes of instructions read for each byte of the section, in all. Linkers share one CIE of some 20 bytes among functions of as
/// many: 2 is usual.
const WORK: u64 = 8;

/// A `.eh_frame` section.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    /// Where it is in the file's addresses.
    pub address: u64,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Why there is no table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BuildError {
    /// The section contradicts itself.
    Malformed(gimli::Error),
    /// It asks for more work than its size explains.
    TooMuchWork,
    /// More rules than a table holds, or code of more than 4 GiB.
    TooLarge,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Malformed(error) => write!(f, "its call frame information is damaged: {error}"),
            BuildError::TooMuchWork => f.write_str("its call frame information repeats itself beyond reason"),
            BuildError::TooLarge => f.write_str("it has more call frame information than a table holds"),
        }
    }
}

impl core::error::Error for BuildError {}

/// A table and where its rules came from.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Built {
    /// Bytes from the first code byte, ascending.
    pub starts: Vec<u32>,
    /// A rule's bits for each.
    pub rules: Vec<u32>,
    /// Functions whose instructions could not be followed: unknown from their first to their last byte.
    pub unreadable: usize,
}

impl Built {
    /// The table.
    pub fn table(&self) -> Table<'_> {
        Table::new(&self.starts, &self.rules)
    }

    /// Of two rules for one place the later holds: an advance by nothing ends the one before it.
    fn push(&mut self, start: u32, rule: Rule) -> Result<(), BuildError> {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.rules.pop();
        }
        if self.rules.last() == Some(&rule.bits()) {
            return Ok(());
        }
        if self.rules.len() >= RULES {
            return Err(BuildError::TooLarge);
        }
        self.starts.push(start);
        self.rules.push(rule.bits());
        Ok(())
    }
}

/// One function's rows, within `rows` of the whole.
struct Function {
    start: u32,
    end: u32,
    rows: core::ops::Range<usize>,
}

/// Makes the table of a module whose code lies in `code.0..code.1` of the file's addresses. Descriptions of code elsewhere are passed
/// over. O(section) and a sort of the functions.
///
/// # Errors
/// The section is damaged, asks for more work than its size explains, or has more rules than a table holds.
pub fn build(section: Section<'_>, code: (u64, u64)) -> Result<Built, BuildError> {
    if code.1.saturating_sub(code.0) > u64::from(u32::MAX) {
        return Err(BuildError::TooLarge);
    }
    let frames = EhFrame::new(section.bytes, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address).set_text(code.0);
    let mut context = UnwindContext::new();
    let mut work = (section.bytes.len() as u64).saturating_mul(WORK).saturating_add(4096);
    let mut rows: Vec<(u32, Rule)> = Vec::new();
    let mut functions: Vec<Function> = Vec::new();
    let mut unreadable = 0;
    let mut entries = frames.entries(&bases);
    while let Some(entry) = entries.next().map_err(BuildError::Malformed)? {
        let CieOrFde::Fde(partial) = entry else { continue };
        let function = partial.parse(EhFrame::cie_from_offset).map_err(BuildError::Malformed)?;
        let length = (function.cie().entry_len() as u64).saturating_add(function.entry_len() as u64);
        work = work.checked_sub(length).ok_or(BuildError::TooMuchWork)?;
        let (start, end) = (function.initial_address(), function.end_address());
        if start < code.0 || end > code.1 || start >= end {
            continue;
        }
        // Both are below the code's length, which fits.
        let inside = |address: u64| address.saturating_sub(code.0).min(u64::from(u32::MAX)) as u32;
        let first = rows.len();
        if follow(&frames, &bases, &mut context, &function, |at, rule| rows.push((inside(at), rule))).is_err() {
            unreadable += 1;
            rows.truncate(first);
            rows.push((inside(start), Rule::UNKNOWN));
        }
        if rows.len() > RULES {
            return Err(BuildError::TooLarge);
        }
        functions.push(Function { start: inside(start), end: inside(end), rows: first..rows.len() });
    }
    functions.sort_by_key(|function| function.start);
    let mut built = Built { unreadable, ..Built::default() };
    let mut covered = 0u32;
    for function in &functions {
        // Of two descriptions of one place the first counts.
        if function.end <= covered {
            continue;
        }
        if function.start > covered {
            built.push(covered, Rule::GAP)?;
        }
        let mine = rows.get(function.rows.clone()).unwrap_or(&[]);
        let hidden = mine.partition_point(|(at, _)| *at <= covered).saturating_sub(1);
        for (at, rule) in mine.iter().skip(hidden) {
            built.push((*at).max(covered), *rule)?;
        }
        covered = function.end;
    }
    built.push(covered, Rule::GAP)?;
    Ok(built)
}

/// Hands out each row of a function, in ascending order.
fn follow<'a>(
    frames: &EhFrame<Bytes<'a>>,
    bases: &BaseAddresses,
    context: &mut UnwindContext<usize>,
    function: &FrameDescriptionEntry<Bytes<'a>>,
    mut each: impl FnMut(u64, Rule),
) -> gimli::Result<()> {
    let signal = function.is_signal_trampoline();
    let mut last = function.initial_address();
    let mut table = function.rows(frames, bases, context)?;
    while let Some(row) = table.next_row()? {
        let at = row.start_address();
        if at >= function.end_address() || at < last {
            break;
        }
        last = at;
        each(at, rule_of(frames, row, signal));
    }
    Ok(())
}

/// `breg7 (rsp) 160; deref`, and so on: the registers in the kernel's frame, seen from the C library's return from a handler
/// (sysdeps/unix/sysv/linux/x86_64/libc_sigaction.c).
const SIGNAL_RSP: &[u8] = &[0x77, 0xa0, 0x01, 0x06];
const SIGNAL_RBP: &[u8] = &[0x77, 0xf8, 0x00];
const SIGNAL_RIP: &[u8] = &[0x77, 0xa8, 0x01];
/// `breg6 (rbp) 0`: where gcc says a realigning function keeps the caller's rbp.
const AT_RBP: &[u8] = &[0x76, 0x00];

fn rule_of(frames: &EhFrame<Bytes<'_>>, row: &Row, signal: bool) -> Rule {
    let bytes = |expression: &UnwindExpression<usize>| expression.get(frames).map_or(&[][..], |e| e.0.slice());
    let saved = row.register(X86_64::RBP);
    let back = row.register(X86_64::RA);
    let is = |rule: &Option<RegisterRule<usize>>, look: &[u8]| matches!(rule, Some(RegisterRule::Expression(e)) if bytes(e) == look);
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => Ok((*register, *offset)),
        CfaRule::Expression(expression) => Err(bytes(expression)),
    };
    match (&back, cfa) {
        (Some(RegisterRule::Undefined), _) => Rule::END,
        (_, Err(SIGNAL_RSP)) if signal && is(&saved, SIGNAL_RBP) && is(&back, SIGNAL_RIP) => Rule::SIGNAL,
        (Some(RegisterRule::Offset(-8)), Ok((register, offset))) => match register {
            X86_64::RSP => Rule::new(Kind::Stack, offset, saved_frame(&saved)),
            X86_64::RBP => Rule::new(Kind::Frame, offset, saved_frame(&saved)),
            Register(_) => Rule::UNKNOWN,
        },
        (Some(RegisterRule::Offset(-8)), Err(expression)) => match *expression {
            // breg7 8; breg16 (rip) 0; lit15; and; lit N; ge; lit3; shl; plus: GNU ld and lld for lazy PLT entries.
            [0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a, byte @ 0x30..=0x3f, 0x2a, 0x33, 0x24, 0x22] => {
                Rule::new(Kind::Plt, i64::from(byte - 0x30) * 8, saved_frame(&saved))
            }
            // breg6 N; deref.
            [0x76, byte @ 0..=0x7f, 0x06] if is(&saved, AT_RBP) => {
                let offset = i64::from(byte) - if byte & 0x40 == 0 { 0 } else { 0x80 };
                Rule::new(Kind::Realigned, offset, SavedFrame::Same)
            }
            _ => Rule::UNKNOWN,
        },
        _ => Rule::UNKNOWN,
    }
}

fn saved_frame(rule: &Option<RegisterRule<usize>>) -> SavedFrame {
    match rule {
        // A register that no instruction names is kept: rbp is callee-saved (System V ABI AMD64, figure 3.4).
        None | Some(RegisterRule::SameValue) => SavedFrame::Same,
        Some(RegisterRule::Offset(offset)) if *offset < 0 => SavedFrame::Below(offset.unsigned_abs()),
        _ => SavedFrame::Lost,
    }
}
