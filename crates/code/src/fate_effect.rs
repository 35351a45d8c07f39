//! What one instruction does to the eight bytes of the result register rax: which it reads, which it overwrites.
//!
//! Exact per byte (al, ah, ax, eax, rax), pure, no control flow: calls, jumps and returns are the walker's business.
//! Relies on iced-x86's table of used registers, and corrects it where an instruction names rax without depending on
//! its value (`xor eax,eax`, `or eax,-1`, padding) or depends on it without naming it (`syscall`).

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

/// A set of the bytes of rax, one bit per byte; bit 0 is al.
pub(crate) type Bytes = u8;

/// The whole register.
pub(crate) const ALL_BYTES: Bytes = 0xff;

/// What an instruction does to rax.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Effect {
    /// Bytes whose value the instruction depends on.
    pub(crate) reads: Bytes,
    /// Bytes that surely hold something else afterwards.
    pub(crate) overwrites: Bytes,
}

const NOTHING: Effect = Effect { reads: 0, overwrites: 0 };

/// The effect of `instruction` on rax.
pub(crate) fn effect(instruction: &Instruction, factory: &mut InstructionInfoFactory) -> Effect {
    if is_padding(instruction) {
        return NOTHING;
    }
    if enters_kernel(instruction.mnemonic()) {
        return Effect { reads: ALL_BYTES, overwrites: ALL_BYTES };
    }
    if ignores_old_value(instruction) {
        return Effect { reads: address_bytes(instruction), overwrites: written(instruction.op0_register()) };
    }
    let mut effect = NOTHING;
    for used in factory.info(instruction).used_registers() {
        let bytes = bytes_of(used.register());
        if bytes == 0 {
            continue;
        }
        match used.access() {
            OpAccess::Read | OpAccess::CondRead | OpAccess::ReadCondWrite => effect.reads |= bytes,
            OpAccess::ReadWrite => {
                effect.reads |= bytes;
                effect.overwrites |= written(used.register());
            }
            OpAccess::Write => effect.overwrites |= written(used.register()),
            // Perhaps overwritten: the old value may still be there.
            OpAccess::CondWrite | OpAccess::None | OpAccess::NoMemAccess => {}
        }
    }
    effect
}

/// The bytes of rax that `register` covers; 0 for any other register.
pub(crate) fn bytes_of(register: Register) -> Bytes {
    match register {
        Register::AL => 0x01,
        Register::AH => 0x02,
        Register::AX => 0x03,
        Register::EAX => 0x0f,
        Register::RAX => 0xff,
        _ => 0,
    }
}

/// The bytes that change when `register` is written: a 32-bit write clears the upper half.
fn written(register: Register) -> Bytes {
    match register {
        Register::EAX => ALL_BYTES,
        other => bytes_of(other),
    }
}

fn address_bytes(instruction: &Instruction) -> Bytes {
    let has_memory =
        (0..instruction.op_count()).any(|i| instruction.try_op_kind(i).is_ok_and(|kind| kind == OpKind::Memory));
    if has_memory { bytes_of(instruction.memory_base()) | bytes_of(instruction.memory_index()) } else { 0 }
}

/// Instructions that do nothing, whatever operands they carry.
fn is_padding(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        Mnemonic::Nop
        | Mnemonic::Reservednop
        | Mnemonic::Fnop
        | Mnemonic::Pause
        | Mnemonic::Endbr64
        | Mnemonic::Endbr32 => true,
        Mnemonic::Xchg => {
            instruction.op0_kind() == OpKind::Register
                && instruction.op1_kind() == OpKind::Register
                && instruction.op0_register() == instruction.op1_register()
                && instruction.op0_register() != Register::EAX
        }
        _ => false,
    }
}

/// Instructions that hand all registers to somebody else, who may read the call number or argument in rax.
fn enters_kernel(mnemonic: Mnemonic) -> bool {
    matches!(
        mnemonic,
        Mnemonic::Syscall
            | Mnemonic::Sysenter
            | Mnemonic::Int
            | Mnemonic::Int1
            | Mnemonic::Into
            | Mnemonic::Vmcall
            | Mnemonic::Vmmcall
            | Mnemonic::Vmgexit
            | Mnemonic::Tdcall
            | Mnemonic::Enclu
    )
}

