//! Runs a function's instructions over origins instead of numbers, along all ways, until nothing new is learnt.
//!
//! Relied on: bounded steps; any bytes; unknown instructions mix the origins of what they read into what they write.
//! Deliberately absent: arithmetic beyond offsets and rough scales, flags (except which values were compared for
//! equality), floating point, jump tables (the code behind them is not followed and the summary says incomplete).

use crate::effects::{Effects, Growing, Summary, grow, grow_pair};
use crate::known::{Known, known};
use crate::memory::{Memory, Region};
use crate::value::{Atom, Base, Loc, Value, Way};
use iced_x86::{
    ConditionCode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};
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

    // ---- instructions ----

    fn step(&mut self, i: &Instruction, state: &mut State) -> Next {
        use Mnemonic as M;
        let mnemonic = i.mnemonic();
        match mnemonic {
            M::Mov
            | M::Movzx
            | M::Movsx
            | M::Movsxd
            | M::Movd
            | M::Movq
            | M::Movaps
            | M::Movups
            | M::Movdqa
            | M::Movdqu
            | M::Movapd
            | M::Movupd
            | M::Vmovd
            | M::Vmovq
            | M::Vmovaps
            | M::Vmovups
            | M::Vmovdqa
            | M::Vmovdqu
            | M::Movnti
                if i.op_count() == 2 =>
            {
                let value = self.read(i, 1, state);
                self.write(i, 0, value, state);
            }
            M::Lea => {
                let value = self.address(i, state);
                self.write(i, 0, value, state);
            }
            M::Add | M::Adc | M::Sub | M::Sbb | M::Xor | M::And | M::Or | M::Pxor | M::Xorps | M::Psubd | M::Psubq => {
                self.arithmetic(i, state);
            }
            M::Inc | M::Dec => {
                let value = self.read(i, 0, state).plus(if mnemonic == M::Inc { 1 } else { -1 });
                self.write(i, 0, value, state);
            }
            M::Neg | M::Not => {
                let value = self.read(i, 0, state);
                let value = match value.as_number() {
                    Some(number) if mnemonic == M::Neg => Value::number(number.wrapping_neg()),
                    _ => value.inverted(),
                };
                self.write(i, 0, value, state);
            }
            M::Shl | M::Shr | M::Sar => {
                let value = self.read(i, 0, state);
                let by = self.read(i, 1, state);
                let value = match by.as_number().and_then(|n| i8::try_from(n).ok()) {
                    Some(n) if mnemonic == M::Shl => value.scaled(n),
                    Some(n) => value.scaled(n.saturating_neg()),
                    None => value.mix(&by),
                };
                self.write(i, 0, value, state);
            }
            M::Imul | M::Mul | M::Div | M::Idiv => self.multiply_or_divide(i, state),
            M::Cdqe | M::Cwde | M::Cbw | M::Nop | M::Endbr64 | M::Pause => {}
            M::Cqo | M::Cdq | M::Cwd => {
                let value = state.get(Register::RAX).blurred();
                state.set(Register::RDX, value);
            }
            M::Xchg => {
                let (a, b) = (self.read(i, 0, state), self.read(i, 1, state));
                self.write(i, 0, b, state);
                self.write(i, 1, a, state);
            }
            M::Xadd => {
                let (a, b) = (self.read(i, 0, state), self.read(i, 1, state));
                self.write(i, 0, a.add(&b), state);
                self.write(i, 1, a, state);
            }
            M::Cmpxchg => {
                let (old, new) = (self.read(i, 0, state), self.read(i, 1, state));
                self.write(i, 0, new, state);
                let value = state.get(Register::RAX).join(&old);
                state.set(Register::RAX, value);
            }
            M::Cmp => {
                let pair = (self.read(i, 0, state), self.read(i, 1, state));
                state.compared = Some(pair);
            }
            M::Test => state.compared = None,
            M::Push => {
                let value = self.read(i, 0, state);
                let top = state.get(Register::RSP).plus(-8);
                if let Some(offset) = top.as_stack() {
                    state.memory.set(Region::Frame, offset, 8, value);
                }
                state.set(Register::RSP, top);
            }
            M::Pop => {
                let top = state.get(Register::RSP);
                let value = self.load(&top, 8, state);
                state.set(Register::RSP, top.plus(8));
                self.write(i, 0, value, state);
            }
            M::Leave => {
                let frame = state.get(Register::RBP);
                let saved = self.load(&frame, 8, state);
                state.set(Register::RSP, frame.plus(8));
                state.set(Register::RBP, saved);
            }
            M::Stosb | M::Stosd | M::Stosq | M::Stosw | M::Movsb | M::Movsq | M::Movsw => self.string(i, state),
            M::Movsd if i.is_string_instruction() => self.string(i, state),
            M::Call => return self.call_instruction(i, state, false),
            M::Jmp => {
                let target = i.near_branch_target();
                let stays = i.flow_control() == FlowControl::UnconditionalBranch
                    && self.is_inside(target)
                    && target != self.start;
                if !stays {
                    if let Next::Fall = self.call_instruction(i, state, true) {
                        self.returns(state);
                    }
                    return Next::Stop;
                }
            }
            M::Ret | M::Retf => {
                self.returns(state);
                return Next::Stop;
            }
            M::Ud2 | M::Hlt | M::Int3 | M::Int => return Next::Stop,
            M::Je | M::Jne | M::Sete | M::Setne | M::Cmove | M::Cmovne => {
                if let Some(pair) = state.compared.clone() {
                    grow_pair(&mut self.grown.equalities, i.ip(), pair);
                }
                match mnemonic {
                    M::Sete | M::Setne => self.write(i, 0, Value::unknown(), state),
                    M::Cmove | M::Cmovne => self.either(i, state),
                    _ => {}
                }
            }
            _ if i.flow_control() == FlowControl::ConditionalBranch => {
                // A conditional jump out of the function is a tail call.
                let target = i.near_branch_target();
                if !self.is_inside(target) {
                    let mut away = state.clone();
                    if let Next::Fall = self.call(i.ip(), Some(target), None, &mut away, 8) {
                        self.returns(&away);
                    }
                }
            }
            _ if i.condition_code() != ConditionCode::None && i.op_count() == 2 => self.either(i, state),
            _ => self.otherwise(i, state),
        }
        Next::Fall
    }

    fn either(&mut self, i: &Instruction, state: &mut State) {
        let value = self.read(i, 0, state).join(&self.read(i, 1, state));
        self.write(i, 0, value, state);
    }

    fn arithmetic(&mut self, i: &Instruction, state: &mut State) {
        use Mnemonic as M;
        let mnemonic = i.mnemonic();
        let same = i.op_kind(0) == OpKind::Register
            && i.op_kind(1) == OpKind::Register
            && i.op_register(0) == i.op_register(1);
        if same && matches!(mnemonic, M::Xor | M::Sub | M::Pxor | M::Xorps | M::Psubd | M::Psubq) {
            self.write(i, 0, Value::number(0), state);
            return;
        }
        let (a, b) = (self.read(i, 0, state), self.read(i, 1, state));
        let is_frame = a.as_stack().is_some();
        let value = match mnemonic {
            M::Add | M::Adc => {
                if same {
                    a.scaled(1)
                } else {
                    a.add(&b)
                }
            }
            M::Sub | M::Sbb if is_frame && b.as_number().is_none() => {
                // A frame of varying size: far below everything else.
                a.plus(-(1 << 20))
            }
            M::Sub | M::Sbb => {
                state.compared = Some((a.clone(), b.clone()));
                a.subtract(&b)
            }
            // Alignment of the stack pointer.
            M::And if is_frame => a,
            M::And => {
                let mask_in_memory = |v: &Value| v.loads().next().is_some() && !v.has(Atom::Inverted);
                let mut value = a.mix(&b);
                if mask_in_memory(&a) && mask_in_memory(&b) {
                    value.insert(Atom::Wrapped);
                }
                match (a.as_number(), b.as_number()) {
                    (Some(x), Some(y)) => Value::number(x & y),
                    _ => value,
                }
            }
            M::Or if b.as_number() == Some(-1) => Value::number(-1),
            M::Or | M::Xor => match (a.as_number(), b.as_number()) {
                (Some(x), Some(y)) if mnemonic == M::Or => Value::number(x | y),
                (Some(x), Some(y)) => Value::number(x ^ y),
                (None, None) => a.scaled(NO_SUM).mix(&b.scaled(NO_SUM)),
                _ => a.mix(&b),
            },
            _ => a.mix(&b),
        };
        self.write(i, 0, value, state);
    }

    fn multiply_or_divide(&mut self, i: &Instruction, state: &mut State) {
        use Mnemonic as M;
        let log2 = |n: i64| n.unsigned_abs().checked_next_power_of_two().map_or(0, |p| p.trailing_zeros() as i8);
        if matches!(i.mnemonic(), M::Div | M::Idiv) {
            let by = self.read(i, 0, state);
            let dividend = state.get(Register::RAX);
            let quotient = match by.as_number() {
                Some(n) => dividend.scaled(log2(n).saturating_neg()),
                None => dividend.mix(&by),
            };
            let mut remainder = dividend.mix(&by);
            // The rest of a position by an alignment is padding; by a size kept in memory, or of position + size, it wraps.
            let arguments = dividend.atoms().iter().any(|atom| matches!(atom, Atom::Argument(..)));
            if dividend.loads().next().is_some() && (arguments || by.loads().next().is_some()) {
                remainder.insert(Atom::Wrapped);
            }
            state.set(Register::RAX, quotient);
            state.set(Register::RDX, remainder);
            return;
        }
        let (a, b) = match i.op_count() {
            1 => (state.get(Register::RAX), self.read(i, 0, state)),
            2 => (self.read(i, 0, state), self.read(i, 1, state)),
            _ => (self.read(i, 1, state), self.read(i, 2, state)),
        };
        let product = match (a.as_number(), b.as_number()) {
            (Some(x), Some(y)) => Value::number(x.wrapping_mul(y)),
            // Multiplication by a large number is a division in disguise; its scale is told by the shift that follows.
            (None, Some(n)) => a.scaled(if n.unsigned_abs() < 1 << 31 { log2(n) } else { 0 }),
            (Some(n), None) => b.scaled(if n.unsigned_abs() < 1 << 31 { log2(n) } else { 0 }),
            (None, None) => {
                grow_pair(&mut self.grown.products, i.ip(), (a.clone(), b.clone()));
                a.mix(&b)
            }
        };
        if i.op_count() == 1 {
            state.set(Register::RDX, product.blurred());
            state.set(Register::RAX, product);
        } else {
            self.write(i, 0, product, state);
        }
    }

    fn string(&mut self, i: &Instruction, state: &mut State) {
        use Mnemonic as M;
        let width = i64::from(match i.mnemonic() {
            M::Stosb | M::Movsb => 1u8,
            M::Stosw | M::Movsw => 2,
            M::Stosd | M::Movsd => 4,
            _ => 8,
        });
        let count = if i.has_rep_prefix() { state.get(Register::RCX).as_number() } else { Some(1) };
        let bytes = count.and_then(|count| count.checked_mul(width));
        let to = state.get(Register::RDI);
        if matches!(i.mnemonic(), M::Stosb | M::Stosw | M::Stosd | M::Stosq) {
            let value = state.get(Register::RAX);
            self.fill(i.ip(), &to, value, bytes, state);
        } else {
            let from = state.get(Register::RSI);
            self.copy(i.ip(), &to, &from, bytes, state);
            state.set(Register::RSI, bytes.map_or(from.blurred(), |n| from.plus(n)));
        }
        state.set(Register::RDI, bytes.map_or(to.blurred(), |n| to.plus(n)));
        if i.has_rep_prefix() {
            state.set(Register::RCX, Value::number(0));
        }
    }

    fn fill(&mut self, at: u64, to: &Value, value: Value, bytes: Option<i64>, state: &mut State) {
        grow(&mut self.grown.fills, at, to.clone());
        if let Some(bytes) = bytes.and_then(|n| u32::try_from(n).ok())
            && bytes > 0
        {
            self.store(at, to, bytes, value, state);
        }
    }

    fn copy(&mut self, at: u64, to: &Value, from: &Value, bytes: Option<i64>, state: &mut State) {
        for loc in from.places() {
            self.grown.reads.insert((loc.base, loc.is_deep()));
        }
        match bytes {
            Some(bytes) if (1..=MAX_COPY_BYTES).contains(&bytes) => {
                let words: Vec<(i64, u32, Value)> = (0..bytes)
                    .step_by(8)
                    .map(|o| {
                        let width = u32::try_from((bytes - o).min(8)).unwrap_or(8);
                        (o, width, self.load(&from.plus(o), width, state))
                    })
                    .collect();
                for (offset, width, value) in words {
                    self.store(at, &to.plus(offset), width, value, state);
                }
            }
            _ => grow_pair(&mut self.grown.copies, at, (to.clone(), from.clone())),
        }
        grow(&mut self.grown.fills, at, to.clone());
    }

    /// Everything else: what is read flows into what is written.
    fn otherwise(&mut self, i: &Instruction, state: &mut State) {
        let info = self.info.info(i);
        let accesses: Vec<OpAccess> = (0..i.op_count()).map(|o| info.op_access(o)).collect();
        let mut value = Value::unknown();
        for (operand, access) in accesses.iter().enumerate() {
            if matches!(access, OpAccess::Read | OpAccess::ReadWrite | OpAccess::CondRead | OpAccess::ReadCondWrite) {
                let read = self.read(i, operand as u32, state);
                value = value.mix(&read);
            }
        }
        for (operand, access) in accesses.iter().enumerate() {
            if matches!(access, OpAccess::Write | OpAccess::ReadWrite | OpAccess::CondWrite | OpAccess::ReadCondWrite) {
                self.write(i, operand as u32, value.clone(), state);
            }
        }
    }

    fn returns(&mut self, state: &State) {
        let result = state.get(Register::RAX);
        let second = state.get(Register::RDX);
        self.grown.result = Some(self.grown.result.as_ref().map_or(result.clone(), |old| old.join(&result)));
        self.grown.second = Some(self.grown.second.as_ref().map_or(second.clone(), |old| old.join(&second)));
    }

    // ---- calls ----

    fn call_instruction(&mut self, i: &Instruction, state: &mut State, tail: bool) -> Next {
        // Stack arguments lie at the stack pointer, above the return address in a tail call.
        let skip = if tail { 8 } else { 0 };
        match i.op_kind(0) {
            OpKind::NearBranch64 => self.call(i.ip(), Some(i.near_branch_target()), None, state, skip),
            OpKind::Memory if i.is_ip_rel_memory_operand() => {
                let name = self.effects.binary.slot(i.memory_displacement64()).map(str::to_string);
                self.call(i.ip(), None, name, state, skip)
            }
            _ => self.call(i.ip(), None, None, state, skip),
        }
    }

    fn call(&mut self, at: u64, target: Option<u64>, name: Option<String>, state: &mut State, skip: i64) -> Next {
        let mut arguments: Vec<Value> = ARGUMENT_REGISTERS.iter().map(|&r| state.get(r)).collect();
        let top = state.get(Register::RSP).as_stack();
        for word in 0..6i64 {
            let value = top.and_then(|top| state.memory.get(Region::Frame, top + skip + 8 * word, 8));
            arguments.push(value.unwrap_or_default());
        }
        // Within a shared library, calls of exported functions go through stubs or slots that lead back here.
        let own = match (target, &name) {
            (Some(target), _) => Some(self.effects.binary.resolve(target)),
            (None, Some(name)) if known(name).is_none() => self.effects.binary.defined(name),
            _ => None,
        };
        if let Some(target) = own {
            if self.effects.is_opaque(target) {
                let kept = self.grown.calls.entry((at, target)).or_insert_with(|| arguments.clone());
                for (old, new) in kept.iter_mut().zip(&arguments) {
                    *old = old.join(new);
                }
                state.set(Register::RAX, Value::of(Atom::Result(target)));
                state.set(Register::RDX, Value::unknown());
                return Next::Fall;
            }
            let meaning = self.effects.binary.names(target).iter().find_map(|name| known(name));
            if let Some(meaning) = meaning {
                return self.library(at, meaning, &arguments, state);
            }
            if let Some(name) = self.effects.binary.stub(target) {
                let name = name.to_string();
                return self.named(at, &name, &arguments, state);
            }
            if let Some(summary) = self.effects.summary(target) {
                return self.apply(at, &summary, &arguments, state);
            }
            self.after_unknown(state);
            return Next::Fall;
        }
        match name {
            Some(name) => self.named(at, &name, &arguments, state),
            None => {
                self.after_unknown(state);
                Next::Fall
            }
        }
    }

    fn after_unknown(&mut self, state: &mut State) {
        // Only the result registers change: code that reads another caller-saved register after a call knows that the
        // callee keeps it (gcc does this within one file).
        state.set(Register::RAX, Value::of(Atom::Foreign));
        state.set(Register::RDX, Value::unknown());
    }

    fn named(&mut self, at: u64, name: &str, arguments: &[Value], state: &mut State) -> Next {
        match known(name) {
            Some(meaning) => self.library(at, meaning, arguments, state),
            None => {
                self.after_unknown(state);
                Next::Fall
            }
        }
    }

    fn library(&mut self, at: u64, meaning: Known, arguments: &[Value], state: &mut State) -> Next {
        let argument = |index: usize| arguments.get(index).cloned().unwrap_or_default();
        let mut result = Value::unknown();
        match meaning {
            Known::Ends => return Next::Stop,
            Known::Obtain => {
                let sizes = argument(0).mix(&argument(1));
                grow(&mut self.grown.obtains, at, sizes);
                result = Value::of(Atom::Fresh);
            }
            Known::ObtainInto => {
                grow(&mut self.grown.obtains, at, argument(2));
                self.store(at, &argument(0), 8, Value::of(Atom::Fresh), state);
            }
            Known::Move if argument(0).as_number() == Some(0) => {
                grow(&mut self.grown.obtains, at, argument(1));
                result = Value::of(Atom::Fresh);
            }
            Known::Move => {
                grow(&mut self.grown.moves, at, argument(0));
                result = Value::of(Atom::Moved);
            }
            Known::Release => grow(&mut self.grown.releases, at, argument(0)),
            Known::Copy => {
                self.copy(at, &argument(0), &argument(1), argument(2).as_number(), state);
                result = argument(0);
            }
            Known::Fill => {
                self.fill(at, &argument(0), argument(1), argument(2).as_number(), state);
                result = argument(0);
            }
            Known::Zero => self.fill(at, &argument(0), Value::number(0), argument(1).as_number(), state),
            Known::WriteFirst => {
                grow(&mut self.grown.fills, at, argument(0));
                result = argument(0);
            }
            Known::WriteSecond => grow(&mut self.grown.fills, at, argument(1)),
            Known::SendFirst => grow(&mut self.grown.sends, at, argument(0)),
            Known::SendSecond => grow(&mut self.grown.sends, at, argument(1)),
        }
        state.set(Register::RAX, result);
        state.set(Register::RDX, Value::unknown());
        Next::Fall
    }

    /// Plays a callee's summary with the caller's values.
    fn apply(&mut self, at: u64, callee: &Summary, arguments: &[Value], state: &mut State) -> Next {
        let Some(result) = &callee.result else { return Next::Stop };
        // All reads before all writes: the callee's loads mean the state at the call.
        let result = self.translate(result, arguments, state);
        let second = callee.second.as_ref().map_or(Value::unknown(), |v| self.translate(v, arguments, state));
        let stores: Vec<(Loc, u32, Value)> =
            callee.stores.iter().map(|s| (s.loc, s.bytes, self.translate(&s.value, arguments, state))).collect();
        let key = |index: usize| at.wrapping_mul(64).wrapping_add(index as u64) | 1 << 63;
        for (index, value) in callee.releases.iter().enumerate() {
            let value = self.translate(value, arguments, state);
            grow(&mut self.grown.releases, key(index), value);
        }
        for (index, value) in callee.moves.iter().enumerate() {
            let value = self.translate(value, arguments, state);
            grow(&mut self.grown.moves, key(index), value);
        }
        for (index, value) in callee.sends.iter().enumerate() {
            let value = self.translate(value, arguments, state);
            grow(&mut self.grown.sends, key(index), value);
        }
        for (index, value) in callee.fills.iter().enumerate() {
            let value = self.translate(value, arguments, state);
            grow(&mut self.grown.fills, key(index), value);
        }
        for (index, value) in callee.obtains.iter().enumerate() {
            let value = self.translate(value, arguments, state);
            grow(&mut self.grown.obtains, key(index), value);
        }
        for (index, (to, from)) in callee.copies.iter().enumerate() {
            let pair = (self.translate(to, arguments, state), self.translate(from, arguments, state));
            grow_pair(&mut self.grown.copies, key(index), pair);
        }
        for (index, (a, b)) in callee.equalities.iter().enumerate() {
            let pair = (self.translate(a, arguments, state), self.translate(b, arguments, state));
            grow_pair(&mut self.grown.equalities, key(index), pair);
        }
        for (index, (a, b)) in callee.products.iter().enumerate() {
            let pair = (self.translate(a, arguments, state), self.translate(b, arguments, state));
            grow_pair(&mut self.grown.products, key(index), pair);
        }
        for (index, call) in callee.calls.iter().enumerate() {
            let values: Vec<Value> = call.arguments.iter().map(|v| self.translate(v, arguments, state)).collect();
            let kept = self.grown.calls.entry((key(index), call.target)).or_insert_with(|| values.clone());
            for (old, new) in kept.iter_mut().zip(&values) {
                *old = old.join(new);
            }
        }
        for &(base, deep) in &callee.reads {
            match base {
                Base::Argument(word) => {
                    for loc in arguments.get(usize::from(word)).map(Value::places).unwrap_or_default() {
                        self.grown.reads.insert((loc.base, loc.is_deep() || deep));
                    }
                }
                other => {
                    self.grown.reads.insert((other, deep));
                }
            }
        }
        for (index, (loc, bytes, value)) in stores.into_iter().enumerate() {
            match loc.base {
                Base::Argument(word) => {
                    let Some(argument) = arguments.get(usize::from(word)) else { continue };
                    if !loc.is_deep() {
                        let address = match loc.offset {
                            Some(offset) => argument.plus(offset),
                            None => argument.blurred(),
                        };
                        self.store_perhaps(key(index), &address, bytes, value, false, state);
                    } else {
                        for (base, way) in self.bases_behind(argument, loc.way, state) {
                            let loc = Loc { base, way, offset: loc.offset };
                            self.store_at(key(index), loc, bytes, &value, false, state);
                        }
                    }
                }
                _ => self.store_at(key(index), loc, bytes, &value, false, state),
            }
        }
        state.set(Register::RAX, result);
        state.set(Register::RDX, second);
        if !callee.complete {
            self.grown.incomplete = true;
        }
        Next::Fall
    }

    /// What a callee reaches behind the pointers of an argument, in terms of the caller.
    fn bases_behind(&self, argument: &Value, way: Way, state: &State) -> Vec<(Base, Way)> {
        let mut found: Vec<(Base, Way)> = Vec::new();
        let mut add = |base: Base, way: Way| {
            if !found.contains(&(base, way)) {
                found.push((base, way));
            }
        };
        let Way::Behind(first) = way else { return found };
        if let Some(offset) = argument.as_stack() {
            // An object in our frame: its cells are known.
            let (start, bytes) = match first {
                Some(first) => (offset.saturating_add(first), 1),
                None => (offset, FRAME_OBJECT_BYTES),
            };
            for value in state.memory.frame_values(start, bytes) {
                for loc in value.places() {
                    if value.as_number().is_none() {
                        add(loc.base, loc.way);
                    }
                }
            }
            return found;
        }
        if argument.as_number().is_some() {
            return found;
        }
        for loc in argument.places() {
            let way = match (loc.way, loc.offset, first) {
                (Way::Direct, Some(offset), Some(first)) => Way::Behind(Some(offset.saturating_add(first))),
                (Way::Direct, _, _) => Way::Behind(None),
                (behind, _, _) => behind,
            };
            add(loc.base, way);
        }
        found
    }

    /// A callee's value in terms of the caller.
    fn translate(&mut self, value: &Value, arguments: &[Value], state: &State) -> Value {
        if value.as_number().is_some() {
            return value.clone();
        }
        let mut out: Option<Value> = None;
        for &atom in value.atoms() {
            let own = match atom {
                Atom::Argument(word, scale) => {
                    let own = arguments.get(usize::from(word)).cloned().unwrap_or_default();
                    if scale == 0 { own } else { own.scaled(scale) }
                }
                Atom::Load(loc) => self.translate_load(loc, arguments, state),
                Atom::Stack => Value::unknown(),
                other => Value::of(other),
            };
            let own = value.offset.map_or_else(|| own.blurred(), |offset| own.plus(offset));
            out = Some(out.map_or(own.clone(), |old| old.join(&own)));
        }
        out.unwrap_or_default()
    }

    fn translate_load(&mut self, loc: Loc, arguments: &[Value], state: &State) -> Value {
        let Base::Argument(word) = loc.base else { return self.content(loc, 8, state) };
        let argument = arguments.get(usize::from(word)).cloned().unwrap_or_default();
        if !loc.is_deep() {
            let address = loc.offset.map_or_else(|| argument.blurred(), |offset| argument.plus(offset));
            return self.load(&address, 8, state);
        }
        let mut out: Option<Value> = None;
        for (base, way) in self.bases_behind(&argument, loc.way, state) {
            let own = self.content(Loc { base, way, offset: loc.offset }, 8, state);
            out = Some(out.map_or(own.clone(), |old| old.join(&own)));
        }
        out.unwrap_or_default()
    }
}
