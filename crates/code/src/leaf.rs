//! Does a function call anything?
//!
//! What calls nothing runs no code of the program while it works: no destructor, no callback, no other allocator. Pure,
//! and sure only of a yes: bytes that cannot be decoded, indirect jumps and jumps out of the function are a no.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};

/// True when the function at `address`, whose whole code is `body`, calls no function and makes no system call.
pub fn calls_nothing(address: u64, body: &[u8]) -> bool {
    let own = address..address.saturating_add(body.len() as u64);
    let mut decoder = Decoder::with_ip(64, body, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let stays = match instruction.flow_control() {
            FlowControl::Next | FlowControl::Return => !instruction.is_invalid(),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                own.contains(&instruction.near_branch_target())
            }
            _ => false,
        };
        if !stays {
            return false;
        }
    }
    !body.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_surely_stays_inside_calls_nothing() {
        let rows: [(&[u8], bool); 8] = [
            // mov qword [rdi+8], 0; ret
            (&[0x48, 0xc7, 0x47, 0x08, 0, 0, 0, 0, 0xc3], true),
            // test rdi, rdi; je +1; nop; ret
            (&[0x48, 0x85, 0xff, 0x74, 0x01, 0x90, 0xc3], true),
            // call +0; ret
            (&[0xe8, 0, 0, 0, 0, 0xc3], false),
            // jmp far outside: a tail call
            (&[0xe9, 0, 1, 0, 0], false),
            // jmp rax
            (&[0xff, 0xe0], false),
            // syscall; ret
            (&[0x0f, 0x05, 0xc3], false),
            // cut off in the middle
            (&[0x48, 0xc7, 0x47], false),
            (&[], false),
        ];
        for (body, expected) in rows {
            assert_eq!(calls_nothing(0x40_1000, body), expected, "{body:x?}");
        }
    }
}
