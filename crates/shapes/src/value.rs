//! What the analysis knows of one machine word: where it came from, and how far it is from there.
//!
//! Relied on: joining and combining only ever add origins, so a fixpoint ends; sets are bounded.
//! Deliberately absent: control flow and memory (`machine`), any judgement (`allocs`).

use std::rc::Rc;

/// Most origins a value keeps; more are dropped, which loses proofs and invents none.
const MAX_ATOMS: usize = 16;

/// What an address was reached from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Base {
    /// The argument in this word (0 to 5: rdi to r9; 6 and up: words of the caller's stack).
    Argument(u8),
    /// A variable at this address.
    Global(u64),
    /// Memory just obtained from the system or the C library.
    Fresh,
    /// Memory that a reallocation returned.
    Moved,
    /// The result of the opaque function at this address.
    Result(u64),
}

/// How a place is reached from its base.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Way {
    /// It lies in the object itself.
    Direct,
    /// It lies behind at least one pointer; the first of them at this offset of the object, where that is known.
    Behind(Option<i64>),
}

/// A place in memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Loc {
    pub base: Base,
    pub way: Way,
    /// Byte offset; `None` when it varies.
    pub offset: Option<i64>,
}

impl Loc {
    /// True when it lies behind a pointer.
    pub(crate) fn is_deep(self) -> bool {
        self.way != Way::Direct
    }

    /// True when both may be the same field: equal, or a varying offset or unknown pointer on the far side.
    pub(crate) fn may_be(self, other: Loc) -> bool {
        self == other
            || (self.base == other.base
                && self.same_way(other)
                && self.is_deep()
                && (self.offset.is_none() || other.offset.is_none() || self.offset == other.offset))
    }

    /// True when both may be reached the same way.
    pub(crate) fn same_way(self, other: Loc) -> bool {
        match (self.way, other.way) {
            (Way::Direct, Way::Direct) => true,
            (Way::Behind(a), Way::Behind(b)) => a == b || a.is_none() || b.is_none(),
            _ => false,
        }
    }

    /// The way to what a pointer stored here points at.
    fn onward(self) -> Way {
        match self.way {
            Way::Direct => Way::Behind(self.offset),
            behind => behind,
        }
    }
}

/// One origin of a value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Atom {
    /// The argument in a word, multiplied by about 2^scale.
    Argument(u8, i8),
    /// The word that was in memory here.
    Load(Loc),
    /// A word that was in memory here went into the value multiplied: it counts units, not bytes.
    Times(Loc),
    /// The address of a variable.
    Global(u64),
    /// The frame of the function.
    Stack,
    /// Memory just obtained.
    Fresh,
    /// Memory that a reallocation returned.
    Moved,
    /// The result of an opaque function.
    Result(u64),
    /// The result of a function nothing is known of.
    Foreign,
    /// Somewhere on the way a remainder, or a mask kept in memory, was taken.
    Wrapped,
    /// On another way the value is the number 0 instead.
    Zero,
    /// Somewhere on the way the bits were inverted or the sign changed.
    Inverted,
}

impl Atom {
    fn base(self) -> Option<(Base, Way)> {
        match self {
            Atom::Argument(word, 0) => Some((Base::Argument(word), Way::Direct)),
            Atom::Load(loc) => Some((loc.base, loc.onward())),
            Atom::Global(address) => Some((Base::Global(address), Way::Direct)),
            Atom::Fresh => Some((Base::Fresh, Way::Direct)),
            Atom::Moved => Some((Base::Moved, Way::Direct)),
            Atom::Result(function) => Some((Base::Result(function), Way::Direct)),
            Atom::Argument(..)
            | Atom::Times(_)
            | Atom::Stack
            | Atom::Foreign
            | Atom::Wrapped
            | Atom::Zero
            | Atom::Inverted => None,
        }
    }
}

/// One word: its origins, and the exact distance from them where there is one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Value {
    /// Sorted, without repetition; shared, for values are copied far more often than made.
    atoms: Rc<[Atom]>,
    /// With origins: the value is one of them plus this. Without: the value is this number.
    pub offset: Option<i64>,
}

impl Value {
    /// Nothing is known.
    pub(crate) fn unknown() -> Value {
        Value::default()
    }

    /// A number.
    pub(crate) fn number(value: i64) -> Value {
        Value { atoms: Rc::default(), offset: Some(value) }
    }

    /// One origin, unchanged.
    pub(crate) fn of(atom: Atom) -> Value {
        Value { atoms: Rc::from([atom]), offset: Some(0) }
    }

