//! Follows every way the code can take from one address and collects what becomes of the value in rax.
//!
//! Both sides of each conditional branch, jumps, parts moved to `.cold`, and into functions that the code calls
//! directly: gcc (`-fipa-ra`, on at -O2) may keep a value in rax across a call when it has seen that the callee
//! leaves rax alone. A call through a pointer or a PLT stub cannot be such a call: there the calling convention says
//! that rax is lost. Bounded by a number of instructions; whatever is not understood ends as "unknown".
//!
//! Relied on: the answer "dropped on every way" is only given when each way was followed to its end.
//! Deliberately absent: values copied elsewhere (a copy is a read), landing pads of exceptions (a value that must
//! survive an unwinding call cannot live in rax), the caller's caller (`fate` goes there).

use crate::fate_effect::{ALL_BYTES, Bytes, bytes_of, effect};
use crate::fate_names::{is_cold_part, keeps_registers, never_returns, never_returns_by_reserved_name, thunk_register};
use crate::fate_source::CodeSource;
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory, IntelFormatter,
    Mnemonic, OpKind, Register,
};
use std::collections::BTreeSet;

/// Instructions looked at for one question, callees included. The longest answer over the packaged programs of the
/// tests needs some hundreds.
const STEPS: u32 = 6000;
/// How many calls deep the walk goes for one question.
const DEPTH: u8 = 5;
/// Longest x86 instruction, bytes.
const LONGEST_INSTRUCTION: usize = 15;
/// Drops kept as evidence.
const DROPS_KEPT: usize = 4;

/// One place where a way ends, with the words for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// The instruction at `at` overwrites rax.
    Overwritten { at: u64, text: String },
    /// A call whose callee may use rax freely.
    Call { at: u64, callee: Option<String> },
    /// A jump into another function that may use rax freely.
    TailCall { at: u64, callee: Option<String> },
}

/// What becomes of the value, over all ways.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ways {
    /// The first instruction found that reads it, in words that fit after "main ".
    pub(crate) read: Option<String>,
    /// Why some way could not be followed to its end.
    pub(crate) unknown: Option<String>,
    /// Bytes of rax that are still the value when some way returns; 0 when none does.
    pub(crate) returned: Bytes,
    /// Where ways end with the value gone; the first few.
    pub(crate) drops: Vec<Ending>,
}

impl Ways {
    fn add_drop(&mut self, drop: Ending) {
        if self.drops.len() < DROPS_KEPT && !self.drops.contains(&drop) {
            self.drops.push(drop);
        }
    }

    fn add_unknown(&mut self, why: impl FnOnce() -> String) {
        if self.unknown.is_none() {
            self.unknown = Some(why());
        }
    }
}

/// Where the walk stands: at `ip`, with `live` the bytes of rax that still are the value. In a callee `saved` says
/// that the value was pushed and may come back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    ip: u64,
    live: Bytes,
    saved: bool,
}

/// A walk over the code of one question.
pub(crate) struct Walk<'a> {
    code: &'a dyn CodeSource,
    factory: InstructionInfoFactory,
    steps_left: u32,
    /// Callees being walked now, outermost first.
    inside: Vec<(u64, Bytes)>,
}

/// What is known of a called or jumped-to function.
enum Callee {
    /// Cannot be the same compilation: the calling convention alone binds it.
    Foreign(Option<String>),
    /// Its code is at this address in the same module.
    Local(u64, Option<String>),
}

impl<'a> Walk<'a> {
    /// A walk that has not started.
    pub(crate) fn new(code: &'a dyn CodeSource) -> Self {
        Walk { code, factory: InstructionInfoFactory::new(), steps_left: STEPS, inside: Vec::new() }
    }

    /// All ways from `start` on, where the bytes `live` of rax are the value. `start` lies inside a function: the
    /// next instruction after the call.
    pub(crate) fn ways(&mut self, start: u64, live: Bytes) -> Ways {
        self.follow(start, live, false)
    }

    fn follow(&mut self, start: u64, live: Bytes, callee: bool) -> Ways {
        let mut ways = Ways::default();
        let mut seen = BTreeSet::new();
        let mut open = vec![State { ip: start, live, saved: false }];
        while let Some(state) = open.pop() {
            if state.live == 0 && !state.saved {
                continue;
            }
            if !seen.insert(state) {
                continue;
            }
            if ways.read.is_some() || (callee && ways.unknown.is_some()) {
                break;
            }
            let Some(left) = self.steps_left.checked_sub(1) else {
                ways.add_unknown(|| "the code goes on for too long".to_string());
                break;
            };
            self.steps_left = left;
            let Some(instruction) = decode(self.code, state.ip) else {
                ways.add_unknown(|| format!("there is no code to read at {:#x}", state.ip));
                continue;
            };
            self.step(&instruction, state, callee, &mut ways, &mut open);
        }
        ways
    }

