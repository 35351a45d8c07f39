//! Where DWARF says that a parameter is when its function is entered.
//!
//! Relied on: only the first instruction's moment is answered; expressions that compute are not evaluated. Absent:
//! the platform's rules (`convention.rs`).

use crate::dwarf::Slice;
use crate::index::{Die, Index};
use crate::signature::Place;
use gimli::{
    AttributeValue, DW_AT_const_value, DW_AT_frame_base, DW_AT_location, DebuggingInformationEntry, Encoding,
    Expression, Operation,
};

/// What debug information says of a parameter at the function's first instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Said {
    /// It is there.
    At(Place),
    /// Its bytes are where this register points: right for what is passed by reference.
    Behind(Place),
    /// It has a place in the function's own frame, where the prologue puts it: it arrives as the platform says.
    Local,
    /// Nothing that helps: no location, none at the first instruction, or one that computes.
    Nothing,
}

/// What `entry`, a parameter of the function `function` that starts at `start`, says.
pub(crate) fn said(
    index: &Index,
    function: Die,
    start: u64,
    unit: usize,
    entry: &DebuggingInformationEntry<Slice>,
) -> Said {
    if let Some(attribute) = entry.attr(DW_AT_const_value) {
        return constant(attribute).map_or(Said::Nothing, |value| Said::At(Place::Constant(value)));
    }
    let Some(value) = entry.attr_value(DW_AT_location) else { return Said::Nothing };
    let Some(at) = index.units.get(unit) else { return Said::Nothing };
    let encoding = at.unit.encoding();
    if let AttributeValue::Exprloc(expression) = value {
        return place(index, function, expression, encoding, false);
    }
    let Ok(Some(mut list)) = index.dwarf_of(unit).attr_locations(&at.unit, value) else {
        return Said::Nothing;
    };
    while let Ok(Some(entry)) = list.next() {
        if entry.range.begin <= start && start < entry.range.end {
            return place(index, function, entry.data, encoding, true);
        }
    }
    Said::Nothing
}

fn constant(attribute: &gimli::Attribute<Slice>) -> Option<u64> {
    if let AttributeValue::Block(bytes) = attribute.value() {
        return little_endian(bytes.slice());
    }
    // GCC writes negative constants as sdata.
    attribute.sdata_value().map(i64::cast_unsigned).or_else(|| attribute.udata_value())
}

fn little_endian(bytes: &[u8]) -> Option<u64> {
    let mut word = [0u8; 8];
    word.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(u64::from_le_bytes(word))
}

/// `exact`: the expression holds for the first instruction in particular (it came from a list), so that rsp is what it
/// is at entry.
fn place(index: &Index, function: Die, expression: Expression<Slice>, encoding: Encoding, exact: bool) -> Said {
    let mut operations = expression.operations(encoding);
    let mut all = Vec::new();
    loop {
        match operations.next() {
            Ok(Some(operation)) if all.len() < 5 => all.push(operation),
            Ok(None) => break,
            _ => return Said::Nothing,
        }
    }
    match all.as_slice() {
        [Operation::Register { register }] => register_place(register.0).map_or(Said::Nothing, Said::At),
        // The value at entry of the register named inside: this is the entry.
        [Operation::EntryValue { expression }, Operation::StackValue] => {
            place(index, function, Expression(*expression), encoding, true)
        }
        [
            Operation::Register { register: one },
            Operation::Piece { size_in_bits: 64, bit_offset: None | Some(0) },
            Operation::Register { register: two },
            Operation::Piece { .. },
        ] => match (register_place(one.0), register_place(two.0)) {
            (Some(Place::Integer(one)), Some(Place::Integer(two))) if one.checked_add(1) == Some(two) => {
                Said::At(Place::Registers2(one))
            }
            (Some(Place::Float), Some(Place::Float)) => Said::At(Place::Float),
            _ => Said::Nothing,
        },
        [Operation::UnsignedConstant { value }, Operation::StackValue] => Said::At(Place::Constant(*value)),
        [Operation::SignedConstant { value }, Operation::StackValue] => {
            Said::At(Place::Constant(value.cast_unsigned()))
        }
        [Operation::ImplicitValue { data }] => {
            little_endian(data.slice()).map_or(Said::Nothing, |value| Said::At(Place::Constant(value)))
        }
        [Operation::FrameOffset { offset }] => match frame_base(index, function, exact) {
            Some(base) => on_stack(base.checked_add(*offset)),
            None => Said::Local,
        },
        [Operation::FrameOffset { .. }, Operation::Deref { .. }] => Said::Local,
        [Operation::RegisterOffset { register, offset: 0, .. }] if register.0 != 7 => {
            register_place(register.0).map_or(Said::Nothing, Said::Behind)
        }
        [Operation::RegisterOffset { register: gimli::Register(7), offset, .. }] if exact => {
            on_stack(offset.checked_sub(8))
        }
        _ => Said::Nothing,
    }
}

/// The frame base relative to the first stack argument. `None` when it moves with the code.
fn frame_base(index: &Index, function: Die, exact: bool) -> Option<i64> {
    let AttributeValue::Exprloc(expression) = index.entry(function)?.attr_value(DW_AT_frame_base)? else {
        return None;
    };
    let mut operations = expression.operations(index.units.get(function.unit)?.unit.encoding());
    let first = operations.next().ok()??;
    if operations.next().ok()?.is_some() {
        return None;
    }
    match first {
        // The canonical frame address is where the first stack argument is.
        Operation::CallFrameCFA => Some(0),
        // rbp after `push rbp; mov rbp, rsp`: saved rbp, return address, arguments.
        Operation::Register { register: gimli::Register(6) } => Some(-16),
        // rsp: at the first instruction it points at the return address.
        Operation::Register { register: gimli::Register(7) } if exact => Some(-8),
        _ => None,
    }
}

fn on_stack(offset: Option<i64>) -> Said {
    match offset {
        Some(offset) if offset >= 0 => {
            u32::try_from(offset).map_or(Said::Nothing, |offset| Said::At(Place::Stack(offset)))
        }
        Some(_) => Said::Local,
        None => Said::Nothing,
    }
}

/// DWARF register numbers of AMD64 (System V ABI, figure 3.36) as argument places.
fn register_place(register: u16) -> Option<Place> {
    match register {
        5 => Some(Place::Integer(0)),
        4 => Some(Place::Integer(1)),
        1 => Some(Place::Integer(2)),
        2 => Some(Place::Integer(3)),
        8 => Some(Place::Integer(4)),
        9 => Some(Place::Integer(5)),
        17..=32 => Some(Place::Float),
        _ => None,
    }
}