    /// A place in the frame; 0 is the return address.
    pub(crate) fn stack(offset: i64) -> Value {
        Value { atoms: Rc::from([Atom::Stack]), offset: Some(offset) }
    }

    pub(crate) fn atoms(&self) -> &[Atom] {
        &self.atoms
    }

    pub(crate) fn has(&self, atom: Atom) -> bool {
        self.atoms.binary_search(&atom).is_ok()
    }

    /// The number, if it is one.
    pub(crate) fn as_number(&self) -> Option<i64> {
        if self.atoms.is_empty() { self.offset } else { None }
    }

    /// Offset in the frame, if the value is certainly there.
    pub(crate) fn as_stack(&self) -> Option<i64> {
        if *self.atoms == [Atom::Stack] { self.offset } else { None }
    }

    /// Loads this value contains.
    pub(crate) fn loads(&self) -> impl Iterator<Item = Loc> + '_ {
        self.atoms.iter().filter_map(|atom| match atom {
            Atom::Load(loc) => Some(*loc),
            _ => None,
        })
    }

    /// True when the value stems from the argument word, at any scale.
    pub(crate) fn stems_from(&self, word: u8) -> bool {
        self.atoms.iter().any(|atom| matches!(atom, Atom::Argument(w, _) if *w == word))
    }

    /// True when the value is reached from this base: the base itself or something loaded from there.
    pub(crate) fn reaches(&self, base: Base) -> bool {
        self.atoms.iter().any(|atom| atom.base().is_some_and(|(own, _)| own == base))
    }

    pub(crate) fn insert(&mut self, atom: Atom) {
        if let Err(at) = self.atoms.binary_search(&atom)
            && self.atoms.len() < MAX_ATOMS
        {
            let (before, after) = self.atoms.split_at(at);
            self.atoms = before.iter().chain([&atom]).chain(after).copied().collect();
        }
    }

    /// The origins of both.
    fn union(&self, other: &Value) -> Rc<[Atom]> {
        let (a, b) = (&self.atoms, &other.atoms);
        if b.is_empty() || Rc::ptr_eq(a, b) || b.iter().all(|atom| self.has(*atom)) {
            return a.clone();
        }
        if a.is_empty() || a.iter().all(|atom| other.has(*atom)) {
            return b.clone();
        }
        let mut all: Vec<Atom> = a.to_vec();
        for atom in b.iter() {
            if all.len() >= MAX_ATOMS {
                break;
            }
            if !self.has(*atom) {
                all.push(*atom);
            }
        }
        all.sort_unstable();
        all.into()
    }

    /// Either of two values.
    pub(crate) fn join(&self, other: &Value) -> Value {
        if self == other {
            return self.clone();
        }
        let mut out = Value { atoms: self.union(other), offset: None };
        // A null pointer on one side does not blur the other.
        out.offset = match (self, other) {
            (a, b) if a.as_number() == Some(0) && !b.atoms.is_empty() => b.offset,
            (a, b) if b.as_number() == Some(0) && !a.atoms.is_empty() => a.offset,
            (a, b) if a.atoms.is_empty() != b.atoms.is_empty() => None,
            (a, b) if a.offset == b.offset => a.offset,
            _ => None,
        };
        if starts_at_zero(self, other) || starts_at_zero(other, self) {
            out.insert(Atom::Zero);
        }
        out
    }

    /// A value computed from both.
    pub(crate) fn mix(&self, other: &Value) -> Value {
        let mut out = self.join(other);
        out.offset = None;
        out
    }

    /// The same origins at a distance that varies.
    pub(crate) fn blurred(&self) -> Value {
        Value { atoms: self.atoms.clone(), offset: None }
    }

    /// The value plus a number.
    pub(crate) fn plus(&self, number: i64) -> Value {
        Value { atoms: self.atoms.clone(), offset: self.offset.map(|o| o.wrapping_add(number)) }
    }

    /// The sum of two values.
    pub(crate) fn add(&self, other: &Value) -> Value {
        match (self.as_number(), other.as_number()) {
            (_, Some(number)) => self.plus(number),
            (Some(number), None) => other.plus(number),
            (None, None) => self.mix(other),
        }
    }

    /// The difference of two values.
    pub(crate) fn subtract(&self, other: &Value) -> Value {
        match other.as_number() {
            Some(number) => self.plus(number.wrapping_neg()),
            None => self.mix(other),
        }
    }

    /// Multiplied by about 2^scale (negative: divided).
    pub(crate) fn scaled(&self, scale: i8) -> Value {
        let mut out = Value::unknown();
        for &atom in self.atoms.iter() {
            out.insert(match atom {
                Atom::Argument(word, old) => Atom::Argument(word, old.saturating_add(scale).clamp(-32, 32)),
                other => other,
            });
        }
        if scale > 0 {
            self.loads().for_each(|loc| out.insert(Atom::Times(loc)));
        }
        out
    }

    /// Sign changed or bits inverted.
    pub(crate) fn inverted(&self) -> Value {
        if let Some(number) = self.as_number() {
            return Value::number(!number);
        }
        let mut out = self.blurred();
        out.insert(Atom::Inverted);
        out
    }

    /// The same value with its loads renamed.
    pub(crate) fn map_loads(&self, rename: &dyn Fn(Loc) -> Loc) -> Value {
        if self.loads().next().is_none() {
            return self.clone();
        }
        let mut out = Value { atoms: Rc::default(), offset: self.offset };
        for &atom in self.atoms.iter() {
            out.insert(match atom {
                Atom::Load(loc) => Atom::Load(rename(loc)),
                Atom::Times(loc) => Atom::Times(rename(loc)),
                other => other,
            });
        }
        out
    }

    /// The places this value, taken as an address, may mean. Frame addresses are not among them.
    pub(crate) fn places(&self) -> Vec<Loc> {
        if let Some(number) = self.as_number() {
            // An absolute address: a variable, if anything.
            return vec![Loc { base: Base::Global(number as u64), way: Way::Direct, offset: Some(0) }];
        }
        let mut out: Vec<Loc> = Vec::new();
        for atom in self.atoms.iter() {
            let Some((base, way)) = atom.base() else { continue };
            let loc = match (base, self.offset) {
                (Base::Global(address), Some(offset)) if way == Way::Direct => {
                    Loc { base: Base::Global(address.wrapping_add(offset as u64)), way, offset: Some(0) }
                }
                (base, offset) => Loc { base, way, offset },
            };
            if !out.contains(&loc) {
                out.push(loc);
            }
        }
        out
    }
}

