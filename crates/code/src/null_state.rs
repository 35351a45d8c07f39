//! Where a NULL that a call returned may live: registers and stack slots, one instruction after the other.
//!
//! The NULL is a known number, so that sums with constants are known too, and a test of it has a known outcome: the
//! way that a check for NULL guards is not taken. Pure; calls, returns and the choice of ways are `null_use`'s part.
//! Deliberately absent: memory other than the stack (a store there only sets `elsewhere`).

use iced_x86::{Code, ConditionCode, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};
use std::collections::{BTreeMap, BTreeSet};

/// Where a stack slot is counted from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Frame {
    /// The stack pointer where the walk began.
    Stack,
    /// The frame pointer where the walk began.
    Pointer,
}

/// What a register or slot holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Value {
    /// The NULL plus a number; `None` when the number is not known.
    Null(Option<i64>),
    /// An address on the stack.
    Stack(Frame, i64),
    /// Perhaps the NULL, perhaps not.
    Unclear,
    /// Surely not made from this NULL.
    Other,
}

/// Flags after a comparison of a known number with another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Flags {
    zero: bool,
    sign: bool,
    carry: bool,
}

/// Registers, slots and flags at one instruction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct State {
    registers: [Value; 16],
    slots: BTreeMap<(Frame, i64), Value>,
    flags: Option<Flags>,
    /// The NULL was stored somewhere that is not followed, or passed to a function.
    pub(crate) elsewhere: bool,
}

/// Number of a general register in the encoding's order: rax rcx rdx rbx rsp rbp rsi rdi r8 … r15.
pub(crate) fn number(register: Register) -> Option<usize> {
    (register.is_gpr() && register != Register::None).then(|| register.full_register().number())
}

const RAX: usize = 0;
const RSP: usize = 4;
const RBP: usize = 5;

/// The registers that a call loses by the System V convention, one bit each by [`number`].
pub(crate) const CALLER_SAVED: u16 = 0b0000_1111_1100_0111;

/// The integer argument registers of the System V convention, in order.
pub(crate) const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

impl State {
    /// Right after a call that left `result` in rax.
    pub(crate) fn after_call(result: Value) -> Self {
        let mut registers = [Value::Other; 16];
        registers[RAX] = result;
        registers[RSP] = Value::Stack(Frame::Stack, 0);
        registers[RBP] = Value::Stack(Frame::Pointer, 0);
        State { registers, slots: BTreeMap::new(), flags: None, elsewhere: false }
    }

    /// What `register` holds; parts of a register hold what the whole holds.
    pub(crate) fn register(&self, register: Register) -> Value {
        number(register).and_then(|n| self.registers.get(n).copied()).unwrap_or(Value::Other)
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(n) = number(register)
            && let Some(place) = self.registers.get_mut(n)
        {
            *place = match register.size() {
                8 => value,
                4 => match value {
                    Value::Null(Some(k)) => Value::Null(Some(k & 0xffff_ffff)),
                    Value::Stack(..) => Value::Other,
                    other => other,
                },
                _ => match (*place, value) {
                    (Value::Other, Value::Other) => Value::Other,
                    _ => Value::Unclear,
                },
            };
        }
    }

    /// The number of the argument register that holds the NULL, from 1.
    pub(crate) fn passes_null(&self) -> Option<usize> {
        ARGUMENTS.iter().position(|&r| matches!(self.register(r), Value::Null(_))).map(|i| i.saturating_add(1))
    }

    /// The call at this point was made and came back. `written` has a bit, by [`number`], for each register that the
    /// callee may write; `None` when that is not known.
    pub(crate) fn return_from_call(&mut self, written: Option<u16>) {
        let mut exposed = Vec::new();
        for register in ARGUMENTS {
            match self.register(register) {
                Value::Null(_) | Value::Unclear => self.elsewhere = true,
                Value::Stack(frame, at) => exposed.push((frame, at)),
                Value::Other => {}
            }
        }
        for slot in exposed {
            // The callee got the slot's address and may have changed it.
            if self.slots.contains_key(&slot) {
                self.slots.insert(slot, Value::Unclear);
            }
        }
        let lost = [
            Register::RAX,
            Register::RCX,
            Register::RDX,
            Register::RSI,
            Register::RDI,
            Register::R8,
            Register::R9,
            Register::R10,
            Register::R11,
        ];
        for register in lost {
            let bit = number(register).map_or(0, |n| 1u16 << n);
            let value = match written {
                // gcc keeps values in such registers across calls of the same file (-fipa-ra).
                Some(written) if written & bit == 0 => continue,
                Some(_) if register == Register::RAX => self.loaded_from_elsewhere(),
                Some(_) => Value::Other,
                None => match self.register(register) {
                    Value::Null(_) | Value::Unclear => Value::Unclear,
                    _ if register == Register::RAX => self.loaded_from_elsewhere(),
                    _ => Value::Other,
                },
            };
            self.set(register, value);
        }
        self.flags = None;
    }