/// Instructions that read their destination on paper only: the new value does not depend on the old one.
fn ignores_old_value(instruction: &Instruction) -> bool {
    if instruction.op0_kind() != OpKind::Register {
        return false;
    }
    let same_register =
        || instruction.op1_kind() == OpKind::Register && instruction.op0_register() == instruction.op1_register();
    match instruction.mnemonic() {
        // `sbb eax,eax` spreads the carry flag.
        Mnemonic::Xor | Mnemonic::Sub | Mnemonic::Sbb => same_register(),
        Mnemonic::Or => {
            // Immediates are sign-extended to the operand by the decoder: all ones means all ones.
            let width = bytes_of(instruction.op0_register()).count_ones() * 8;
            immediate(instruction)
                .is_some_and(|value| width != 0 && (value | u64::MAX.checked_shl(width).unwrap_or(0)) == u64::MAX)
        }
        Mnemonic::And => immediate(instruction) == Some(0),
        _ => false,
    }
}

fn immediate(instruction: &Instruction) -> Option<u64> {
    match instruction.op1_kind() {
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Some(instruction.immediate(1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iced_x86::{Decoder, DecoderOptions};

    fn of(bytes: &[u8]) -> Effect {
        let mut decoder = Decoder::with_ip(64, bytes, 0x1000, DecoderOptions::NONE);
        let instruction = decoder.decode();
        assert!(!instruction.is_invalid(), "{bytes:x?}");
        assert_eq!(instruction.len(), bytes.len(), "{instruction}");
        effect(&instruction, &mut InstructionInfoFactory::new())
    }

    #[track_caller]
    fn check(bytes: &[u8], reads: Bytes, overwrites: Bytes) {
        assert_eq!(of(bytes), Effect { reads, overwrites }, "{bytes:x?}");
    }

    #[test]
    fn full_overwrites_read_nothing() {
        check(&[0x31, 0xc0], 0, 0xff); // xor eax, eax
        check(&[0x48, 0x31, 0xc0], 0, 0xff); // xor rax, rax
        check(&[0x29, 0xc0], 0, 0xff); // sub eax, eax
        check(&[0x19, 0xc0], 0, 0xff); // sbb eax, eax
        check(&[0x48, 0x19, 0xc0], 0, 0xff); // sbb rax, rax
        check(&[0xb8, 0, 0, 0, 0], 0, 0xff); // mov eax, 0
        check(&[0x48, 0xc7, 0xc0, 1, 0, 0, 0], 0, 0xff); // mov rax, 1
        check(&[0x48, 0x8d, 0x05, 0, 0, 0, 0], 0, 0xff); // lea rax, [rip]
        check(&[0x58], 0, 0xff); // pop rax
        check(&[0x0f, 0xb6, 0x45, 0xff], 0, 0xff); // movzx eax, byte [rbp-1]
        check(&[0x83, 0xc8, 0xff], 0, 0xff); // or eax, -1
        check(&[0x48, 0x83, 0xc8, 0xff], 0, 0xff); // or rax, -1
        check(&[0x83, 0xe0, 0x00], 0, 0xff); // and eax, 0
        check(&[0x6b, 0xc1, 0x03], 0, 0xff); // imul eax, ecx, 3
        check(&[0xf3, 0x0f, 0xb8, 0xc1], 0, 0xff); // popcnt eax, ecx
        check(&[0x66, 0x48, 0x0f, 0x7e, 0xc0], 0, 0xff); // movq rax, xmm0
    }

    #[test]
    fn partial_overwrites_keep_the_other_bytes() {
        check(&[0xb0, 0x00], 0, 0x01); // mov al, 0
        check(&[0x30, 0xc0], 0, 0x01); // xor al, al
        check(&[0x0f, 0x94, 0xc0], 0, 0x01); // sete al
        check(&[0xb4, 0x00], 0, 0x02); // mov ah, 0
        check(&[0x66, 0xb8, 0, 0], 0, 0x03); // mov ax, 0
        check(&[0x0c, 0xff], 0, 0x01); // or al, -1
    }

    #[test]
    fn a_conditional_move_may_leave_the_value() {
        check(&[0x48, 0x0f, 0x44, 0xc3], 0, 0); // cmove rax, rbx
        assert_ne!(of(&[0x0f, 0x44, 0xc3]).reads, 0); // cmove eax, ebx: the low half may stay
    }

    #[test]
    fn every_kind_of_read_is_a_read() {
        for bytes in [
            &[0x48, 0x89, 0xc3][..],               // mov rbx, rax
            &[0x48, 0x89, 0x45, 0xf8],             // mov [rbp-8], rax
            &[0x89, 0x45, 0xf8],                   // mov [rbp-8], eax
            &[0x88, 0x03],                         // mov [rbx], al
            &[0xc6, 0x00, 0x41],                   // mov byte [rax], 0x41
            &[0x48, 0x8b, 0x00],                   // mov rax, [rax]
            &[0x48, 0x8d, 0x58, 0x08],             // lea rbx, [rax+8]
            &[0x8b, 0x0c, 0x83],                   // mov ecx, [rbx+rax*4]
            &[0x48, 0x85, 0xc0],                   // test rax, rax
            &[0x48, 0x3d, 0, 0, 0, 0],             // cmp rax, 0
            &[0x48, 0x98],                         // cdqe
            &[0x48, 0x99],                         // cqo
            &[0x98],                               // cwde
            &[0x48, 0xf7, 0xe1],                   // mul rcx
            &[0xf7, 0xf1],                         // div ecx
            &[0xf3, 0x48, 0xab],                   // rep stosq
            &[0xaa],                               // stosb
            &[0x48, 0x0f, 0xb1, 0x0f],             // cmpxchg [rdi], rcx
            &[0x48, 0x93],                         // xchg rbx, rax
            &[0x48, 0x87, 0x03],                   // xchg [rbx], rax
            &[0x50],                               // push rax
            &[0x48, 0x0f, 0x44, 0xd8],             // cmove rbx, rax
            &[0x48, 0x83, 0xc0, 0x01],             // add rax, 1
            &[0x48, 0x19, 0xd8],                   // sbb rax, rbx
            &[0x83, 0xc8, 0x01],                   // or eax, 1
            &[0x83, 0xe0, 0x01],                   // and eax, 1
            &[0x0f, 0xa2],                         // cpuid
            &[0x0f, 0x05],                         // syscall
            &[0xcd, 0x80],                         // int 0x80
            &[0xd7],                               // xlatb
            &[0x66, 0x48, 0x0f, 0x6e, 0xc0],       // movq xmm0, rax
            &[0xf3, 0x48, 0x0f, 0x2a, 0xc0],       // cvtsi2sd-like from rax
            &[0x48, 0x0f, 0xc8],                   // bswap rax
            &[0xe6, 0x10],                         // out 0x10, al
            &[0x9e],                               // sahf
            &[0x0f, 0x18, 0x08],                   // prefetcht0 [rax]
            &[0x89, 0xc0],                         // mov eax, eax
            &[0x48, 0x0f, 0xae, 0x27],             // xsave64 [rdi]
            &[0xc4, 0xe2, 0xf8, 0xf2, 0xc8],       // andn rcx, rax, rax
            &[0x62, 0xf2, 0xfd, 0x28, 0x7c, 0xc0], // vpbroadcastq ymm0, rax
        ] {
            assert_ne!(of(bytes).reads, 0, "{bytes:x?}");
        }
    }

    #[test]
    fn padding_and_strangers_do_nothing() {
        for bytes in [
            &[0x90][..],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],                            // nop [rax]
            &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],             // nop [rax+rax]
            &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0], // cs nop word [rax+rax]
            &[0xf3, 0x0f, 0x1e, 0xfa],                      // endbr64
            &[0x48, 0x89, 0xdf],                            // mov rdi, rbx
            &[0xc9],                                        // leave
            &[0x5d],                                        // pop rbp
            &[0xc7, 0x45, 0xfc, 0, 0, 0, 0],                // mov dword [rbp-4], 0
            &[0x31, 0xff],                                  // xor edi, edi
            &[0xf3, 0x48, 0xa5],                            // rep movsq
            &[0xc5, 0xf8, 0x77],                            // vzeroupper
        ] {
            assert_eq!(of(bytes), NOTHING, "{bytes:x?}");
        }
    }

    #[test]
    fn results_of_odd_instructions_overwrite() {
        check(&[0x0f, 0x31], 0, 0xff); // rdtsc
        check(&[0xdf, 0xe0], 0, 0x03); // fnstsw ax
        check(&[0x9f], 0, 0x02); // lahf
    }
}
