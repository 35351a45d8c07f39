//! Did the program use the NULL that its allocator returned? Joins the call that returned NULL with a later fault.
//!
//! The code between the two is walked with the NULL as a known number, through copies, spills, sums and calls, up to
//! the faulting instruction. `Proven` is said only when every way that leads there carries the NULL into the address
//! that faulted, and the registers of the fault agree. The result may have been returned to callers first; the fault
//! may lie in a callee that got the NULL as an argument.
//! Deliberately absent: a NULL kept in heap memory or globals (at best `Consistent`), and NULLs from elsewhere.

use crate::fate::{function_name, is_called_from};
use crate::fate_names::{bare, never_returns};
use crate::fate_source::CodeSource;
use crate::fate_walk::{decode, near_target, pointer_slot, stub_slot, text_of};
use crate::null_state::{CALLER_SAVED, State, Value, number, taken_address};
use arenascope_event::Registers;
use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register};
use std::collections::BTreeSet;

/// Faulting addresses from here on are no field of, or small index from, NULL. Linux keeps the first 64 KiB unmapped
/// (`vm.mmap_min_addr`); a program's first mapping is usually at 4 MiB or far above.
const NEAR_NULL: u64 = 1 << 20;
/// Instructions walked for one question.
const STEPS: u32 = 20_000;
/// Calls entered on the way to the fault.
const DEPTH: u8 = 4;
/// Instructions of one callee looked at for the registers it writes.
const CALLEE_STEPS: usize = 400;
/// Callers followed while the NULL is returned on.
const CHAIN: usize = 16;

/// A NULL result and a later fault of the same thread.
#[derive(Clone, Copy, Debug)]
pub struct NullFault<'a> {
    /// Backtrace of the call that returned NULL, innermost return address first. It was the last call that returned
    /// to its first address before the fault, on the thread of the fault.
    pub returned_to: &'a [u64],
    /// The faulting instruction.
    pub pc: u64,
    /// The address it touched.
    pub address: u64,
    /// General registers at the fault.
    pub registers: &'a Registers,
    /// Return addresses at the fault, innermost first. May hold extra ones (such as the word at the stack pointer)
    /// and miss frames without a frame pointer.
    pub backtrace: &'a [u64],
}

/// Whether a fault came from a certain NULL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NullUse {
    /// On every way from the call to the fault the address that faulted was made from the NULL.
    Proven(String),
    /// It may have been: the address is close to NULL, and the code does not rule it out.
    Consistent(String),
    /// It was not, or nothing speaks for it.
    No,
}

/// Decides whether the fault is a use of the NULL.
///
/// Cost: at most 20,000 decoded instructions.
pub fn null_use(code: &dyn CodeSource, fault: &NullFault<'_>) -> NullUse {
    if fault.address >= NEAR_NULL || !code.system_v(fault.pc) {
        return NullUse::No;
    }
    let Some(instruction) = decode(code, fault.pc) else {
        return NullUse::No;
    };
    let mut walk = Walk {
        code,
        fault,
        roots: address_registers(&instruction, fault),
        factory: InstructionInfoFactory::new(),
        steps_left: STEPS,
        tally: Tally::default(),
    };
    if walk.roots.is_empty() {
        return NullUse::No;
    }
    let mut result = Value::Null(Some(0));
    let Some(&first) = fault.returned_to.first() else {
        return NullUse::No;
    };
    let mut address = first;
    for depth in 1..CHAIN {
        let recorded = fault.returned_to.get(depth).copied();
        let proven = recorded.filter(|&next| is_called_from(code, address, next));
        walk.tally.returned = None;
        walk.function(Place {
            start: address,
            inside: address.saturating_sub(1),
            returns_to: proven.or(recorded),
            caller_returns_to: fault.returned_to.get(depth.saturating_add(1)).copied(),
            level: 0,
            state: State::after_call(result),
        });
        if walk.tally.any() {
            return walk.verdict(address, &instruction);
        }
        match walk.tally.returned {
            Some(value @ (Value::Null(_) | Value::Unclear)) => result = value,
            _ => break,
        }
        address = match proven.or_else(|| walk.guess_caller(address)) {
            Some(next) => next,
            None => break,
        };
        walk.tally.guessed |= proven.is_none();
    }
    if walk.tally.passed.is_some() || walk.tally.perhaps_passed.is_some() {
        return walk.verdict(first, &instruction);
    }
    NullUse::No
}

/// What the ways to the fault showed.
#[derive(Default)]
struct Tally {
    /// Ways on which the faulting address was made from the NULL.
    made: u32,
    /// Ways on which that is not clear.
    unclear: u32,
    /// Ways on which it was made from something else.
    other: u32,
    /// Some way was not followed to its end.
    incomplete: bool,
    /// The NULL was passed to a function that was active at the fault: the calling instruction, callee, number of
    /// the argument.
    passed: Option<Passed>,
    /// The same for a function that may have been active.
    perhaps_passed: Option<Passed>,
    /// A caller was guessed.
    guessed: bool,
    /// What rax held at returns of the first function.
    returned: Option<Value>,
}

