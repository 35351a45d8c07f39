//! Finds in an ELF file every call that ends in a given function, with the backtraces a recorder would see.

use crate::elf_source::ElfSource;
use arenascope_code::CodeSource;
use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind, Register};

/// Calls `callee` directly, through its PLT stub, or through its GOT entry.
pub fn leads_to(code: &dyn CodeSource, instruction: &iced_x86::Instruction) -> Option<String> {
    match instruction.op0_kind() {
        OpKind::NearBranch64 => code.name(instruction.near_branch_target()),
        OpKind::Memory if instruction.memory_index() == Register::None && instruction.is_ip_rel_memory_operand() => {
            code.slot_name(instruction.memory_displacement64())
        }
        _ => None,
    }
}

/// `f` for `f.constprop.0`, `f.cold`, `f.localalias`.
pub fn family(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Calls inside functions: caller's family, callee's family, return address, and whether it is a tail call (then
/// there is no return address of its own).
pub struct Call {
    /// Who calls.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// Where the call returns to; `None` for a jump.
    pub return_address: Option<u64>,
}

/// Every call of the file between named functions.
pub fn calls(source: &ElfSource) -> Vec<Call> {
    let mut calls = Vec::new();
    for (start, end, name) in source.functions() {
        if name.is_empty() {
            continue;
        }
        let Some(bytes) = source.code(start, (end - start) as usize) else {
            continue;
        };
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            let is_call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
            let is_jump = matches!(
                instruction.flow_control(),
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch | FlowControl::IndirectBranch
            );
            if !is_call && !is_jump {
                continue;
            }
            let Some(callee) = leads_to(source, &instruction) else {
                continue;
            };
            if is_jump && (callee.contains(".cold") || family(&callee) == family(name)) {
                continue;
            }
            calls.push(Call {
                caller: family(name).to_string(),
                callee: family(&callee).to_string(),
                return_address: is_call.then(|| instruction.next_ip()),
            });
        }
    }
    calls
}

/// Backtraces (innermost first) of all ways in which `root` reaches `allocator` through `helper_…` functions.
pub fn backtraces(calls: &[Call], root: &str, allocator: &str) -> Vec<Vec<u64>> {
    fn go(calls: &[Call], caller: &str, allocator: &str, depth: u32) -> Vec<Vec<u64>> {
        let mut found = Vec::new();
        for call in calls.iter().filter(|c| c.caller == caller) {
            let inner = if call.callee == allocator {
                vec![Vec::new()]
            } else if depth > 0 && call.callee.starts_with("helper_") {
                go(calls, &call.callee, allocator, depth - 1)
            } else {
                continue;
            };
            for mut trace in inner {
                trace.extend(call.return_address);
                found.push(trace);
            }
        }
        found
    }
    go(calls, root, allocator, 3)
}

/// Return addresses of every call of `callee` in the file, in functions with and without names.
pub fn sites_of(source: &ElfSource, callee: &str) -> Vec<u64> {
    let mut sites = Vec::new();
    for (start, end, _) in source.functions() {
        let Some(bytes) = source.code(start, (end - start) as usize) else {
            continue;
        };
        let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            let is_call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
            if is_call && leads_to(source, &instruction).as_deref() == Some(callee) {
                sites.push(instruction.next_ip());
            }
        }
    }
    sites
}
