//! Does any direct branch land where nothing may land?
//!
//! Decodes all of the function: from its first byte to its last, and again from every branch target that this sweep
//! took for the middle of an instruction (data in the text may have led it astray). What this finds beyond the truth
//! costs a refusal; what the truth has beyond this are indirect jumps, and code that only they reach behind data.

use super::{Elsewhere, Refusal, ends_flow};
use core::ops::Range;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind};

/// Refuses when a branch of the function at `address` lands in `taken`, apart from
/// - jumps among the `moved` instructions, which move along;
/// - calls of the function's start.
pub(super) fn refuse_inside(
    address: u64,
    body: &[u8],
    taken: &Range<u64>,
    moved: &[Instruction],
) -> Result<(), Refusal> {
    for_each_instruction(address, body, |instruction| {
        let Some(target) = direct_target(instruction) else { return Ok(()) };
        if target < address || target >= taken.end {
            return Ok(());
        }
        let from = instruction.ip().wrapping_sub(address) as i64;
        let to_entry = target == address || target == taken.start;
        let is_moved = moved.iter().any(|other| other.ip() == instruction.ip());
        if is_call(instruction) {
            return match (is_moved, to_entry) {
                (false, true) => Ok(()),
                (true, _) => Err(Refusal::CallAtEntry { at: from as u64 }),
                (false, false) => Err(Refusal::BranchIntoPatch { from, to: target - address }),
            };
        }
        let to_boundary = to_entry || moved.iter().any(|other| other.ip() == target);
        match (is_moved, to_boundary, to_entry) {
            (true, true, _) => Ok(()),
            (false, _, true) => Err(Refusal::BranchToEntry { from }),
            _ => Err(Refusal::BranchIntoPatch { from, to: target - address }),
        }
    })?;
    // A call that ends the moved instructions and calls what follows it (`call 1f; 1: pop`) asks for its own address.
    for instruction in moved {
        if is_call(instruction) && direct_target(instruction) == Some(taken.end) {
            return Err(Refusal::CallAtEntry { at: instruction.ip().wrapping_sub(address) });
        }
    }
    Ok(())
}

/// Refuses when code outside the function branches behind its first instruction and into `taken`.
pub(super) fn refuse_from_elsewhere(
    address: u64,
    body: &[u8],
    part: &Elsewhere<'_>,
    taken: &Range<u64>,
) -> Result<(), Refusal> {
    let own = address..address.saturating_add(body.len() as u64);
    for_each_instruction(part.address, part.code, |instruction| match direct_target(instruction) {
        _ if own.contains(&instruction.ip()) => Ok(()),
        Some(target) if target > taken.start && target < taken.end => {
            Err(Refusal::BranchIntoPatch { from: instruction.ip().wrapping_sub(address) as i64, to: target - address })
        }
        _ => Ok(()),
    })
}

/// The target of a direct near branch, call or `xbegin`.
pub(super) fn direct_target(instruction: &Instruction) -> Option<u64> {
    (0..instruction.op_count())
        .any(|operand| {
            matches!(instruction.op_kind(operand), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
        })
        .then(|| instruction.near_branch_target())
}

/// True for calls, direct and indirect.
pub(super) fn is_call(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
}

/// Shows `look` every instruction that can be found in `code`, some perhaps twice, until it errs.
fn for_each_instruction(
    address: u64,
    code: &[u8],
    mut look: impl FnMut(&Instruction) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut seen = vec![false; code.len()];
    let mut astray = Vec::new();
    let mut instruction = Instruction::default();

    let mut offset = 0;
    while offset < code.len() && decoder.set_position(offset).is_ok() {
        decoder.set_ip(address.wrapping_add(offset as u64));
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() {
            offset += 1;
            continue;
        }
        if let Some(seen) = seen.get_mut(offset) {
            *seen = true;
        }
        look(&instruction)?;
        if let Some(target) = offset_of(direct_target(&instruction), address, code.len()) {
            astray.push(target);
        }
        offset += instruction.len().max(1);
    }
    while let Some(start) = astray.pop() {
        let mut offset = start;
        while let Some(first_time) = seen.get_mut(offset).filter(|seen| !**seen) {
            *first_time = true;
            if decoder.set_position(offset).is_err() {
                break;
            }
            decoder.set_ip(address.wrapping_add(offset as u64));
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() {
                break;
            }
            look(&instruction)?;
            if let Some(target) = offset_of(direct_target(&instruction), address, code.len()) {
                astray.push(target);
            }
            if ends_flow(&instruction) {
                break;
            }
            offset += instruction.len().max(1);
        }
    }
    Ok(())
}

/// `target` as an offset into the code at `address`, when it lies within `len` bytes.
fn offset_of(target: Option<u64>, address: u64, len: usize) -> Option<usize> {
    let offset = usize::try_from(target?.checked_sub(address)?).ok()?;
    (offset < len).then_some(offset)
}
