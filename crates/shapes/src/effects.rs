//! What a function does, in terms of its arguments: what it returns, stores, gives back, moves and sends.
//!
//! Relied on: a summary over-approximates origins (a value may have come from fewer places than it lists) along the code
//! that could be decoded; what could not be decoded is missing, and a proof that needs it fails.
//! Deliberately absent: how instructions work (`machine`), judgement.

use crate::binary::Binary;
use crate::machine::Machine;
use crate::value::{Base, Loc, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Nested calls followed from the function in question.
const MAX_DEPTH: usize = 6;
/// Effects of one kind that a summary keeps apart.
const MAX_EFFECTS: usize = 96;
/// Instruction visits of one analysis of a program; beyond, functions count as unreadable.
const MAX_TOTAL_STEPS: usize = 40_000_000;

/// One store that leaves the frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Store {
    pub loc: Loc,
    pub bytes: u32,
    pub value: Value,
}

impl Store {
    /// True when the store certainly or possibly writes the field at `field`.
    pub(crate) fn covers(&self, field: Loc) -> bool {
        if self.loc.base != field.base || !self.loc.same_way(field) {
            return false;
        }
        match (self.loc.offset, field.offset) {
            (Some(start), Some(at)) => start <= at && at < start.saturating_add(i64::from(self.bytes.max(1))),
            _ => self.loc.may_be(field),
        }
    }
}

/// A call of an opaque function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub target: u64,
    pub arguments: Vec<Value>,
}

/// What a function does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// The result register; `None` when the function never returns.
    pub result: Option<Value>,
    /// The second result register.
    pub second: Option<Value>,
    pub stores: Vec<Store>,
    /// Addresses given back to the system or the C library.
    pub releases: Vec<Value>,
    /// Addresses given to a reallocation.
    pub moves: Vec<Value>,
    /// Addresses of bytes sent out of the process.
    pub sends: Vec<Value>,
    /// (to, from) of copies by the C library.
    pub copies: Vec<(Value, Value)>,
    /// Addresses that the C library fills.
    pub fills: Vec<Value>,
    /// Bases read through.
    pub reads: BTreeSet<(Base, bool)>,
    /// Calls of opaque functions, here or in what this function calls.
    pub calls: Vec<Call>,
    /// Pairs compared for equality.
    pub equalities: Vec<(Value, Value)>,
    /// Pairs multiplied.
    pub products: Vec<(Value, Value)>,
    /// Sizes and other arguments of calls that obtain memory.
    pub obtains: Vec<Value>,
    /// False when a part of the code could not be followed.
    pub complete: bool,
}

impl Summary {
    /// The same effects with every place renamed.
    pub(crate) fn map_places(&self, rename: &dyn Fn(Loc) -> Loc) -> Summary {
        let one = |v: &Value| v.map_loads(rename);
        let list = |l: &[Value]| l.iter().map(one).collect::<Vec<Value>>();
        let pairs = |l: &[(Value, Value)]| l.iter().map(|(a, b)| (one(a), one(b))).collect::<Vec<_>>();
        Summary {
            result: self.result.as_ref().map(one),
            second: self.second.as_ref().map(one),
            stores: self
                .stores
                .iter()
                .map(|s| Store { loc: rename(s.loc), bytes: s.bytes, value: one(&s.value) })
                .collect(),
            releases: list(&self.releases),
            moves: list(&self.moves),
            sends: list(&self.sends),
            copies: pairs(&self.copies),
            fills: list(&self.fills),
            reads: self.reads.clone(),
            calls: self.calls.iter().map(|c| Call { target: c.target, arguments: list(&c.arguments) }).collect(),
            equalities: pairs(&self.equalities),
            products: pairs(&self.products),
            obtains: list(&self.obtains),
            complete: self.complete,
        }
    }
}

/// The same while it grows: keyed by the instruction, so that repeated visits join instead of piling up.
#[derive(Default)]
pub(crate) struct Growing {
    pub result: Option<Value>,
    pub second: Option<Value>,
    pub stores: BTreeMap<(u64, Loc, u32), Value>,
    pub releases: BTreeMap<u64, Value>,
    pub moves: BTreeMap<u64, Value>,
    pub sends: BTreeMap<u64, Value>,
    pub copies: BTreeMap<u64, (Value, Value)>,
    pub fills: BTreeMap<u64, Value>,
    pub reads: BTreeSet<(Base, bool)>,
    pub calls: BTreeMap<(u64, u64), Vec<Value>>,
    pub equalities: BTreeMap<u64, (Value, Value)>,
    pub products: BTreeMap<u64, (Value, Value)>,
    pub obtains: BTreeMap<u64, Value>,
    pub incomplete: bool,
}