/// A call with the NULL among its arguments.
struct Passed {
    /// The calling instruction.
    at: u64,
    callee: Option<String>,
    /// Number of the argument, from 1.
    argument: usize,
}

impl Tally {
    fn any(&self) -> bool {
        self.made != 0 || self.unclear != 0 || self.other != 0
    }
}

struct Walk<'a> {
    code: &'a dyn CodeSource,
    fault: &'a NullFault<'a>,
    /// Registers that make up the faulting address.
    roots: Vec<Register>,
    factory: InstructionInfoFactory,
    steps_left: u32,
    tally: Tally,
}

/// Where a walk through one function begins.
struct Place {
    start: u64,
    /// An address in that function.
    inside: u64,
    /// Where that function returns to, when known.
    returns_to: Option<u64>,
    /// Where the caller of that function returns to, when known.
    caller_returns_to: Option<u64>,
    /// Calls entered on the way from the function that got the NULL.
    level: u8,
    state: State,
}

impl Walk<'_> {
    /// Walks one function.
    fn function(&mut self, place: Place) {
        let bounds = self.code.function_bounds(place.inside);
        let taken = bounds.map_or_else(BTreeSet::new, |b| self.taken(b));
        let mut seen = BTreeSet::new();
        let mut open = vec![(place.start, place.state)];
        while let Some((ip, mut state)) = open.pop() {
            if !seen.insert((ip, state.clone())) {
                continue;
            }
            let Some(left) = self.steps_left.checked_sub(1) else {
                self.tally.incomplete = true;
                return;
            };
            self.steps_left = left;
            if ip == self.fault.pc {
                self.arrive(&state);
            }
            let Some(instruction) = decode(self.code, ip) else {
                self.tally.incomplete = true;
                continue;
            };
            if state.faults(&instruction) {
                // Here the program would have ended.
                continue;
            }
            let next = instruction.next_ip();
            match instruction.flow_control() {
                FlowControl::Next => {
                    state.step(&instruction, &mut self.factory, &taken);
                    open.push((next, state));
                }
                FlowControl::ConditionalBranch => {
                    let takes = state.takes(&instruction);
                    if takes != Some(false)
                        && let Some(target) = near_target(&instruction)
                    {
                        open.push((target, state.clone()));
                    }
                    if takes != Some(true) {
                        open.push((next, state));
                    }
                }
                FlowControl::UnconditionalBranch => match near_target(&instruction) {
                    Some(target) if stub_slot(self.code, target).is_none() => {
                        open.push((target, state));
                    }
                    Some(_) => self.enter(&instruction, place.returns_to, place.caller_returns_to, &state, place.level),
                    None => self.tally.incomplete = true,
                },
                FlowControl::IndirectBranch => {
                    if pointer_slot(&instruction).is_some_and(|slot| self.code.slot_name(slot).is_some()) {
                        self.enter(&instruction, place.returns_to, place.caller_returns_to, &state, place.level);
                    } else {
                        self.tally.incomplete = true;
                    }
                }
                FlowControl::Return => {
                    if place.level == 0 {
                        self.give_back(state.register(Register::RAX));
                    }
                }
                FlowControl::Call | FlowControl::IndirectCall => {
                    if self.fault.returned_to.first() == Some(&next) {
                        // The last call from this site was the one that returned NULL.
                        continue;
                    }
                    if near_target(&instruction) != Some(next) {
                        let mut inner = state.clone();
                        inner.enter_call();
                        self.enter(&instruction, Some(next), place.returns_to, &inner, place.level);
                        if self.callee_name(&instruction).as_deref().is_some_and(never_returns) {
                            continue;
                        }
                        let written = self.written_by(&instruction);
                        state.return_from_call(written);
                    }
                    open.push((next, state));
                }
                // A way that cannot be taken, or one that ends in another signal.
                FlowControl::Exception | FlowControl::Interrupt | FlowControl::XbeginXabortXend => {}
            }
        }
    }

    fn callee_name(&self, instruction: &Instruction) -> Option<String> {
        match near_target(instruction) {
            Some(target) => self.code.name(target),
            None => pointer_slot(instruction).and_then(|slot| self.code.slot_name(slot)),
        }
    }

    /// A call, or a jump into another function: goes on there when the fault lies there. `state` is that of the
    /// callee's first instruction, `returns_to` what it returns to, `returns_to_of_caller` what the caller returns to.
    fn enter(
        &mut self,
        instruction: &Instruction,
        returns_to: Option<u64>,
        returns_to_of_caller: Option<u64>,
        state: &State,
        level: u8,
    ) {
        let around = |address: u64| self.code.function_bounds(address).map(|(start, _)| start);
        let name = self.callee_name(instruction);
        let active = around(self.fault.pc);
        // Which function this is, if it was active at the fault: by the backtrace, by its address, by its name.
        let mut entries: Vec<u64> = Vec::new();
        let frames = self.fault.backtrace;
        let position = frames.iter().position(|&frame| Some(frame) == returns_to);
        if let Some(at) = position {
            // An extra address before it may be no frame at all: then it is the one that faulted.
            let inner = at.checked_sub(1).and_then(|at| frames.get(at));
            entries.extend(inner.and_then(|&frame| around(frame.saturating_sub(1))));
            entries.extend(active);
        }
        let same_address = near_target(instruction).is_some_and(|target| active == Some(target));
        let same_name = name.is_some() && active.and_then(|at| self.code.name(at)) == name;
        if same_address || same_name {
            entries.extend(active);
        }
        // A callee without a frame pointer hides its caller: the backtrace then begins with the caller's caller.
        let hidden = level == 0
            && returns_to_of_caller.is_some()
            && self.fault.backtrace.first().copied() == returns_to_of_caller;
        if let Some(argument) = state.passes_null() {
            let passed = Passed { at: instruction.ip(), callee: name, argument };
            if !entries.is_empty() {
                self.tally.passed = Some(passed);
            } else if hidden && self.tally.perhaps_passed.is_none() {
                self.tally.perhaps_passed = Some(passed);
            }
        }
        entries.sort_unstable();
        entries.dedup();
        for entry in entries {
            if level >= DEPTH {
                self.tally.incomplete = true;
                continue;
            }
            self.function(Place {
                start: entry,
                inside: entry,
                returns_to,
                caller_returns_to: returns_to_of_caller,
                level: level.saturating_add(1),
                state: state.clone(),
            });
        }
    }

    /// The faulting instruction is reached in `state`.
    fn arrive(&mut self, state: &State) {
        let mut values = Vec::new();
        for &register in &self.roots {
            let value = state.register(register);
            if let Value::Null(Some(number)) = value
                && register_at_fault(self.fault.registers, register) != Some(number.cast_unsigned())
            {
                // The registers say that this way was not taken.
                return;
            }
            values.push(value);
        }
        if values.iter().any(|value| matches!(value, Value::Null(_))) {
            self.tally.made = self.tally.made.saturating_add(1);
        } else if values.contains(&Value::Unclear) {
            self.tally.unclear = self.tally.unclear.saturating_add(1);
        } else {
            self.tally.other = self.tally.other.saturating_add(1);
        }
    }

    /// Where the function around `address` may return to, when the backtrace does not know (no frame pointers): the
    /// one place in a function active at the fault that calls it.
    fn guess_caller(&self, address: u64) -> Option<u64> {
        let (callee, _) = self.code.function_bounds(address.saturating_sub(1))?;
        let mut found = None;
        let frames = self.fault.backtrace.iter().map(|frame| frame.saturating_sub(1));
        for active in std::iter::once(self.fault.pc).chain(frames).take(CHAIN) {
            let Some((start, end)) = self.code.function_bounds(active) else {
                continue;
            };
            let mut ip = start;
            for _ in 0..STEPS {
                if ip >= end {
                    break;
                }
                let Some(instruction) = decode(self.code, ip) else {
                    break;
                };
                ip = instruction.next_ip();
                if instruction.flow_control() == FlowControl::Call && near_target(&instruction) == Some(callee) {
                    match found {
                        None => found = Some(ip),
                        Some(other) if other == ip => {}
                        Some(_) => return None,
                    }
                }
            }
        }
        found
    }

    fn give_back(&mut self, value: Value) {
        self.tally.returned = Some(match (self.tally.returned, value) {
            (None, value) => value,
            (Some(old), new) if old == new => old,
            (Some(Value::Null(_)), Value::Null(_)) => Value::Null(None),
            _ => Value::Unclear,
        });
    }

    /// The caller-saved registers that the callee of a call may write, a bit each; `None` when its code says no more
    /// than that.
    fn written_by(&mut self, call: &Instruction) -> Option<u16> {
        let Some(target) = near_target(call) else {
            return Some(CALLER_SAVED);
        };
        let mut written = 0;
        let mut seen = BTreeSet::new();
        let mut open = vec![target];
        while let Some(ip) = open.pop() {
            if written == CALLER_SAVED {
                break;
            }
            if !seen.insert(ip) {
                continue;
            }
            if seen.len() > CALLEE_STEPS || stub_slot(self.code, ip).is_some() {
                return (seen.len() <= CALLEE_STEPS).then_some(CALLER_SAVED);
            }
            let instruction = decode(self.code, ip)?;
            let next = instruction.next_ip();
            for used in self.factory.info(&instruction).used_registers() {
                let writes = !matches!(
                    used.access(),
                    OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
                );
                if writes && let Some(n) = number(used.register()) {
                    written |= (1u16 << n) & CALLER_SAVED;
                }
            }
            match instruction.flow_control() {
                FlowControl::Next => open.push(next),
                FlowControl::ConditionalBranch | FlowControl::Call => {
                    open.push(next);
                    open.push(near_target(&instruction)?);
                }
                FlowControl::UnconditionalBranch => open.push(near_target(&instruction)?),
                FlowControl::IndirectCall => return Some(CALLER_SAVED),
                FlowControl::Return | FlowControl::Exception => {}
                FlowControl::IndirectBranch | FlowControl::Interrupt | FlowControl::XbeginXabortXend => return None,
            }
        }
        Some(written)
    }

    /// The stack places of a function whose address is taken.
    fn taken(&self, (start, end): (u64, u64)) -> BTreeSet<(Register, i64)> {
        let mut taken = BTreeSet::new();
        let mut ip = start;
        for _ in 0..STEPS {
            if ip >= end {
                break;
            }
            let Some(instruction) = decode(self.code, ip) else {
                break;
            };
            taken.extend(taken_address(&instruction));
            ip = instruction.next_ip();
        }
        taken
    }

    fn verdict(&self, return_address: u64, instruction: &Instruction) -> NullUse {
        let who = function_name(self.code, return_address);
        let touched = format!("{} touches {:#x}", text_of(instruction), self.fault.address);
        let tally = &self.tally;
        let passed = |passed: &Passed| {
            let caller = function_name(self.code, passed.at.saturating_add(1));
            let callee = passed.callee.as_deref().map_or("another function", bare);
            let argument = passed.argument;
            format!("{caller} passes the NULL as argument {argument} to {callee}: {touched}")
        };
        let how = match (&tally.passed, &tally.perhaps_passed) {
            _ if self.same_function(return_address) => {
                format!("{who} uses the NULL as an address: {touched}")
            }
            (Some(call), _) => passed(call),
            (None, Some(call)) if !tally.any() => passed(call),
            _ => {
                let last = function_name(self.code, self.fault.pc.saturating_add(1));
                format!("{who} goes on to {last}, which uses the NULL as an address: {touched}")
            }
        };
        let clear = tally.unclear == 0 && tally.other == 0 && !tally.incomplete && !tally.guessed;
        let suspected = tally.passed.is_some() || tally.perhaps_passed.is_some();
        if tally.made != 0 && clear {
            NullUse::Proven(how)
        } else if tally.made != 0 || tally.unclear != 0 || (tally.other == 0 && suspected) {
            NullUse::Consistent(how)
        } else {
            NullUse::No
        }
    }

    fn same_function(&self, return_address: u64) -> bool {
        self.code
            .function_bounds(return_address.saturating_sub(1))
            .is_some_and(|(start, end)| start <= self.fault.pc && self.fault.pc < end)
    }
}

