//! Where arguments and results of a function are, by the rules of its platform.
//!
//! Sources: System V ABI, AMD64 supplement, 3.2.3 "Parameter Passing"; Itanium C++ ABI, 3.1.2 (non-trivial classes by
//! reference). Rust's own convention is not promised by anyone: scalars and pairs of scalars as rustc 1.76 to 1.95
//! pass them (`rustc_ty_utils::abi`), anything unsure is `Missing`, and so is everything after it.
//!
//! Relied on: arithmetic over plain descriptions, no debug information touched beyond [`Types`]. Absent: what
//! optimisation changed (`location.rs`); aarch64.

use crate::index::Die;
use crate::signature::{Place, Returns};
use crate::types::{Kind, Scalar, ScalarKind, Types};

/// Integer registers for arguments: rdi rsi rdx rcx r8 r9.
const INTEGERS: u8 = 6;

/// xmm0 to xmm7.
const VECTORS: u8 = 8;

/// How a value travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Passing {
    /// Not at all: it has no bytes.
    Nothing,
    /// In so many integer registers, all or none.
    Integers(u8),
    /// One `__int128`: like two integers, but aligned to 16 bytes on the stack.
    Wide,
    /// In so many SSE registers, all or none.
    Vectors(u8),
    /// One of each.
    Mixed,
    /// Two scalars of Rust, each for itself.
    Pair,
    /// On the stack: bytes, alignment.
    Memory { bytes: u64, alignment: u64 },
    /// It cannot be told.
    Unknown,
}

/// Register and stack counters while arguments are assigned in order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Assignment {
    integers: u8,
    vectors: u8,
    stack_bytes: u64,
    is_llvm: bool,
    lost: bool,
}

impl Assignment {
    /// Begins. A result in memory takes the first integer register for its address.
    pub(crate) fn new(result_in_memory: bool, is_llvm: bool) -> Assignment {
        Assignment { integers: u8::from(result_in_memory), is_llvm, ..Assignment::default() }
    }

    /// The next argument's place.
    pub(crate) fn place(&mut self, passing: Passing) -> Place {
        if self.lost {
            return Place::Missing;
        }
        match passing {
            Passing::Nothing => Place::Missing,
            Passing::Integers(1) => match self.take_integers(1) {
                Some(first) => Place::Integer(first),
                None => self.on_stack(8, 8),
            },
            Passing::Integers(count) => match self.take_integers(count) {
                Some(first) if count == 2 => Place::Registers2(first),
                Some(_) => Place::Missing,
                None => self.on_stack(u64::from(count) * 8, 8),
            },
            Passing::Wide => match self.take_integers(2) {
                Some(first) => Place::Registers2(first),
                // Clang before 18 splits it between the last register and the stack, against the rules.
                None if self.is_llvm => self.lose(),
                None => self.on_stack(16, 16),
            },
            Passing::Vectors(count) => {
                if self.vectors.saturating_add(count) <= VECTORS {
                    self.vectors += count;
                } else {
                    self.on_stack(u64::from(count) * 8, 8);
                }
                Place::Float
            }
            Passing::Mixed => {
                if self.integers < INTEGERS && self.vectors < VECTORS {
                    self.integers += 1;
                    self.vectors += 1;
                    Place::Float
                } else {
                    self.on_stack(16, 8)
                }
            }
            Passing::Pair => match (self.take_integers(1), self.take_integers(1)) {
                (Some(first), Some(_)) => Place::Registers2(first),
                (Some(_), None) => {
                    // The second half alone is on the stack: no single place to name.
                    self.on_stack(8, 8);
                    Place::Missing
                }
                _ => self.on_stack(16, 8),
            },
            Passing::Memory { bytes, alignment } => self.on_stack(bytes, alignment),
            Passing::Unknown => self.lose(),
        }
    }

    /// Nothing is known of this argument and of those after it.
    fn lose(&mut self) -> Place {
        self.lost = true;
        Place::Missing
    }

    fn take_integers(&mut self, count: u8) -> Option<u8> {
        let first = self.integers;
        let after = first.checked_add(count).filter(|after| *after <= INTEGERS)?;
        self.integers = after;
        Some(first)
    }

