//! Instructions taken from one place, written so that they do the same in another.
//!
//! Instructions that do not depend on their address are copied byte for byte (an encoder may know two encodings of
//! one instruction; we keep the program's own). The others go through iced-x86's block encoder, which widens short
//! branches, `loop` and `jrcxz`, and adjusts RIP-relative operands.

use super::branches::{direct_target, is_call};
use super::{MAX_RELOCATED, Refusal};
use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, IcedError, Instruction, InstructionBlock, MemoryOperand, OpKind, Register,
};

/// Relocates `moved`, whose bytes stand at the start of `code` and ran at `patch_at`, to `trampoline`, and lets them
/// go on at `back`. Jumps among `moved` stay among them; a jump to `entry` (before a kept `endbr64`) goes to the first.
pub(super) fn relocate(
    entry: u64,
    code: &[u8],
    moved: &[Instruction],
    patch_at: u64,
    back: u64,
    trampoline: u64,
) -> Result<Vec<u8>, Refusal> {
    // Where a branch's target is out of reach, the encoder would add an 8-byte pointer and an indirect jump. Reach is
    // a promise of the caller's, so its failure is told rather than papered over; the relocation list betrays it.
    let instructions = rewritten(entry, code, moved, patch_at, back).map_err(|_| Refusal::OutOfReach)?;
    // The block encoder knows its labels by address and takes 0 for "no address"; a branch there is nonsense anyhow.
    if instructions.iter().any(|instruction| direct_target(instruction) == Some(0)) {
        return Err(Refusal::OutOfReach);
    }
    let block = InstructionBlock::new(&instructions, trampoline);
    let result =
        BlockEncoder::encode(64, block, BlockEncoderOptions::RETURN_RELOC_INFOS).map_err(|_| Refusal::OutOfReach)?;
    if !result.reloc_infos.is_empty() || result.code_buffer.len() > MAX_RELOCATED {
        return Err(Refusal::OutOfReach);
    }
    Ok(result.code_buffer)
}

/// `moved` and the jump back, ready for the block encoder.
fn rewritten(
    entry: u64,
    code: &[u8],
    moved: &[Instruction],
    patch_at: u64,
    back: u64,
) -> Result<Vec<Instruction>, IcedError> {
    let mut out = Vec::with_capacity(moved.len() + 4);
    for instruction in moved {
        let ip = instruction.ip();
        if is_call(instruction) && instruction.next_ip() == back && !uses_stack_pointer(instruction) {
            push_return_address(&mut out, ip, back)?;
            out.push(call_as_jump(instruction)?);
        } else if let Some(target) = direct_target(instruction) {
            let mut copy = *instruction;
            if target == entry && !is_call(instruction) {
                copy.set_near_branch64(patch_at);
            }
            out.push(copy);
        } else if instruction.is_ip_rel_memory_operand() {
            out.push(*instruction);
        } else {
            let from = usize::try_from(ip.wrapping_sub(patch_at)).unwrap_or(usize::MAX);
            let bytes = code.get(from..).and_then(|rest| rest.get(..instruction.len())).unwrap_or_default();
            let mut copy = Instruction::with_declare_byte(bytes)?;
            copy.set_ip(ip);
            out.push(copy);
        }
    }
    out.push(Instruction::with_branch(Code::Jmp_rel32_64, back)?);
    Ok(out)
}

/// `push back`, in the place of the instruction at `ip`. No flag and no register changes.
fn push_return_address(out: &mut Vec<Instruction>, ip: u64, back: u64) -> Result<(), IcedError> {
    let low = back as u32 as i32;
    let mut push = Instruction::with1(Code::Pushq_imm32, low)?;
    push.set_ip(ip);
    out.push(push);
    // `push imm32` extends the sign; the upper half is stored only where that is not already right.
    if i64::from(low) as u64 != back {
        out.push(Instruction::with2(
            Code::Mov_rm32_imm32,
            MemoryOperand::with_base_displ(Register::RSP, 4),
            (back >> 32) as u32,
        )?);
    }
    Ok(())
}

/// The jump that goes where `call` would.
fn call_as_jump(call: &Instruction) -> Result<Instruction, IcedError> {
    let mut jump = match direct_target(call) {
        Some(target) => Instruction::with_branch(Code::Jmp_rel32_64, target)?,
        None => {
            let mut jump = *call;
            jump.set_code(Code::Jmp_rm64);
            jump
        }
    };
    jump.set_ip(0);
    Ok(jump)
}

/// True when a pushed word would change where the call goes. Also true for calls that are not plain 64-bit near calls,
/// which are copied as they are.
fn uses_stack_pointer(call: &Instruction) -> bool {
    match call.code() {
        Code::Call_rel32_64 => false,
        Code::Call_rm64 => match call.op0_kind() {
            OpKind::Register => call.op0_register() == Register::RSP,
            _ => call.memory_base() == Register::RSP || call.memory_index() == Register::RSP,
        },
        _ => true,
    }
}