/// True when `plain` is what `loaded` would be if the field it was loaded from were 0.
fn starts_at_zero(plain: &Value, loaded: &Value) -> bool {
    if loaded.loads().next().is_none() {
        return false;
    }
    match &*plain.atoms {
        [] => plain.offset == Some(0),
        // `n` where the other way has `position + n`.
        [Atom::Argument(..)] => {
            plain.offset == Some(0) && loaded.offset.is_none() && plain.atoms.iter().all(|atom| loaded.has(*atom))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn atoms() -> impl Strategy<Value = Atom> {
        prop_oneof![
            (0u8..6, -2i8..3).prop_map(|(w, s)| Atom::Argument(w, s)),
            (0u8..3, prop::option::of(0i64..3), prop::option::of(-8i64..64)).prop_map(
                |(w, behind, offset)| Atom::Load(Loc {
                    base: Base::Argument(w),
                    way: behind.map_or(Way::Direct, |at| Way::Behind(Some(at))),
                    offset
                })
            ),
            Just(Atom::Fresh),
            Just(Atom::Stack),
            Just(Atom::Foreign),
        ]
    }

    fn values() -> impl Strategy<Value = Value> {
        (prop::collection::vec(atoms(), 0..4), prop::option::of(-100i64..100)).prop_map(|(atoms, offset)| {
            let mut value = Value::unknown();
            atoms.into_iter().for_each(|atom| value.insert(atom));
            value.offset = offset;
            value
        })
    }

    proptest! {
        #[test]
        fn joining_keeps_every_origin_and_settles(a in values(), b in values()) {
            let joined = a.join(&b);
            for atom in a.atoms().iter().chain(b.atoms()) {
                prop_assert!(joined.has(*atom));
            }
            let settled = joined.join(&a).join(&b);
            prop_assert_eq!(&settled.join(&a).join(&b), &settled);
            let swapped = b.join(&a);
            prop_assert_eq!(joined.atoms(), swapped.atoms());
            prop_assert_eq!(joined.offset, swapped.offset);
        }

        #[test]
        fn sums_do_not_depend_on_order(a in values(), n in -1000i64..1000) {
            prop_assert_eq!(a.add(&Value::number(n)), Value::number(n).add(&a));
            prop_assert_eq!(a.plus(n).plus(-n), a);
        }
    }

    #[test]
    fn null_on_one_path_does_not_blur_the_other() {
        let chunk = Value::of(Atom::Argument(0, 0)).plus(8);
        assert_eq!(chunk.join(&Value::number(0)).offset, Some(8));
        assert_eq!(chunk.join(&Value::number(5)).offset, None);
    }
}