    fn on_stack(&mut self, bytes: u64, alignment: u64) -> Place {
        // The stack is 16-byte aligned where the first argument lies; larger alignments count from there too.
        let alignment = alignment.clamp(8, 1 << 12).next_power_of_two();
        let start = self.stack_bytes.checked_next_multiple_of(alignment);
        let end = start.and_then(|start| start.checked_add(bytes.checked_next_multiple_of(8)?));
        match (start.and_then(|start| u32::try_from(start).ok()), end) {
            (Some(start), Some(end)) => {
                self.stack_bytes = end;
                Place::Stack(start)
            }
            _ => self.lose(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Class {
    None,
    Integer,
    Sse,
}

/// Classes of the two eightbytes of a value of at most 16 bytes; `None` when it goes to memory.
fn classes(bytes: u64, scalars: &[Scalar]) -> Option<[Class; 2]> {
    let mut classes = [Class::None; 2];
    for scalar in scalars {
        if scalar.kind == ScalarKind::X87 {
            return None;
        }
        let class = if scalar.kind == ScalarKind::Sse { Class::Sse } else { Class::Integer };
        // An unaligned member sends the whole to memory.
        if scalar.bytes.is_power_of_two() && !scalar.offset.is_multiple_of(scalar.bytes.min(8)) {
            return None;
        }
        let end = scalar.offset.checked_add(scalar.bytes.max(1))?;
        let (first, last) = (scalar.offset / 8, (end - 1) / 8);
        for eightbyte in first..=last {
            let slot = classes.get_mut(usize::try_from(eightbyte).ok()?)?;
            *slot = match (*slot, class) {
                (Class::Integer, _) | (_, Class::Integer) => Class::Integer,
                _ => Class::Sse,
            };
        }
    }
    (bytes <= 16).then_some(classes)
}

fn alignment(types: Types<'_>, die: Die, scalars: &[Scalar]) -> u64 {
    let natural = scalars.iter().map(|scalar| scalar.bytes).max().unwrap_or(8);
    types.declared_alignment(die).max(natural).clamp(8, 64)
}

/// How C and C++ pass a value of this type.
pub(crate) fn passing(types: Types<'_>, die: Die) -> Passing {
    let Some(bytes) = types.bytes(die) else { return Passing::Unknown };
    let is_aggregate = types.kind(Some(die)) == Kind::Aggregate;
    if is_aggregate && types.is_passed_by_reference(die) {
        return Passing::Integers(1);
    }
    let Some(scalars) = types.scalars(die) else {
        // Too many scalars to list are too many for registers.
        let large = is_aggregate && bytes > 16;
        return if large { Passing::Memory { bytes, alignment: alignment(types, die, &[]) } } else { Passing::Unknown };
    };
    if scalars.is_empty() {
        // An empty class of C++ has a byte and is not passed; C's has none.
        return Passing::Nothing;
    }
    // `__m256` and the like: one register that is wider than two eightbytes.
    if !is_aggregate && scalars.iter().all(|scalar| scalar.kind == ScalarKind::Sse) {
        return if scalars.iter().any(|scalar| scalar.bytes == 16 && scalars.len() > 1) || bytes > 64 {
            Passing::Unknown
        } else {
            Passing::Vectors(1)
        };
    }
    match classes(bytes, &scalars) {
        None => Passing::Memory { bytes, alignment: alignment(types, die, &scalars) },
        Some([Class::Integer, Class::None] | [Class::None, Class::Integer]) => Passing::Integers(1),
        Some([Class::Integer, Class::Integer]) if alignment(types, die, &scalars) >= 16 => Passing::Wide,
        Some([Class::Integer, Class::Integer]) => Passing::Integers(2),
        Some([Class::Sse, Class::None] | [Class::None, Class::Sse]) => Passing::Vectors(1),
        Some([Class::Sse, Class::Sse]) => {
            Passing::Vectors(if scalars.first().is_some_and(|one| one.bytes == 16) { 1 } else { 2 })
        }
        Some([Class::Integer, Class::Sse] | [Class::Sse, Class::Integer]) => Passing::Mixed,
        Some([Class::None, Class::None]) => Passing::Nothing,
    }
}

/// How Rust passes a value of this type to its own functions.
pub(crate) fn passing_rust(types: Types<'_>, die: Die) -> Passing {
    let Some(bytes) = types.bytes(die) else { return Passing::Unknown };
    if bytes == 0 {
        return Passing::Nothing;
    }
    let Some(scalars) = types.scalars(die) else {
        return match bytes {
            // Larger than two words: by reference.
            17.. => Passing::Integers(1),
            8 if types.mentions_pointer(die) => Passing::Integers(1),
            // A tag and a word, or a word and a niche: two registers either way.
            16 => Passing::Pair,
            _ => Passing::Unknown,
        };
    };
    let sized: Vec<&Scalar> = scalars.iter().filter(|scalar| scalar.bytes > 0).collect();
    let is_vector = |scalar: &&Scalar| matches!(scalar.kind, ScalarKind::Sse | ScalarKind::X87);
    match sized.as_slice() {
        [] => Passing::Nothing,
        [one] if is_vector(one) => Passing::Vectors(1),
        [one] if one.bytes > 8 => Passing::Integers(2),
        [_] => Passing::Integers(1),
        [one, two] if !is_vector(one) && !is_vector(two) && one.bytes <= 8 && two.bytes <= 8 => Passing::Pair,
        [one, two] if is_vector(one) && is_vector(two) => Passing::Vectors(2),
        [_, _] if bytes <= 16 => Passing::Mixed,
        _ if bytes > 16 => Passing::Integers(1),
        // Three and more scalars in at most two words travel as one integer of that size.
        _ => Passing::Integers(if bytes > 8 { 2 } else { 1 }),
    }
}

/// How a result of this type comes back; `None` stands for void.
pub(crate) fn returns(types: Types<'_>, die: Option<Die>, is_rust: bool) -> Returns {
    let Some(die) = die.filter(|die| types.kind(Some(*die)) != Kind::Void) else { return Returns::Void };
    let bytes = types.bytes(die).unwrap_or(8);
    let is_aggregate = types.kind(Some(die)) == Kind::Aggregate;
    let passing = if is_rust {
        if bytes > 16 {
            return Returns::Memory;
        }
        passing_rust(types, die)
    } else {
        if is_aggregate && types.is_passed_by_reference(die) {
            return Returns::Memory;
        }
        passing(types, die)
    };
    match passing {
        Passing::Nothing => Returns::Void,
        Passing::Integers(1) => {
            let scalars = types.scalars(die).unwrap_or_default();
            match scalars.as_slice() {
                [Scalar { kind: ScalarKind::Pointer, .. }] => Returns::Pointer,
                [Scalar { kind: ScalarKind::Integer { signed }, .. }] => Returns::Integer { bytes, signed: *signed },
                [] if types.mentions_pointer(die) => Returns::Pointer,
                _ => Returns::Integer { bytes, signed: false },
            }
        }
        Passing::Integers(_) | Passing::Wide | Passing::Pair => Returns::RegisterPair,
        Passing::Vectors(_) => Returns::Float,
        // The integer half is in rax, the other in xmm0.
        Passing::Mixed => Returns::Float,
        // A long double alone comes back in st0; structs that hold one, in memory.
        Passing::Memory { .. } if !is_aggregate => Returns::Float,
        Passing::Memory { .. } => Returns::Memory,
        Passing::Unknown => Returns::Integer { bytes, signed: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_assigned_in_order() {
        use Passing::{Integers, Memory, Mixed, Nothing, Pair, Unknown, Vectors};
        let check = |result_in_memory: bool, passings: &[Passing], places: &[Place]| {
            let mut assignment = Assignment::new(result_in_memory, false);
            let found: Vec<Place> = passings.iter().map(|passing| assignment.place(*passing)).collect();
            assert_eq!(found, places, "{passings:?}");
        };
        let word = Integers(1);
        check(false, &[word; 3], &[Place::Integer(0), Place::Integer(1), Place::Integer(2)]);
        check(true, &[word; 2], &[Place::Integer(1), Place::Integer(2)]);
        check(
            false,
            &[word, word, word, word, word, Integers(2), word, word],
            &[
                Place::Integer(0),
                Place::Integer(1),
                Place::Integer(2),
                Place::Integer(3),
                Place::Integer(4),
                // Two words do not fit: both go to the stack, and the register stays for the next.
                Place::Stack(0),
                Place::Integer(5),
                Place::Stack(16),
            ],
        );
        check(
            false,
            &[Vectors(1), word, Mixed, word],
            &[Place::Float, Place::Integer(0), Place::Float, Place::Integer(2)],
        );
        check(
            false,
            &[Memory { bytes: 24, alignment: 8 }, Memory { bytes: 32, alignment: 16 }, word],
            &[Place::Stack(0), Place::Stack(32), Place::Integer(0)],
        );
        check(
            false,
            &[word, word, word, word, word, Pair, word],
            &[
                Place::Integer(0),
                Place::Integer(1),
                Place::Integer(2),
                Place::Integer(3),
                Place::Integer(4),
                Place::Missing,
                Place::Stack(8),
            ],
        );
        check(
            false,
            &[Nothing, word, Unknown, word],
            &[Place::Missing, Place::Integer(0), Place::Missing, Place::Missing],
        );
        check(false, &[Memory { bytes: u64::MAX, alignment: 8 }, word], &[Place::Missing, Place::Missing]);
    }

    #[test]
    fn eightbytes_are_classified() {
        let of = |offset, bytes, kind| Scalar { offset, bytes, kind };
        let long = ScalarKind::Integer { signed: true };
        let sse = ScalarKind::Sse;
        for (bytes, scalars, expected) in [
            (8, vec![of(0, 4, sse), of(4, 4, sse)], Some([Class::Sse, Class::None])),
            (8, vec![of(0, 4, sse), of(4, 4, long)], Some([Class::Integer, Class::None])),
            (16, vec![of(0, 8, sse), of(8, 8, long)], Some([Class::Sse, Class::Integer])),
            (16, vec![of(0, 16, long)], Some([Class::Integer, Class::Integer])),
            (24, vec![of(0, 8, long), of(8, 8, long), of(16, 8, long)], None),
            (16, vec![of(0, 16, ScalarKind::X87)], None),
            (9, vec![of(0, 1, long), of(1, 8, long)], None),
            (u64::MAX, vec![of(u64::MAX - 1, 8, long)], None),
        ] {
            assert_eq!(classes(bytes, &scalars), expected, "{scalars:?}");
        }
    }
}
