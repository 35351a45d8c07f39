//! Runs a function's instructions over origins instead of numbers, along all ways, until nothing new is learnt.
//!
//! Relied on: bounded steps; any bytes; unknown instructions mix the origins of what they read into what they write.
//! Deliberately absent: arithmetic beyond offsets and rough scales, flags (except which values were compared for
//! equality), floating point, jump tables (the code behind them is not followed and the summary says incomplete).

mod calls;
mod instructions;

use crate::effects::{Effects, Growing, Summary, grow};
use crate::memory::{Memory, Region};
use crate::value::{Atom, Base, Loc, Value, Way};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpKind, Register};
use std::collections::{BTreeMap, BTreeSet};

/// Functions with more instructions are not analysed.
const MAX_INSTRUCTIONS: usize = 6000;
/// Instruction visits per function.
const MAX_STEPS: usize = 60_000;
/// Visits of one block before its growth is cut off.
const MAX_VISITS: usize = 12;
/// Copies of known length up to this are followed word by word.
const MAX_COPY_BYTES: i64 = 256;
/// Where thread-local variables are placed: far from every address of a file.
const THREAD_BASE: u64 = 1 << 62;
/// The scale of an argument whose bits were merged into others: no sum of bytes.
const NO_SUM: i8 = 24;
/// How much of a frame object a callee may read through a pointer.
const FRAME_OBJECT_BYTES: i64 = 96;

const ARGUMENT_REGISTERS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// Registers and memory at one point.
#[derive(Clone, PartialEq, Eq)]
struct State {
    /// 16 general registers, 32 vector registers.
    registers: Vec<Value>,
    memory: Memory,
    /// The last comparison.
    compared: Option<(Value, Value)>,
}

impl State {
    fn entry() -> State {
        let mut state = State { registers: vec![Value::unknown(); 48], memory: Memory::default(), compared: None };
        for (word, register) in ARGUMENT_REGISTERS.into_iter().enumerate() {
            state.set(register, Value::of(Atom::Argument(word as u8, 0)));
        }
        state.set(Register::RSP, Value::stack(0));
        for word in 0..6u8 {
            let at = 8 + 8 * i64::from(word);
            state.memory.set(Region::Frame, at, 8, Value::of(Atom::Argument(6 + word, 0)));
        }
        state
    }

    fn index(register: Register) -> Option<usize> {
        let full = register.full_register();
        if full.is_gpr64() {
            Some(full.number())
        } else if register.is_xmm() || register.is_ymm() || register.is_zmm() {
            Some(16 + full.number())
        } else {
            None
        }
    }

    fn get(&self, register: Register) -> Value {
        State::index(register).and_then(|i| self.registers.get(i)).cloned().unwrap_or_default()
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(slot) = State::index(register).and_then(|i| self.registers.get_mut(i)) {
            *slot = value;
        }
    }

    fn join(&self, other: &State) -> State {
        State {
            registers: self.registers.iter().zip(&other.registers).map(|(a, b)| a.join(b)).collect(),
            memory: self.memory.join(&other.memory),
            compared: if self.compared == other.compared { self.compared.clone() } else { None },
        }
    }
}

/// What happens after an instruction.
enum Next {
    Fall,
    Stop,
}

/// One function under analysis.
pub(crate) struct Machine<'m, 'a, 'b> {
    effects: &'m mut Effects<'a, 'b>,
    start: u64,
    end: u64,
    code: BTreeMap<u64, Instruction>,
    leaders: BTreeSet<u64>,
    grown: Growing,
    info: InstructionInfoFactory,
}

impl<'m, 'a, 'b> Machine<'m, 'a, 'b> {
    /// The summary of the function in `[start, end)`; `None` when it is too big or not code.
    pub(crate) fn run(effects: &'m mut Effects<'a, 'b>, start: u64, end: u64) -> Option<Summary> {
        let mut machine = Machine {
            effects,
            start,
            end,
            code: BTreeMap::new(),
            leaders: BTreeSet::new(),
            grown: Growing::default(),
            info: InstructionInfoFactory::new(),
        };
        machine.decode()?;
        machine.fixpoint();
        Some(machine.grown.finish())
    }

    /// True when a jump to `target` stays in this function: its own range or its cold part.
    fn is_inside(&self, target: u64) -> bool {
        (self.start <= target && target < self.end) || self.effects.binary.is_cold_part(target)
    }

