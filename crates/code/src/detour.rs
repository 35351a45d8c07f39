//! Where a detour may be laid: given a function's bytes, which five bytes to overwrite, and what code then stands in
//! for the instructions they covered.
//!
//! Relied on: exactly [`PATCH_LEN`] bytes change, nothing is ever planned that a direct branch can enter in the middle,
//! and everything doubtful is a [`Refusal`] that a user can read. Any bytes are accepted.
//! Absent: memory, files, symbols, pages, atomic patching. Numbers and bytes go in, numbers and bytes come out.
//!
//! ```text
//!  function            thunk (caller's business)        trampoline
//!  ┌──────────────┐    ┌─────────────────────┐         ┌─────────────────────────────┐
//!  │ jmp thunk    │ ─► │ … watch the call …  │ ─────►  │ the instructions that stood │
//!  │ (cut rest)   │    └─────────────────────┘         │ there, relocated            │
//!  │ next insn    │ ◄───────────────────────────────── │ jmp next insn               │
//!  └──────────────┘                                    └─────────────────────────────┘
//! ```
//!
//! Choices worth knowing:
//! - A leading `endbr64` is kept and the patch laid behind it when there is room; otherwise it is overwritten (Linux
//!   does not enforce indirect branch tracking in user space).
//! - A loop whose head is the function's first instruction would pass the thunk once per turn and be counted as calls:
//!   refused, unless the whole loop lies in the moved instructions (then it loops in the trampoline). Recursive *calls*
//!   of the start are calls, and are seen.
//! - A moved `call` pushes the return address it would have pushed in place, whenever that address lies behind the
//!   moved instructions (always so for `call rel32`): backtraces and unwinding see the function, not the trampoline.
//! - Targets of indirect jumps are not known; a jump table that points into a function's first five bytes is not
//!   something compilers make, and is accepted.

mod branches;
mod refusal;
mod relocation;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction};

pub use refusal::Refusal;

/// Bytes of a `jmp rel32`, all that is ever overwritten.
pub const PATCH_LEN: usize = 5;

/// An upper bound of `Detour::relocated`, bytes; one cache line, so that trampolines can stand in an array.
///
/// The longest case: two `jrcxz` of two bytes that grow to nine each, a fifteen-byte instruction at offset four
/// (or an indirect call that becomes push, store, jump: at most 5 + 8 + 15), and the jump back of five bytes.
/// A plan that would be longer is refused, so the bound holds even if this count were wrong.
pub const MAX_RELOCATED: usize = 64;

/// Length of `endbr64`.
const ENDBR64_LEN: usize = 4;

/// Functions are aligned to this by compilers at `-O2`; padding is never believed beyond it.
const FUNCTION_ALIGN: u64 = 16;

/// A function to be detoured, as it stands in the process.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Address of the function at run time.
    pub address: u64,
    /// Bytes from the function's start: at least `size`, and up to 32 bytes of what follows.
    pub code: &'a [u8],
    /// Size of the symbol, bytes; 0 when not known (then everything up to `next_function` or the end of `code` is
    /// taken for the function).
    pub size: u64,
    /// Address of the next symbol after `address`; bounds padding, and betrays a second entry inside the function.
    pub next_function: Option<u64>,
}

/// Code outside the function that may jump into it: a compiler's `.cold` part, or the text around.
#[derive(Clone, Copy, Debug)]
pub struct Elsewhere<'a> {
    /// Address at run time.
    pub address: u64,
    /// Its bytes.
    pub code: &'a [u8],
}

/// What to write where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Detour {
    /// Where to write `patch`: the function's address, or 4 more when `endbr64` is kept.
    pub patch_at: u64,
    /// A jump to the thunk.
    pub patch: [u8; PATCH_LEN],
    /// What stands at `patch_at` now; compare before writing.
    pub original: [u8; PATCH_LEN],
    /// Code to place at the trampoline; ends with a jump to `patch_at + moved`.
    pub relocated: Vec<u8>,
    /// Bytes of whole instructions that `relocated` stands in for. Below [`PATCH_LEN`] only when the function ends
    /// there and padding was overwritten.
    pub moved: usize,
}

/// Plans the detour of one function.
///
/// `thunk` is where the five-byte jump goes, `trampoline` where [`Detour::relocated`] will be placed; both must lie
/// within 2 GiB of the function, and the trampoline within 2 GiB of whatever the moved instructions refer to.
///
/// # Errors
/// A [`Refusal`] when the function cannot be patched without a doubt.
///
/// Linear in `target.size`.
pub fn plan(target: &Target<'_>, thunk: u64, trampoline: u64) -> Result<Detour, Refusal> {
    plan_with(target, &[], thunk, trampoline)
}