    /// One instruction: pushes what follows it onto `open`, or records in `ways` how the way ends.
    fn step(&mut self, instruction: &Instruction, state: State, callee: bool, ways: &mut Ways, open: &mut Vec<State>) {
        let at = state.ip;
        let next_ip = instruction.next_ip();
        let effect = effect(instruction, &mut self.factory);

        // A push in a callee is a saved register or filler that aligns the stack (clang always, gcc -Os): rax is no
        // argument.
        if callee && instruction.mnemonic() == Mnemonic::Push && effect.reads & state.live != 0 {
            if instruction.op0_kind() == OpKind::Register && !next_is_return(self.code, next_ip) {
                open.push(State { ip: next_ip, live: state.live, saved: true });
            } else {
                ways.add_unknown(|| "a called function keeps what is in rax".to_string());
            }
            return;
        }
        if effect.reads & state.live != 0 {
            ways.read = Some(words_of_read(instruction));
            return;
        }

        match instruction.flow_control() {
            FlowControl::Next => {
                if makes_return_a_jump(instruction) && next_is_return(self.code, next_ip) {
                    ways.add_unknown(|| "a return is used as a jump".to_string());
                    return;
                }
                let mut live = state.live & !effect.overwrites;
                if state.saved && effect.overwrites != 0 && may_restore(instruction) {
                    live = ALL_BYTES;
                }
                if live == 0 && state.live != 0 && !callee {
                    ways.add_drop(Ending::Overwritten { at, text: text_of(instruction) });
                }
                if live == 0 && state.live != 0 && callee && !state.saved {
                    ways.add_drop(Ending::Overwritten { at, text: String::new() });
                }
                self.go_on(at, next_ip, State { live, ..state }, ways, open);
            }
            FlowControl::ConditionalBranch => {
                self.jump(instruction, state, ways, open);
                self.go_on(at, next_ip, state, ways, open);
            }
            FlowControl::UnconditionalBranch => self.jump(instruction, state, ways, open),
            // A pointer that the dynamic linker fills leads into another function. Any other may be a table of
            // this function's labels, or a `goto *pointer`.
            FlowControl::IndirectBranch => match pointer_slot(instruction) {
                Some(slot) if self.code.slot_name(slot).is_some() => {
                    self.leave(state, Callee::Foreign(self.code.slot_name(slot)), at, ways);
                }
                _ => ways.add_unknown(|| format!("a jump through a table follows ({})", text_of(instruction))),
            },
            FlowControl::Return => {
                if matches!(instruction.code(), Code::Retnq | Code::Retnq_imm16) {
                    if state.live == 0 {
                        // Pushed, overwritten, and not taken back.
                        ways.add_drop(Ending::Overwritten { at, text: String::new() });
                    }
                    ways.returned |= state.live;
                } else {
                    ways.add_unknown(|| format!("{} follows", text_of(instruction)));
                }
            }
            FlowControl::Call => self.call(instruction, state, ways, open),
            FlowControl::IndirectCall => {
                let callee = pointer_slot(instruction).and_then(|slot| self.code.slot_name(slot));
                self.after_call(instruction, state, Callee::Foreign(callee), ways, open);
            }
            // `ud2` ends a way that cannot be taken; `int3` might be continued by a debugger, `int n` reads rax.
            FlowControl::Exception if instruction.mnemonic() == Mnemonic::Ud2 => {}
            FlowControl::Exception | FlowControl::Interrupt | FlowControl::XbeginXabortXend => {
                ways.add_unknown(|| format!("{} follows", text_of(instruction)));
            }
        }
    }

    /// Falls through to `next_ip`, unless the function ends there.
    fn go_on(&self, at: u64, next_ip: u64, state: State, ways: &mut Ways, open: &mut Vec<State>) {
        if state.live == 0 && !state.saved {
            return;
        }
        if let Some((_, end)) = self.code.function_bounds(at)
            && next_ip >= end
        {
            ways.add_unknown(|| format!("the code runs past the end of its function at {end:#x}"));
            return;
        }
        open.push(State { ip: next_ip, ..state });
    }