    /// The call at this point was made, and the callee's first instruction is next.
    pub(crate) fn enter_call(&mut self) {
        if let Value::Stack(frame, at) = self.register(Register::RSP) {
            self.set(Register::RSP, Value::Stack(frame, at.saturating_sub(8)));
        }
        self.flags = None;
    }

    /// True when the instruction surely touches an address close to NULL: the program does not get past it.
    pub(crate) fn faults(&self, instruction: &Instruction) -> bool {
        let touches = !matches!(
            instruction.mnemonic(),
            Mnemonic::Lea
                | Mnemonic::Nop
                | Mnemonic::Reservednop
                | Mnemonic::Prefetcht0
                | Mnemonic::Prefetcht1
                | Mnemonic::Prefetcht2
                | Mnemonic::Prefetchnta
                | Mnemonic::Prefetchw
        ) && (0..instruction.op_count()).any(|i| instruction.op_kind(i) == OpKind::Memory);
        touches
            && instruction.memory_index() == Register::None
            && match self.register(instruction.memory_base()) {
                Value::Null(Some(number)) => {
                    let displacement = instruction.memory_displacement64().cast_signed();
                    let address = number.wrapping_add(displacement);
                    // Linux keeps these pages unmapped (`vm.mmap_min_addr`).
                    (0..0x1_0000).contains(&address)
                }
                _ => false,
            }
    }

    fn loaded_from_elsewhere(&self) -> Value {
        if self.elsewhere { Value::Unclear } else { Value::Other }
    }

    /// The stack slot that the instruction's memory operand names.
    fn slot(&self, instruction: &Instruction) -> Option<(Frame, i64)> {
        if instruction.memory_index() != Register::None {
            return None;
        }
        match self.register(instruction.memory_base()) {
            Value::Stack(frame, at) => {
                let displacement = instruction.memory_displacement64().cast_signed();
                Some((frame, at.wrapping_add(displacement)))
            }
            _ => None,
        }
    }

    fn load(&self, instruction: &Instruction) -> Value {
        match self.slot(instruction) {
            Some(slot) => self.slots.get(&slot).copied().unwrap_or(Value::Other),
            None => self.loaded_from_elsewhere(),
        }
    }

    /// Stores `value`; `taken` are the frame offsets whose address the function takes somewhere: those are not
    /// followed, anybody may change them.
    fn store(&mut self, instruction: &Instruction, value: Value, taken: &BTreeSet<(Register, i64)>) {
        let ours = matches!(value, Value::Null(_) | Value::Unclear);
        let key = (instruction.memory_base(), instruction.memory_displacement64().cast_signed());
        let Some((frame, at)) = self.slot(instruction).filter(|_| !taken.contains(&key)) else {
            self.elsewhere |= ours;
            return;
        };
        let size = i64::try_from(instruction.memory_size().size()).unwrap_or(8);
        // Whatever overlaps is gone.
        self.slots.retain(|&(f, a), _| f != frame || a.saturating_add(8) <= at || at.saturating_add(size) <= a);
        match value {
            Value::Other => {}
            value if size == 8 => {
                self.slots.insert((frame, at), value);
            }
            Value::Null(_) | Value::Unclear => {
                self.slots.insert((frame, at), Value::Unclear);
            }
            Value::Stack(..) => {}
        }
    }

    /// Which way a conditional branch goes, when known.
    pub(crate) fn takes(&self, instruction: &Instruction) -> Option<bool> {
        let Flags { zero, sign, carry } = self.flags?;
        Some(match instruction.condition_code() {
            ConditionCode::e => zero,
            ConditionCode::ne => !zero,
            ConditionCode::s | ConditionCode::l => sign,
            ConditionCode::ns | ConditionCode::ge => !sign,
            ConditionCode::b => carry,
            ConditionCode::ae => !carry,
            ConditionCode::be => carry || zero,
            ConditionCode::a => !carry && !zero,
            ConditionCode::le => zero || sign,
            ConditionCode::g => !zero && !sign,
            _ => return None,
        })
    }

