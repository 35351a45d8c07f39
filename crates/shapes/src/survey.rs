//! Functions as the search sees them: what each parameter could be, and which words carry it at entry.
//!
//! Relied on: words follow the x86-64 System V convention unless the debug information says where a parameter is.
//! Deliberately absent: code, scores.

use crate::debug::{Function, Info, Offset, Place, Record, Type};
use crate::value::{Loc, Way};
use arenascope_event::Argument;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Members looked at in one structure, nested ones included.
const MAX_MEMBERS: u32 = 2000;

/// What a parameter could be.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A pointer to a structure.
    Object { record: Rc<Record>, constant: bool },
    /// A pointer to a pointer to a structure.
    ObjectOut { record: Rc<Record> },
    /// A pointer to anything else.
    Pointer { constant: bool, characters: bool },
    /// A pointer to a pointer to anything else.
    PointerOut,
    /// An integer of at least four bytes.
    Integer,
    /// A structure by value.
    Value { record: Rc<Record> },
    /// Nothing an allocator's role needs.
    Other,
}

/// One parameter.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub name: String,
    pub kind: Kind,
    /// Words that carry it: 0 to 5 registers, 6 and up words of the caller's stack. Empty: removed, or not an integer.
    pub words: Vec<u8>,
}

impl Parameter {
    /// Its first word.
    pub(crate) fn word(&self) -> Option<u8> {
        self.words.first().copied()
    }
}

/// What a function returns.
#[derive(Clone, Debug)]
pub(crate) enum Returned {
    Nothing,
    /// A pointer to a structure.
    Object {
        record: Rc<Record>,
        constant: bool,
    },
    /// A pointer to anything else.
    Pointer {
        constant: bool,
        bytes: bool,
    },
    Integer,
    /// A structure by value; `memory`: through a hidden pointer.
    Value {
        record: Rc<Record>,
        memory: bool,
    },
    Other,
}

/// One function with a body.
#[derive(Clone, Debug)]
pub(crate) struct Callable {
    /// Number in the debug information.
    pub index: usize,
    pub name: String,
    pub linkage: Option<String>,
    pub low: u64,
    pub high: u64,
    pub origin: Offset,
    pub parameters: Vec<Parameter>,
    pub returned: Returned,
}

impl Callable {
    /// The last part of the qualified name, lower case, without template arguments.
    pub(crate) fn short_name(&self) -> String {
        short_name(&self.name)
    }

    /// A parameter list with every meaning `_`.
    pub(crate) fn blank(&self) -> Vec<Argument> {
        vec![Argument::Ignored; self.parameters.len()]
    }
}

/// The last part of a qualified name, without template arguments.
pub(crate) fn short_name(name: &str) -> String {
    let head = name.split('<').next().unwrap_or(name);
    head.rsplit("::").next().unwrap_or(head).to_string()
}

/// All functions with a body and a name, in order of address.
pub(crate) fn functions(info: &Info<'_>) -> Vec<Callable> {
    let mut found: Vec<Callable> =
        (0..info.function_count()).filter_map(|index| Some(callable(info, index, info.function(index)?))).collect();
    found.sort_by_key(|f| (f.low, f.index));
    found.dedup_by_key(|f| f.low);
    found
}

/// What a type could be to an allocator's function.
pub(crate) fn kind(info: &Info<'_>, ty: Offset) -> Kind {
    match info.strip(Some(ty)).ty {
        Type::Pointer { to, .. } => {
            let target = info.strip(to);
            match target.ty {
                Type::Record(_) => match info.record(to) {
                    Some(record) => Kind::Object { record, constant: target.constant },
                    None => Kind::Other,
                },
                Type::Pointer { to: inner, .. } => match info.record(inner) {
                    Some(record) => Kind::ObjectOut { record },
                    None => Kind::PointerOut,
                },
                Type::Code => Kind::Other,
                Type::Small { bytes: 1 } => Kind::Pointer { constant: target.constant, characters: true },
                _ => Kind::Pointer { constant: target.constant, characters: false },
            }
        }
        Type::Integer { bytes, .. } if bytes >= 4 => Kind::Integer,
        Type::Record(_) => info.record(Some(ty)).map_or(Kind::Other, |record| Kind::Value { record }),
        _ => Kind::Other,
    }
}

/// What a result type is to the search.
pub(crate) fn returned(info: &Info<'_>, ty: Option<Offset>) -> Returned {
    match info.strip(ty).ty {
        Type::Void => Returned::Nothing,
        Type::Integer { .. } => Returned::Integer,
        Type::Pointer { to, .. } => {
            let target = info.strip(to);
            match info.record(to) {
                Some(record) => Returned::Object { record, constant: target.constant },
                None => Returned::Pointer {
                    constant: target.constant,
                    bytes: matches!(target.ty, Type::Void | Type::Small { bytes: 1 }),
                },
            }
        }
        Type::Record(_) => match info.record(ty) {
            Some(record) => {
                let memory = record.bytes > 16 || record.by_reference;
                Returned::Value { record, memory }
            }
            None => Returned::Other,
        },
        _ => Returned::Other,
    }
}