    /// A direct jump, taken.
    fn jump(&mut self, instruction: &Instruction, state: State, ways: &mut Ways, open: &mut Vec<State>) {
        let at = state.ip;
        let Some(target) = near_target(instruction) else {
            ways.add_unknown(|| format!("{} follows", text_of(instruction)));
            return;
        };
        let within = self.code.function_bounds(at).is_some_and(|(start, end)| start <= target && target < end);
        // A part without a name may be a cold part of this function: it is followed as this function's own code.
        let starts_function = self.code.function_bounds(target).is_some_and(|(start, _)| start == target)
            && self.code.name(target).is_some_and(|n| !is_cold_part(&n));
        let enters = starts_function || stub_slot(self.code, target).is_some();
        if within || !enters {
            open.push(State { ip: target, ..state });
            return;
        }
        match self.resolve(target) {
            Callee::Foreign(name) if name.as_deref().and_then(thunk_register).is_some() => {
                ways.add_unknown(|| "a jump through a register follows".to_string());
            }
            callee => self.leave(state, callee, at, ways),
        }
    }

    /// A jump into another function: its return is ours.
    fn leave(&mut self, state: State, callee: Callee, at: u64, ways: &mut Ways) {
        if state.live == 0 {
            // In a callee that pushed the value: gone unless taken back, and a function that has left cannot.
            ways.add_drop(Ending::TailCall { at, callee: None });
            return;
        }
        match callee {
            Callee::Foreign(name) => {
                if !name.as_deref().is_some_and(never_returns) {
                    ways.add_drop(Ending::TailCall { at, callee: name });
                }
            }
            Callee::Local(target, name) => {
                let inner = self.callee_ways(target, state.live);
                let inner = self.unread(inner, name.as_deref());
                if let Some(why) = inner.unknown {
                    ways.add_unknown(|| why);
                }
                ways.returned |= inner.returned;
                if !inner.drops.is_empty() {
                    ways.add_drop(Ending::TailCall { at, callee: name });
                }
            }
        }
    }

    /// A direct call.
    fn call(&mut self, instruction: &Instruction, state: State, ways: &mut Ways, open: &mut Vec<State>) {
        let Some(target) = near_target(instruction) else {
            ways.add_unknown(|| format!("{} follows", text_of(instruction)));
            return;
        };
        if target == instruction.next_ip() {
            // `call next; pop reg` reads the instruction pointer: a push, no call.
            open.push(State { ip: target, ..state });
            return;
        }
        let callee = self.resolve(target);
        self.after_call(instruction, state, callee, ways, open);
    }

    /// What a call leaves of the value.
    fn after_call(
        &mut self,
        instruction: &Instruction,
        state: State,
        callee: Callee,
        ways: &mut Ways,
        open: &mut Vec<State>,
    ) {
        let at = state.ip;
        let next_ip = instruction.next_ip();
        let gone = State { live: 0, ..state };
        match callee {
            Callee::Foreign(name) => {
                let known = name.as_deref().unwrap_or("");
                if never_returns(known) {
                    return;
                }
                if keeps_registers(known) {
                    self.go_on(at, next_ip, state, ways, open);
                    return;
                }
                if let Some(register) = thunk_register(known)
                    && register == "rax"
                    && state.live != 0
                {
                    ways.read = Some("calls it".to_string());
                    return;
                }
                if state.live != 0 && !state.saved {
                    ways.add_drop(Ending::Call { at, callee: name });
                }
                self.go_on(at, next_ip, gone, ways, open);
            }
            Callee::Local(target, name) => {
                if state.live == 0 {
                    // Only waiting for a saved value to come back.
                    self.go_on(at, next_ip, state, ways, open);
                    return;
                }
                let inner = self.callee_ways(target, state.live);
                let inner = self.unread(inner, name.as_deref());
                if let Some(why) = inner.unknown {
                    ways.add_unknown(|| why);
                }
                if !inner.drops.is_empty() {
                    if !state.saved {
                        ways.add_drop(Ending::Call { at, callee: name });
                    }
                    self.go_on(at, next_ip, gone, ways, open);
                }
                if inner.returned != 0 {
                    let live = inner.returned;
                    self.go_on(at, next_ip, State { live, ..state }, ways, open);
                }
            }
        }
    }

    /// A read inside a callee proves nothing about the result: no function takes an argument in rax.
    fn unread(&self, mut inner: Ways, name: Option<&str>) -> Ways {
        if inner.read.take().is_some() {
            inner.add_unknown(|| {
                format!("{} reads the register before setting it", name.unwrap_or("a called function"))
            });
        }
        inner
    }