    fn operand(&self, instruction: &Instruction, index: u32) -> Value {
        match instruction.op_kind(index) {
            OpKind::Register => self.register(instruction.op_register(index)),
            OpKind::Memory => self.load(instruction),
            _ => Value::Other,
        }
    }

    /// The state after an instruction that is no branch and no call.
    pub(crate) fn step(
        &mut self,
        instruction: &Instruction,
        factory: &mut InstructionInfoFactory,
        taken: &BTreeSet<(Register, i64)>,
    ) {
        let flags = self.flags_after(instruction);
        if !self.step_known(instruction, taken) {
            self.step_any(instruction, factory, taken);
        }
        self.flags = flags;
    }

    fn flags_after(&self, instruction: &Instruction) -> Option<Flags> {
        if instruction.rflags_modified() == 0 {
            return self.flags;
        }
        if instruction.op_count() != 2 {
            return None;
        }
        let Value::Null(Some(left)) = self.operand(instruction, 0) else {
            return None;
        };
        let wide = match instruction.op0_kind() {
            OpKind::Register => instruction.op0_register().size() == 8,
            _ => instruction.memory_size().size() == 8,
        };
        let left = if wide { left } else { left & 0xffff_ffff };
        let right_is_left = instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register
            && instruction.op0_register() == instruction.op1_register();
        let zero = |value: i64| Flags { zero: value == 0, sign: value < 0, carry: false };
        match instruction.mnemonic() {
            Mnemonic::Test if right_is_left => Some(zero(left)),
            // Comparing with 0 never overflows; another small number is compared as it is.
            Mnemonic::Cmp => {
                let right = immediate(instruction)?;
                let difference = left.checked_sub(right)?;
                Some(Flags {
                    zero: difference == 0,
                    sign: difference < 0,
                    carry: left.cast_unsigned() < right.cast_unsigned(),
                })
            }
            _ => None,
        }
    }

    /// Instructions that move the NULL about in a known way; false when this is none.
    fn step_known(&mut self, instruction: &Instruction, taken: &BTreeSet<(Register, i64)>) -> bool {
        let to_register = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Register;
        match instruction.mnemonic() {
            Mnemonic::Mov if to_register => {
                let mut value = self.operand(instruction, 1);
                let narrow = instruction.op1_kind() == OpKind::Memory && instruction.memory_size().size() < 4;
                if narrow && value != Value::Other {
                    value = Value::Unclear;
                }
                self.set(instruction.op0_register(), value);
            }
            Mnemonic::Mov => {
                let value = self.operand(instruction, 1);
                self.store(instruction, value, taken);
            }
            Mnemonic::Lea => {
                let value = self.address(instruction);
                self.set(instruction.op0_register(), value);
            }
            Mnemonic::Xor | Mnemonic::Sub
                if to_register
                    && instruction.op1_kind() == OpKind::Register
                    && instruction.op0_register() == instruction.op1_register() =>
            {
                self.set(instruction.op0_register(), Value::Other);
            }
            Mnemonic::Add | Mnemonic::Sub if to_register => {
                let left = self.register(instruction.op0_register());
                let right = self.operand(instruction, 1);
                let number = immediate(instruction)
                    .map(|n| if instruction.mnemonic() == Mnemonic::Sub { n.wrapping_neg() } else { n });
                if instruction.op0_register() == Register::RSP && number.is_none() && right == Value::Other {
                    // alloca: the stack pointer is lost, slots of the frame pointer stay.
                    self.set(Register::RSP, Value::Other);
                } else {
                    self.set(instruction.op0_register(), sum(left, right, number));
                }
            }
            Mnemonic::Add | Mnemonic::Sub => {
                let right = self.operand(instruction, 1);
                let number = immediate(instruction).map(|n| match instruction.mnemonic() {
                    Mnemonic::Sub => n.wrapping_neg(),
                    _ => n,
                });
                let value = sum(self.load(instruction), right, number);
                self.store(instruction, value, taken);
            }
            Mnemonic::Push => {
                let value = match instruction.op0_kind() {
                    OpKind::Register => self.register(instruction.op0_register()),
                    OpKind::Memory => self.load(instruction),
                    _ => Value::Other,
                };
                self.move_stack(-8);
                if let Value::Stack(frame, at) = self.register(Register::RSP) {
                    if value == Value::Other {
                        self.slots.remove(&(frame, at));
                    } else {
                        self.slots.insert((frame, at), value);
                    }
                } else {
                    self.elsewhere |= matches!(value, Value::Null(_) | Value::Unclear);
                }
            }
            Mnemonic::Pop if to_register => {
                let value = match self.register(Register::RSP) {
                    Value::Stack(frame, at) => self.slots.get(&(frame, at)).copied().unwrap_or(Value::Other),
                    _ => self.loaded_from_elsewhere(),
                };
                self.move_stack(8);
                self.set(instruction.op0_register(), value);
            }
            Mnemonic::Leave => {
                let frame = self.register(Register::RBP);
                self.set(Register::RSP, frame);
                self.move_stack(8);
                self.set(Register::RBP, Value::Other);
            }
            Mnemonic::Cdqe if self.register(Register::RAX) == Value::Null(Some(0)) => {}
            Mnemonic::Test | Mnemonic::Cmp | Mnemonic::Nop | Mnemonic::Endbr64 => {}
            _ => return false,
        }
        true
    }