    fn decode(&mut self) -> Option<()> {
        let mut pending = vec![self.start];
        self.leaders.insert(self.start);
        while let Some(mut at) = pending.pop() {
            while !self.code.contains_key(&at) {
                if self.code.len() >= MAX_INSTRUCTIONS {
                    return None;
                }
                let Some(bytes) = self.effects.binary.code(at, 16) else {
                    self.grown.incomplete = true;
                    break;
                };
                let mut decoder = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE);
                let instruction = decoder.decode();
                if instruction.is_invalid() {
                    self.grown.incomplete = true;
                    break;
                }
                self.code.insert(at, instruction);
                let target = instruction.near_branch_target();
                match instruction.flow_control() {
                    FlowControl::ConditionalBranch => {
                        for next in [target, instruction.next_ip()] {
                            if self.is_inside(next) {
                                self.leaders.insert(next);
                                pending.push(next);
                            }
                        }
                        break;
                    }
                    FlowControl::UnconditionalBranch => {
                        if self.is_inside(target) && target != self.start {
                            self.leaders.insert(target);
                            pending.push(target);
                        }
                        break;
                    }
                    FlowControl::IndirectBranch => {
                        // Through the global offset table it is a tail call; else a jump table.
                        if !instruction.is_ip_rel_memory_operand() {
                            self.grown.incomplete = true;
                        }
                        break;
                    }
                    FlowControl::Return | FlowControl::Exception | FlowControl::Interrupt => break,
                    _ => {}
                }
                at = instruction.next_ip();
                if !self.is_inside(at) {
                    break;
                }
            }
        }
        Some(())
    }

    fn fixpoint(&mut self) {
        let mut states: BTreeMap<u64, State> = BTreeMap::from([(self.start, State::entry())]);
        let mut visits: BTreeMap<u64, usize> = BTreeMap::new();
        let mut pending: BTreeSet<u64> = BTreeSet::from([self.start]);
        let mut steps = 0usize;
        while let Some(leader) = pending.pop_first() {
            let count = visits.entry(leader).or_default();
            *count += 1;
            if *count > MAX_VISITS || steps > MAX_STEPS {
                self.grown.incomplete = true;
                continue;
            }
            let Some(mut state) = states.get(&leader).cloned() else { continue };
            let mut at = leader;
            let mut targets: Vec<u64> = Vec::new();
            while let Some(instruction) = self.code.get(&at).copied() {
                steps += 1;
                self.effects.steps += 1;
                let next = self.step(&instruction, &mut state);
                if let Next::Stop = next {
                    break;
                }
                match instruction.flow_control() {
                    FlowControl::ConditionalBranch => {
                        targets.extend([instruction.near_branch_target(), instruction.next_ip()]);
                        break;
                    }
                    FlowControl::UnconditionalBranch => {
                        targets.push(instruction.near_branch_target());
                        break;
                    }
                    _ => {}
                }
                at = instruction.next_ip();
                if self.leaders.contains(&at) {
                    targets.push(at);
                    break;
                }
            }
            for target in targets {
                if !self.leaders.contains(&target) {
                    continue;
                }
                match states.get(&target) {
                    Some(old) if *old == state => {}
                    Some(old) => {
                        let joined = old.join(&state);
                        if joined != *old {
                            states.insert(target, joined);
                            pending.insert(target);
                        }
                    }
                    None => {
                        states.insert(target, state.clone());
                        pending.insert(target);
                    }
                }
            }
        }
    }

    // ---- operands ----

    fn address(&self, instruction: &Instruction, state: &State) -> Value {
        let displacement = instruction.memory_displacement64();
        if matches!(instruction.segment_prefix(), Register::FS | Register::GS) {
            let thread = Value::of(Atom::Global(THREAD_BASE));
            return match (instruction.memory_base(), instruction.memory_index()) {
                (Register::None, Register::None) => {
                    // 32-bit displacements are sign-extended.
                    thread.plus(displacement as i64)
                }
                _ => Value::unknown(),
            };
        }
        let is_variable = self.effects.binary.is_variable(displacement);
        if instruction.is_ip_rel_memory_operand() {
            return if is_variable {
                Value::of(Atom::Global(displacement))
            } else {
                Value::number(displacement as i64)
            };
        }
        let fixed = self.effects.binary.is_fixed();
        let mut sum = if fixed && is_variable {
            Value::of(Atom::Global(displacement))
        } else {
            Value::number(displacement as i64)
        };
        let base = instruction.memory_base();
        if base != Register::None {
            sum = state.get(base).add(&sum);
        }
        let index = instruction.memory_index();
        if index != Register::None {
            let scale = instruction.memory_index_scale();
            let value = state.get(index);
            let value = match (scale, value.as_number()) {
                (1, _) => value,
                (_, Some(number)) => Value::number(number.wrapping_mul(i64::from(scale))),
                _ => value.scaled(scale.trailing_zeros() as i8),
            };
            sum = sum.add(&value);
        }
        sum
    }

    fn read(&mut self, instruction: &Instruction, operand: u32, state: &State) -> Value {
        match instruction.op_kind(operand) {
            OpKind::Register => {
                let register = instruction.op_register(operand);
                let value = state.get(register);
                if register.is_gpr8() || register.is_gpr16() { value.blurred() } else { value }
            }
            OpKind::Memory => {
                let address = self.address(instruction, state);
                self.load(&address, instruction.memory_size().size() as u32, state)
            }
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => Value::unknown(),
            _ => match instruction.try_immediate(operand) {
                Ok(number) => {
                    if self.effects.binary.is_fixed() && self.effects.binary.is_variable(number) {
                        Value::of(Atom::Global(number))
                    } else {
                        Value::number(number as i64)
                    }
                }
                Err(_) => Value::unknown(),
            },
        }
    }

    fn write(&mut self, instruction: &Instruction, operand: u32, value: Value, state: &mut State) {
        match instruction.op_kind(operand) {
            OpKind::Register => {
                let register = instruction.op_register(operand);
                if register.is_gpr8() || register.is_gpr16() {
                    let mixed = state.get(register).mix(&value);
                    state.set(register, mixed);
                } else {
                    state.set(register, value);
                }
            }
            OpKind::Memory => {
                let address = self.address(instruction, state);
                let bytes = instruction.memory_size().size() as u32;
                self.store(instruction.ip(), &address, bytes, value, state);
            }
            _ => {}
        }
    }

    fn load(&mut self, address: &Value, bytes: u32, state: &State) -> Value {
        if let Some(offset) = address.as_stack() {
            return state.memory.get(Region::Frame, offset, bytes).unwrap_or_default();
        }
        let mut out: Option<Value> = None;
        for loc in address.places() {
            if let Base::Global(at) = loc.base
                && !loc.is_deep()
                && at < THREAD_BASE / 2
                && !self.effects.binary.is_variable(at)
            {
                continue; // constants
            }
            self.grown.reads.insert((loc.base, loc.is_deep()));
            let value = self.content(loc, bytes, state);
            out = Some(out.map_or(value.clone(), |old| old.join(&value)));
        }
        out.unwrap_or_default()
    }

    fn content(&self, loc: Loc, bytes: u32, state: &State) -> Value {
        if loc == (Loc { base: Base::Global(THREAD_BASE), way: Way::Direct, offset: Some(0) }) {
            return Value::of(Atom::Global(THREAD_BASE));
        }
        loc.offset
            .and_then(|offset| state.memory.get(Region::Object(loc.base, loc.way), offset, bytes))
            .unwrap_or_else(|| Value::of(Atom::Load(loc)))
    }

    fn store(&mut self, at: u64, address: &Value, bytes: u32, value: Value, state: &mut State) {
        self.store_perhaps(at, address, bytes, value, true, state);
    }

    /// A store that may not happen (`certain` false: a callee's, on some of its ways) leaves the old value possible.
    fn store_perhaps(&mut self, at: u64, address: &Value, bytes: u32, value: Value, certain: bool, state: &mut State) {
        if let Some(offset) = address.as_stack() {
            let old = if certain { None } else { state.memory.get(Region::Frame, offset, bytes) };
            let value = old.map_or(value.clone(), |old| old.join(&value));
            state.memory.set(Region::Frame, offset, bytes, value);
            return;
        }
        let places = address.places();
        let only = certain && places.len() == 1 && !address.has(Atom::Stack);
        for loc in places {
            self.store_at(at, loc, bytes, &value, only, state);
        }
    }

    fn store_at(&mut self, at: u64, loc: Loc, bytes: u32, value: &Value, certain: bool, state: &mut State) {
        if let Base::Global(address) = loc.base
            && !loc.is_deep()
            && address < THREAD_BASE / 2
            && !self.effects.binary.is_variable(address)
        {
            return;
        }
        grow(&mut self.grown.stores, (at, loc, bytes), value.clone());
        if let Some(offset) = loc.offset {
            let region = Region::Object(loc.base, loc.way);
            let value = if certain { value.clone() } else { self.content(loc, bytes, state).join(value) };
            state.memory.set(region, offset, bytes, value);
        }
    }
}