/// [`plan`], and also refuses when code `elsewhere` jumps among the moved instructions.
///
/// Give it the function's `.cold` part and some 64 KiB of the text on either side (under 1 ms to look through): hand-
/// written neighbours share their tails, as glibc's `mempcpy` jumps to `memcpy + 3`. Where a part overlaps the function,
/// the function's own instructions in it are passed over. A jump from elsewhere to the function's start is a tail call
/// and welcome.
///
/// # Errors
/// As [`plan`].
pub fn plan_with(
    target: &Target<'_>,
    elsewhere: &[Elsewhere<'_>],
    thunk: u64,
    trampoline: u64,
) -> Result<Detour, Refusal> {
    let extent = Extent::of(target)?;
    let at = |patch_offset| plan_at(&extent, patch_offset, elsewhere, thunk, trampoline);
    if !extent.starts_with_endbr64() {
        return at(0);
    }
    at(ENDBR64_LEN).or_else(|refusal| {
        at(0).map_err(|second| match refusal {
            // Over the `endbr64` the same loop would only look like a branch into the patch.
            Refusal::BranchToEntry { .. } => refusal,
            _ => second,
        })
    })
}

/// The nop of a marker (`nopl 0(%rax,%rax,1)`), which a jump replaces.
pub const MARKER_NOP: [u8; PATCH_LEN] = [0x0f, 0x1f, 0x44, 0x00, 0x00];

/// Plans the jump in the place of the nop at `address`, as it stands in the process. `elsewhere`: the code around it, which may not jump
/// into its middle.
///
/// # Errors
/// A [`Refusal`] when it could.
pub fn plan_marker(address: u64, elsewhere: &[Elsewhere<'_>], thunk: u64) -> Result<[u8; PATCH_LEN], Refusal> {
    let taken = address..address.saturating_add(PATCH_LEN as u64);
    for part in elsewhere {
        branches::refuse_from_elsewhere(address, &[], part, &taken)?;
    }
    jump(address, thunk).ok_or(Refusal::OutOfReach)
}

/// `jmp rel32` at `from`, for a thunk that goes on at `to`.
pub fn jump_back(from: u64, to: u64) -> Option<[u8; PATCH_LEN]> {
    jump(from, to)
}

/// The function's bytes with its borders made plain. All offsets count from the function's start.
struct Extent<'a> {
    address: u64,
    /// All bytes given, the function's and what follows.
    code: &'a [u8],
    /// One past the function's last byte, as far as known; never beyond `code`.
    end: usize,
    /// True when `end` comes from a symbol size.
    end_is_known: bool,
    /// Start of the next symbol, if it is ahead.
    next: Option<u64>,
}

impl<'a> Extent<'a> {
    fn of(target: &Target<'a>) -> Result<Extent<'a>, Refusal> {
        let have = target.code.len();
        // Address 0 is no function, and the last page of the address space holds none: nothing below wraps.
        if target.address == 0 || target.address > u64::MAX - (1 << 32) || have > 1 << 31 {
            return Err(Refusal::OutOfReach);
        }
        let next = target.next_function.and_then(|next| next.checked_sub(target.address)).filter(|&ahead| ahead > 0);
        let end_is_known = target.size > 0;
        let end = if end_is_known {
            usize::try_from(target.size)
                .ok()
                .filter(|&size| size <= have)
                .ok_or(Refusal::CodeMissing { have, needed: target.size })?
        } else {
            next.and_then(|ahead| usize::try_from(ahead).ok()).unwrap_or(have).min(have)
        };
        Ok(Extent { address: target.address, code: target.code, end, end_is_known, next })
    }

    fn body(&self) -> &'a [u8] {
        self.code.get(..self.end).unwrap_or(self.code)
    }

    fn starts_with_endbr64(&self) -> bool {
        self.body().starts_with(&[0xf3, 0x0f, 0x1e, 0xfa])
    }

    fn too_short(&self) -> Refusal {
        Refusal::TooShort { size: self.end as u64, needed: PATCH_LEN as u64 }
    }

    /// Where padding behind the function ends at the latest, given that its code ends at `code_end`.
    fn padding_limit(&self, code_end: usize) -> u64 {
        let end = if self.end_is_known { self.end } else { code_end } as u64;
        let aligned = (self.address + end).next_multiple_of(FUNCTION_ALIGN) - self.address;
        self.next.map_or(aligned, |next| next.min(aligned))
    }
}

/// The instructions that a patch at some offset displaces.
struct Moved {
    instructions: Vec<Instruction>,
    /// Bytes they take.
    len: usize,
}

fn plan_at(
    extent: &Extent<'_>,
    patch_offset: usize,
    elsewhere: &[Elsewhere<'_>],
    thunk: u64,
    trampoline: u64,
) -> Result<Detour, Refusal> {
    let moved = displaced(extent, patch_offset)?;
    let patch_at = extent.address + patch_offset as u64;
    // Nothing may land in the patch, nor in the rest of an instruction that the patch cuts.
    let taken = patch_at..patch_at + moved.len.max(PATCH_LEN) as u64;
    if let Some(next) = extent.next
        && extent.address + next < taken.end
    {
        return Err(Refusal::OtherEntry { offset: next });
    }
    branches::refuse_inside(extent.address, extent.body(), &taken, &moved.instructions)?;
    for part in elsewhere {
        branches::refuse_from_elsewhere(extent.address, extent.body(), part, &taken)?;
    }
    let patch = jump(patch_at, thunk).ok_or(Refusal::OutOfReach)?;
    let original = extent
        .code
        .get(patch_offset..)
        .and_then(|code| code.first_chunk::<PATCH_LEN>())
        .copied()
        .ok_or_else(|| extent.too_short())?;
    let relocated = relocation::relocate(
        extent.address,
        extent.code.get(patch_offset..).unwrap_or_default(),
        &moved.instructions,
        patch_at,
        patch_at + moved.len as u64,
        trampoline,
    )?;
    Ok(Detour { patch_at, patch, original, relocated, moved: moved.len })
}

/// Decodes whole instructions from `start` until the patch is covered, or until the function ends and padding covers
/// the rest.
fn displaced(extent: &Extent<'_>, start: usize) -> Result<Moved, Refusal> {
    let patch_end = start + PATCH_LEN;
    let mut decoder = Decoder::with_ip(64, extent.body(), extent.address, DecoderOptions::NONE);
    let mut offset = start;
    let mut instructions = Vec::with_capacity(PATCH_LEN);
    while offset < patch_end {
        if offset >= extent.end || decoder.set_position(offset).is_err() {
            // Either the function is short and falls through into the next, or we know nothing of its end.
            return Err(extent.too_short());
        }
        decoder.set_ip(extent.address + offset as u64);
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return Err(Refusal::Undecodable { at: offset as u64 });
        }
        if instruction.code() == Code::Int3 {
            return Err(Refusal::Breakpoint { at: offset as u64 });
        }
        offset += instruction.len();
        instructions.push(instruction);
        if ends_flow(&instruction) {
            break;
        }
    }
    if offset < patch_end {
        let inside_known = extent.end_is_known && patch_end <= extent.end;
        let room = inside_known || patch_end as u64 <= extent.padding_limit(offset);
        if !room || !is_padding(extent.code, offset, patch_end) {
            return Err(extent.too_short());
        }
    }
    Ok(Moved { instructions, len: offset - start })
}

/// True when nothing runs on behind this instruction.
fn ends_flow(instruction: &Instruction) -> bool {
    matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch | FlowControl::IndirectBranch | FlowControl::Return | FlowControl::Exception
    )
}

/// True when `code[from..to]` is made of no-operations and `int3` only; the last may reach beyond `to`.
fn is_padding(code: &[u8], from: usize, to: usize) -> bool {
    let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
    let mut offset = from;
    while offset < to {
        if decoder.set_position(offset).is_err() || !decoder.can_decode() {
            return false;
        }
        let instruction = decoder.decode();
        let idle = matches!(
            instruction.code(),
            Code::Nopw | Code::Nopd | Code::Nopq | Code::Nop_rm16 | Code::Nop_rm32 | Code::Nop_rm64 | Code::Int3
        );
        if !idle {
            return false;
        }
        offset += instruction.len();
    }
    true
}

/// `jmp rel32` at `from`, when `to` is within reach.
fn jump(from: u64, to: u64) -> Option<[u8; PATCH_LEN]> {
    let distance = to.wrapping_sub(from.wrapping_add(PATCH_LEN as u64)) as i64;
    let [a, b, c, d] = i32::try_from(distance).ok()?.to_le_bytes();
    Some([0xe9, a, b, c, d])
}