    fn callee_ways(&mut self, target: u64, live: Bytes) -> Ways {
        let mut unknown = Ways::default();
        if self.inside.len() >= usize::from(DEPTH) {
            unknown.add_unknown(|| "the calls nest too deeply".to_string());
            return unknown;
        }
        if self.inside.contains(&(target, live)) {
            unknown.add_unknown(|| "a called function calls itself".to_string());
            return unknown;
        }
        if !self.code.system_v(target) {
            unknown.add_unknown(|| "a called function has its own calling convention".to_string());
            return unknown;
        }
        self.inside.push((target, live));
        let ways = self.follow(target, live, true);
        self.inside.pop();
        ways
    }

    fn resolve(&self, target: u64) -> Callee {
        let name = self.code.name(target);
        if let Some(slot) = stub_slot(self.code, target) {
            return Callee::Foreign(name.or_else(|| self.code.slot_name(slot)));
        }
        // These do strange things with the stack, keep everything, or never return: known by name wherever they live.
        if let Some(known) = name.as_deref()
            && (keeps_registers(known) || thunk_register(known).is_some() || never_returns_by_reserved_name(known))
        {
            return Callee::Foreign(name);
        }
        Callee::Local(target, name)
    }
}

/// The instruction at `address`, or `None` when there is no code or it is none.
pub(crate) fn decode(code: &dyn CodeSource, address: u64) -> Option<Instruction> {
    let bytes = code.code(address, LONGEST_INSTRUCTION)?;
    let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Target of a direct near jump or call.
pub(crate) fn near_target(instruction: &Instruction) -> Option<u64> {
    matches!(instruction.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
        .then(|| instruction.near_branch_target())
}

/// For `jmp [rip+x]` and `call [rip+x]` (and the same with a plain absolute address), the address of the pointer.
pub(crate) fn pointer_slot(instruction: &Instruction) -> Option<u64> {
    (instruction.op0_kind() == OpKind::Memory
        && instruction.memory_index() == Register::None
        && (instruction.is_ip_rel_memory_operand() || instruction.memory_base() == Register::None)
        && instruction.segment_prefix() == Register::None)
        .then(|| instruction.memory_displacement64())
}

/// For a PLT stub at `address`: the pointer it jumps through.
pub(crate) fn stub_slot(code: &dyn CodeSource, address: u64) -> Option<u64> {
    let mut at = address;
    for _ in 0..2 {
        let instruction = decode(code, at)?;
        match instruction.mnemonic() {
            Mnemonic::Endbr64 | Mnemonic::Nop => at = instruction.next_ip(),
            Mnemonic::Jmp => return pointer_slot(&instruction),
            _ => return None,
        }
    }
    None
}

/// The instruction in lower-case Intel syntax, numbers as `0x…`.
pub(crate) fn text_of(instruction: &Instruction) -> String {
    let mut formatter = IntelFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(true);
    options.set_space_after_operand_separator(true);
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    text
}

fn next_is_return(code: &dyn CodeSource, address: u64) -> bool {
    decode(code, address).is_some_and(|next| next.flow_control() == FlowControl::Return)
}

/// `mov [rsp],reg` and `push` right before a `ret` turn it into a jump (retpolines).
fn makes_return_a_jump(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Push
        || (instruction.op0_kind() == OpKind::Memory
            && instruction.memory_base() == Register::RSP
            && instruction.memory_index() == Register::None
            && instruction.memory_displacement64() == 0)
}

/// True when the instruction may bring a pushed rax back.
fn may_restore(instruction: &Instruction) -> bool {
    instruction.mnemonic() == Mnemonic::Pop
        || (instruction.mnemonic() == Mnemonic::Mov
            && instruction.op1_kind() == OpKind::Memory
            && matches!(instruction.memory_base(), Register::RSP | Register::RBP))
}

/// What a reading instruction does with the result, to stand after the function's name.
fn words_of_read(instruction: &Instruction) -> String {
    let source_is_result = instruction.op_count() == 2
        && instruction.op1_kind() == OpKind::Register
        && bytes_of(instruction.op1_register()) != 0;
    match instruction.mnemonic() {
        Mnemonic::Mov if source_is_result && instruction.op0_kind() == OpKind::Memory => {
            format!("stores it ({})", text_of(instruction))
        }
        Mnemonic::Mov if source_is_result => format!("keeps it ({})", text_of(instruction)),
        Mnemonic::Test | Mnemonic::Cmp => format!("tests it ({})", text_of(instruction)),
        Mnemonic::Push => format!("passes or saves it ({})", text_of(instruction)),
        _ => format!("uses it ({})", text_of(instruction)),
    }
}
