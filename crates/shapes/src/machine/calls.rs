//! What a call does: library functions by their meaning, functions of the program by their summaries.
//!
//! Relied on: a callee's reads mean the state at the call; its stores may or may not happen.
//! Deliberately absent: calls through pointers, whose result is of unknown origin.

use super::{ARGUMENT_REGISTERS, FRAME_OBJECT_BYTES, Machine, Next, State};
use crate::effects::{Summary, grow, grow_pair};
use crate::known::{Known, known};
use crate::memory::Region;
use crate::value::{Atom, Base, Loc, Value, Way};
use iced_x86::{Instruction, OpKind, Register};

impl Machine<'_, '_, '_> {
    pub(super) fn call_instruction(&mut self, i: &Instruction, state: &mut State, tail: bool) -> Next {
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

    pub(super) fn call(
        &mut self,
        at: u64,
        target: Option<u64>,
        name: Option<String>,
        state: &mut State,
        skip: i64,
    ) -> Next {
        let mut arguments: Vec<Value> = ARGUMENT_REGISTERS.iter().map(|&r| state.get(r)).collect();
        let top = state.get(Register::RSP).as_stack();
        for word in 0..6i64 {
            let value = top.and_then(|top| state.memory.get(Region::Frame, top.saturating_add(skip + 8 * word), 8));
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
                Atom::Times(loc) => {
                    let mut own = Value::unknown();
                    self.translate_load(loc, arguments, state).loads().for_each(|loc| own.insert(Atom::Times(loc)));
                    own
                }
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