/// Joins a value into a growing map.
pub(crate) fn grow<K: Ord>(map: &mut BTreeMap<K, Value>, key: K, value: Value) {
    map.entry(key).and_modify(|old| *old = old.join(&value)).or_insert(value);
}

/// Joins a pair into a growing map.
pub(crate) fn grow_pair<K: Ord>(map: &mut BTreeMap<K, (Value, Value)>, key: K, pair: (Value, Value)) {
    map.entry(key).and_modify(|old| *old = (old.0.join(&pair.0), old.1.join(&pair.1))).or_insert(pair);
}

impl Growing {
    pub(crate) fn finish(self) -> Summary {
        let mut stores: Vec<Store> =
            self.stores.into_iter().map(|((_, loc, bytes), value)| Store { loc, bytes, value }).collect();
        stores.sort();
        stores.dedup();
        if stores.len() > MAX_EFFECTS {
            // Too many to tell apart: one for each place.
            let mut joined: BTreeMap<(Loc, u32), Value> = BTreeMap::new();
            for store in stores {
                grow(&mut joined, (store.loc, store.bytes), store.value);
            }
            stores =
                joined.into_iter().take(MAX_EFFECTS).map(|((loc, bytes), value)| Store { loc, bytes, value }).collect();
        }
        let mut calls: Vec<Call> =
            self.calls.into_iter().map(|((_, target), arguments)| Call { target, arguments }).collect();
        calls.sort();
        calls.dedup();
        calls.truncate(MAX_EFFECTS);
        Summary {
            result: self.result,
            second: self.second,
            stores,
            releases: distinct(self.releases),
            moves: distinct(self.moves),
            sends: distinct(self.sends),
            copies: distinct(self.copies),
            fills: distinct(self.fills),
            reads: self.reads.into_iter().take(MAX_EFFECTS).collect(),
            calls,
            equalities: distinct(self.equalities),
            products: distinct(self.products),
            obtains: distinct(self.obtains),
            complete: !self.incomplete,
        }
    }
}

/// The distinct values, at most as many as a summary keeps.
fn distinct<V: Ord>(map: BTreeMap<u64, V>) -> Vec<V> {
    let set: BTreeSet<V> = map.into_values().collect();
    set.into_iter().take(MAX_EFFECTS).collect()
}

/// Summaries on demand, remembered.
pub(crate) struct Effects<'a, 'b> {
    pub binary: &'b Binary<'a>,
    /// Ends of functions that the debug information knows.
    pub ends: &'b HashMap<u64, u64>,
    /// Functions whose calls are not looked into.
    opaque: BTreeSet<u64>,
    known: HashMap<u64, Option<Rc<Summary>>>,
    depth: usize,
    /// Instruction visits so far.
    pub steps: usize,
}

impl<'a, 'b> Effects<'a, 'b> {
    pub(crate) fn new(binary: &'b Binary<'a>, ends: &'b HashMap<u64, u64>, opaque: BTreeSet<u64>) -> Effects<'a, 'b> {
        Effects { binary, ends, opaque, known: HashMap::new(), depth: 0, steps: 0 }
    }

    /// True when calls of this function are not looked into.
    pub(crate) fn is_opaque(&self, address: u64) -> bool {
        self.opaque.contains(&address)
    }

    /// What the function at this address does; `None` when its code cannot be read, or while it is being read.
    pub(crate) fn summary(&mut self, address: u64) -> Option<Rc<Summary>> {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        if self.depth >= MAX_DEPTH || self.steps >= MAX_TOTAL_STEPS {
            return None;
        }
        let end = self.ends.get(&address).copied().or_else(|| self.binary.function_end(address))?;
        self.known.insert(address, None);
        self.depth += 1;
        let summary = Machine::run(self, address, end).map(Rc::new);
        self.depth -= 1;
        self.known.insert(address, summary.clone());
        summary
    }
}