fn callable(info: &Info<'_>, index: usize, function: Function) -> Callable {
    let result = returned(info, function.result);
    let mut next = u8::from(matches!(result, Returned::Value { memory: true, .. }));
    let mut stack = 6u8;
    let mut parameters = Vec::with_capacity(function.parameters.len());
    for parameter in function.parameters {
        let wanted = integer_words(info, parameter.ty);
        let usual: Vec<u8> = match wanted {
            Words::Registers(count) if next + count <= 6 => {
                next += count;
                (next - count..next).collect()
            }
            Words::Registers(count) => take_stack(&mut stack, u64::from(count)),
            Words::Memory(count) => take_stack(&mut stack, count),
            Words::None => Vec::new(),
        };
        let words = match parameter.place {
            Place::Usual => usual,
            Place::Register(word) if usual.len() <= 1 => vec![word],
            Place::Register(_) => usual,
            Place::Removed => Vec::new(),
        };
        parameters.push(Parameter { name: parameter.name, kind: kind(info, parameter.ty), words });
    }
    Callable {
        index,
        name: function.name,
        linkage: function.linkage,
        low: function.low,
        high: function.high,
        origin: function.origin,
        parameters,
        returned: result,
    }
}

fn take_stack(stack: &mut u8, count: u64) -> Vec<u8> {
    let count = u8::try_from(count).unwrap_or(u8::MAX);
    let end = stack.saturating_add(count);
    let words = (*stack..end.min(12)).collect();
    *stack = end;
    words
}

enum Words {
    Registers(u8),
    Memory(u64),
    None,
}

/// How many integer registers a parameter takes.
fn integer_words(info: &Info<'_>, ty: Offset) -> Words {
    match info.strip(Some(ty)).ty {
        Type::Integer { bytes, .. } | Type::Small { bytes } => {
            if bytes <= 8 {
                Words::Registers(1)
            } else {
                Words::Registers(2)
            }
        }
        Type::Pointer { .. } | Type::Code => Words::Registers(1),
        Type::Record(_) => {
            let Some(record) = info.record(Some(ty)) else { return Words::None };
            if record.by_reference {
                Words::Registers(1)
            } else if record.bytes > 16 {
                Words::Memory(record.bytes.div_ceil(8))
            } else {
                let mut integer = [false; 2];
                mark_integer_halves(info, &record, 0, &mut integer, &mut { MAX_MEMBERS });
                let count = u64::from(integer[0]) + u64::from(integer[1] && record.bytes > 8);
                if count == 0 { Words::None } else { Words::Registers(count as u8) }
            }
        }
        // An array or unknown parameter cannot be passed; floats take vector registers.
        _ => Words::None,
    }
}

fn mark_integer_halves(info: &Info<'_>, record: &Record, at: u64, halves: &mut [bool; 2], left: &mut u32) {
    for member in &record.members {
        // A damaged structure may contain itself.
        let Some(rest) = left.checked_sub(1) else { return };
        *left = rest;
        let offset = at.saturating_add(member.offset);
        match info.strip(Some(member.ty)).ty {
            Type::Float { .. } => {}
            Type::Record(_) => {
                if let Some(inner) = info.record(Some(member.ty)) {
                    mark_integer_halves(info, &inner, offset, halves, left);
                }
            }
            _ => {
                let bytes = info.size(Some(member.ty)).max(1);
                for (half, flag) in halves.iter_mut().enumerate() {
                    let start = half as u64 * 8;
                    if offset < start + 8 && offset.saturating_add(bytes) > start {
                        *flag = true;
                    }
                }
            }
        }
    }
}

/// Pointer fields of a structure, nested structures included: offset → class. Fields of one class point at the same kind
/// of thing; the class is the offset of the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pointers(BTreeMap<i64, i64>);

impl Pointers {
    /// The pointer fields of a structure.
    pub(crate) fn of(info: &Info<'_>, record: &Record) -> Pointers {
        let mut targets: BTreeMap<i64, String> = BTreeMap::new();
        collect_pointers(info, record, 0, &mut targets, &mut { MAX_MEMBERS });
        let mut first: BTreeMap<&str, i64> = BTreeMap::new();
        let mut classes = BTreeMap::new();
        for (offset, target) in &targets {
            classes.insert(*offset, *first.entry(target.as_str()).or_insert(*offset));
        }
        Pointers(classes)
    }

    /// True when there is a pointer at this offset.
    pub(crate) fn contains(&self, offset: i64) -> bool {
        self.0.contains_key(&offset)
    }

    /// The class of the pointer that a place is (directly), or lies behind.
    pub(crate) fn class_of(&self, loc: Loc) -> Option<i64> {
        let at = match loc.way {
            Way::Direct => loc.offset?,
            Way::Behind(first) => first?,
        };
        self.0.get(&at).copied()
    }

    /// Offsets of all pointers of the class of `loc`.
    pub(crate) fn same_class(&self, loc: Loc) -> Vec<i64> {
        let class = self.class_of(loc);
        self.0.iter().filter(|(_, own)| Some(**own) == class).map(|(offset, _)| *offset).collect()
    }

    /// The place with the pointer on its way replaced by the first of the same class.
    pub(crate) fn canonical(&self, loc: Loc) -> Loc {
        match loc.way {
            Way::Direct => loc,
            Way::Behind(first) => {
                Loc { way: Way::Behind(first.map(|at| self.0.get(&at).copied().unwrap_or(at))), ..loc }
            }
        }
    }
}

fn collect_pointers(info: &Info<'_>, record: &Record, at: u64, found: &mut BTreeMap<i64, String>, left: &mut u32) {
    for member in &record.members {
        // A damaged structure may contain itself.
        let Some(rest) = left.checked_sub(1) else { return };
        *left = rest;
        let Ok(offset) = i64::try_from(at.saturating_add(member.offset)) else { continue };
        match info.strip(Some(member.ty)).ty {
            Type::Pointer { to, .. } => {
                let target = info.record(to).map_or_else(|| "bytes".to_string(), |record| record.key.clone());
                found.insert(offset, target);
            }
            Type::Record(_) => {
                if let Some(inner) = info.record(Some(member.ty)) {
                    collect_pointers(info, &inner, offset.unsigned_abs(), found, left);
                }
            }
            _ => {}
        }
    }
}