/// The registers in the memory operand that faulted, by the registers at the fault.
fn address_registers(instruction: &Instruction, fault: &NullFault<'_>) -> Vec<Register> {
    let mut factory = InstructionInfoFactory::new();
    let mut found = Vec::new();
    for memory in factory.info(instruction).used_memory() {
        let size = u64::try_from(memory.memory_size().size()).unwrap_or(0).max(1);
        let start = memory.virtual_address(0, |register, _, _| {
            if register.is_segment_register() { Some(0) } else { register_at_fault(fault.registers, register) }
        });
        if start.is_some_and(|start| fault.address.checked_sub(start).is_some_and(|into| into < size)) {
            found.extend([memory.base(), memory.index()].into_iter().filter(|&r| r != Register::None && r.is_gpr()));
        }
    }
    found
}

/// The value of a general register in the event's order: rax rbx rcx rdx rsi rdi rbp rsp r8 … r15.
fn register_at_fault(registers: &Registers, register: Register) -> Option<u64> {
    let index = match register.full_register() {
        Register::RAX => 0,
        Register::RBX => 1,
        Register::RCX => 2,
        Register::RDX => 3,
        Register::RSI => 4,
        Register::RDI => 5,
        Register::RBP => 6,
        Register::RSP => 7,
        Register::R8 => 8,
        Register::R9 => 9,
        Register::R10 => 10,
        Register::R11 => 11,
        Register::R12 => 12,
        Register::R13 => 13,
        Register::R14 => 14,
        Register::R15 => 15,
        _ => return None,
    };
    registers.get(index).copied()
}
