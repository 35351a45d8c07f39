//! What each instruction does to origins: copies, sums, scales, masks; everything else mixes what it reads.
//!
//! Relied on: every instruction has some effect defined here; nothing is silently skipped except what writes nothing.
//! Deliberately absent: calls (`calls`), flags other than "compared for equality".

use super::{MAX_COPY_BYTES, Machine, NO_SUM, Next, State};
use crate::effects::{grow, grow_pair};
use crate::memory::Region;
use crate::value::{Atom, Value};
use iced_x86::{ConditionCode, FlowControl, Instruction, Mnemonic, OpAccess, OpKind, Register};

impl Machine<'_, '_, '_> {
    pub(super) fn step(&mut self, i: &Instruction, state: &mut State) -> Next {
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
            // In `n - (n + unit - 1) % unit` the unit is no position: only what the divisor is not can be one.
            let position = dividend.loads().any(|loc| !by.loads().any(|other| other == loc));
            if position && (arguments || by.loads().next().is_some()) {
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

    pub(super) fn fill(&mut self, at: u64, to: &Value, value: Value, bytes: Option<i64>, state: &mut State) {
        grow(&mut self.grown.fills, at, to.clone());
        if let Some(bytes) = bytes.and_then(|n| u32::try_from(n).ok())
            && bytes > 0
        {
            self.store(at, to, bytes, value, state);
        }
    }

    pub(super) fn copy(&mut self, at: u64, to: &Value, from: &Value, bytes: Option<i64>, state: &mut State) {
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

    pub(super) fn returns(&mut self, state: &State) {
        let result = state.get(Register::RAX);
        let second = state.get(Register::RDX);
        self.grown.result = Some(self.grown.result.as_ref().map_or(result.clone(), |old| old.join(&result)));
        self.grown.second = Some(self.grown.second.as_ref().map_or(second.clone(), |old| old.join(&second)));
    }
}
