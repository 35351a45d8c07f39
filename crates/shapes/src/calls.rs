//! Who calls whom, and who touches which variable: one linear look at all code.
//!
//! Relied on: direct calls and tail jumps only; bytes that are not code yield wrong edges at worst, never a failure.
//! Deliberately absent: calls through pointers.

use crate::binary::Binary;
use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};
use std::collections::{BTreeMap, BTreeSet};

/// Edges between functions, by address.
#[derive(Default, Debug)]
pub(crate) struct Graph {
    callers: BTreeMap<u64, BTreeSet<u64>>,
    callees: BTreeMap<u64, BTreeSet<u64>>,
    /// Variable → functions that name its address.
    touching: BTreeMap<u64, BTreeSet<u64>>,
}

impl Graph {
    /// Looks at the given functions: (start, end). Cold parts (fragments a compiler split off) count for their function
    /// through `owner`: fragment start → function.
    pub(crate) fn read(binary: &Binary<'_>, functions: &[(u64, u64)], owner: &BTreeMap<u64, u64>) -> Graph {
        let mut graph = Graph::default();
        // Damaged symbols may claim the same code over and over.
        let mut left = binary.code_bytes().saturating_mul(4);
        for &(start, end) in functions {
            let Some(len) = end.checked_sub(start).and_then(|n| usize::try_from(n).ok()) else { continue };
            let Some(bytes) = binary.code(start, len) else { continue };
            let Some(rest) = left.checked_sub(bytes.len() as u64) else { break };
            left = rest;
            let own = owner.get(&start).copied().unwrap_or(start);
            for instruction in Decoder::with_ip(64, bytes, start, DecoderOptions::NONE).iter() {
                if instruction.op_count() > 0 && instruction.op_kind(0) == OpKind::NearBranch64 {
                    let target = instruction.near_branch_target();
                    let leaves = target < start || target >= end;
                    let is_call = instruction.flow_control() == FlowControl::Call;
                    if is_call || leaves {
                        let target = binary.resolve(target);
                        graph.callers.entry(target).or_default().insert(own);
                        graph.callees.entry(own).or_default().insert(target);
                    }
                }
                let named = if instruction.is_ip_rel_memory_operand()
                    || (0..instruction.op_count()).any(|o| instruction.op_kind(o) == OpKind::Memory)
                {
                    Some(instruction.memory_displacement64())
                } else {
                    None
                };
                let immediate = if binary.is_fixed() {
                    (0..instruction.op_count()).find_map(|o| instruction.try_immediate(o).ok())
                } else {
                    None
                };
                for address in named.into_iter().chain(immediate) {
                    if binary.is_variable(address) {
                        graph.touching.entry(address).or_default().insert(own);
                    }
                }
            }
        }
        graph
    }

    /// Functions with a direct call or tail jump to `target`.
    pub(crate) fn callers(&self, target: u64) -> impl Iterator<Item = u64> + '_ {
        self.callers.get(&target).into_iter().flatten().copied()
    }

    /// True when `from` directly calls `to`.
    pub(crate) fn calls(&self, from: u64, to: u64) -> bool {
        self.callees.get(&from).is_some_and(|set| set.contains(&to))
    }

    /// True when `from` calls `to`, directly or through up to two others.
    pub(crate) fn leads_to(&self, from: u64, to: u64) -> bool {
        let mut reached = BTreeSet::from([from]);
        for _ in 0..3 {
            let next: BTreeSet<u64> = reached.iter().filter_map(|f| self.callees.get(f)).flatten().copied().collect();
            if next.contains(&to) {
                return true;
            }
            reached.extend(next);
        }
        false
    }

    /// Functions whose code names the address of a variable in `[start, end)`.
    pub(crate) fn touching(&self, start: u64, end: u64) -> impl Iterator<Item = u64> + '_ {
        self.touching.range(start..end).flat_map(|(_, functions)| functions.iter().copied())
    }
}