    fn move_stack(&mut self, bytes: i64) {
        if let Value::Stack(frame, at) = self.register(Register::RSP) {
            self.set(Register::RSP, Value::Stack(frame, at.saturating_add(bytes)));
        }
    }

    fn address(&self, instruction: &Instruction) -> Value {
        let displacement = instruction.memory_displacement64().cast_signed();
        let base = match instruction.memory_base() {
            Register::None | Register::RIP | Register::EIP => Value::Other,
            base => self.register(base),
        };
        match instruction.memory_index() {
            Register::None => sum(base, Value::Other, Some(displacement)),
            index => match (base, self.register(index)) {
                (Value::Stack(..), Value::Other) => Value::Other,
                (base, index) => sum(base, index, None),
            },
        }
    }

    /// Any other instruction: what it writes is unclear if it read something of the NULL, and other if not.
    fn step_any(
        &mut self,
        instruction: &Instruction,
        factory: &mut InstructionInfoFactory,
        taken: &BTreeSet<(Register, i64)>,
    ) {
        let info = factory.info(instruction);
        let mut reads_ours = false;
        let mut written = Vec::new();
        for used in info.used_registers() {
            let value = self.register(used.register());
            let reads = !matches!(used.access(), OpAccess::Write | OpAccess::NoMemAccess);
            reads_ours |= reads && matches!(value, Value::Null(_) | Value::Unclear);
            if !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess | OpAccess::None) {
                written.push(used.register());
            }
        }
        let mut stores = false;
        for memory in info.used_memory() {
            let reads = matches!(
                memory.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::ReadWrite | OpAccess::ReadCondWrite
            );
            reads_ours |= reads && matches!(self.load(instruction), Value::Null(_) | Value::Unclear);
            stores |= !matches!(memory.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess);
        }
        let result = if reads_ours { Value::Unclear } else { Value::Other };
        if stores {
            self.store(instruction, result, taken);
        }
        for register in written {
            if register.full_register() != Register::RSP {
                self.set(register, result);
            }
        }
        // Vector registers are not followed.
        self.elsewhere |= reads_ours;
    }
}

fn sum(left: Value, right: Value, number: Option<i64>) -> Value {
    match (left, right, number) {
        (Value::Null(k), Value::Other, Some(n)) => Value::Null(k.map(|k| k.wrapping_add(n))),
        (Value::Stack(frame, at), Value::Other, Some(n)) => Value::Stack(frame, at.saturating_add(n)),
        (Value::Null(_), Value::Other | Value::Stack(..) | Value::Null(_), _)
        | (Value::Other | Value::Stack(..), Value::Null(_), _) => Value::Null(None),
        (Value::Unclear, _, _) | (_, Value::Unclear, _) => Value::Unclear,
        (Value::Other | Value::Stack(..), Value::Other | Value::Stack(..), _) => Value::Other,
    }
}

fn immediate(instruction: &Instruction) -> Option<i64> {
    match instruction.op1_kind() {
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Some(instruction.immediate(1).cast_signed()),
        _ => None,
    }
}

/// The stack places whose address a `lea` takes, as written in the instruction.
pub(crate) fn taken_address(instruction: &Instruction) -> Option<(Register, i64)> {
    (matches!(instruction.code(), Code::Lea_r64_m)
        && instruction.memory_index() == Register::None
        && matches!(instruction.memory_base(), Register::RBP | Register::RSP))
    .then(|| (instruction.memory_base(), instruction.memory_displacement64().cast_signed()))
}
