//! Types as the debug information tells them, stripped of typedefs and qualifiers.
//!
//! Relied on: loops and damage end in `Type::Other` or `None`; each type is read once.
//! Deliberately absent: type units (`.debug_types`), templates as such.

use super::{Info, Offset, reference};
use gimli::{AttributeValue, UnitOffset, constants as dw};

/// Arrays of arrays followed.
const MAX_NESTING: u8 = 16;

/// A type, with typedefs and qualifiers stripped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// No value.
    Void,
    /// An integer that could be a size (not bool, not a character, not an enumeration).
    Integer { bytes: u64, signed: bool },
    /// bool, characters, enumerations.
    Small { bytes: u64 },
    /// float, double, complex.
    Float { bytes: u64 },
    /// A pointer or reference; the target as written (`None` is void).
    Pointer { to: Option<Offset>, reference: bool },
    /// A structure, class or union.
    Record(Offset),
    /// An array.
    Array { of: Offset, bytes: u64 },
    /// A function type.
    Code,
    /// Anything else.
    Other,
}

/// A type with what was stripped from it.
#[derive(Clone, Debug)]
pub(crate) struct Stripped {
    pub ty: Type,
    pub constant: bool,
    /// The outermost typedef.
    pub alias: Option<String>,
    /// The innermost typedef: the name of an anonymous structure.
    pub inner_alias: Option<String>,
}

/// One member of a structure.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub offset: u64,
    pub ty: Offset,
}

/// A structure.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// The same for all copies of one structure in different units.
    pub key: String,
    /// As a person would say it.
    pub name: String,
    pub bytes: u64,
    pub members: Vec<Member>,
    /// C++: passed by a pointer to a copy.
    pub by_reference: bool,
}

impl Info<'_> {
    /// A type, stripped of typedefs and qualifiers. `None` is void.
    pub(crate) fn strip(&self, offset: Option<Offset>) -> Stripped {
        let void = Stripped { ty: Type::Void, constant: false, alias: None, inner_alias: None };
        let Some(first) = offset else { return void };
        if let Some(known) = self.stripped.borrow().get(&first) {
            return known.clone();
        }
        let mut out = void;
        let mut at = Some(first);
        for _ in 0..64 {
            let Some(offset) = at else {
                out.ty = Type::Void;
                break;
            };
            let Some((start, unit, entry)) = self.entry(offset) else {
                out.ty = Type::Other;
                break;
            };
            let next = reference(start, &entry, dw::DW_AT_type);
            let bytes = entry.attr_value(dw::DW_AT_byte_size).and_then(|v| v.udata_value()).unwrap_or(0);
            match entry.tag() {
                dw::DW_TAG_typedef => {
                    let name = self.text(unit, &entry, dw::DW_AT_name);
                    out.alias = out.alias.or_else(|| name.clone());
                    out.inner_alias = name.or(out.inner_alias);
                    at = next;
                    continue;
                }
                dw::DW_TAG_const_type => {
                    out.constant = true;
                    at = next;
                    continue;
                }
                dw::DW_TAG_volatile_type | dw::DW_TAG_restrict_type | dw::DW_TAG_atomic_type => {
                    at = next;
                    continue;
                }
                dw::DW_TAG_base_type => {
                    let encoding = match entry.attr_value(dw::DW_AT_encoding) {
                        Some(AttributeValue::Encoding(encoding)) => encoding,
                        _ => gimli::DwAte(0),
                    };
                    out.ty = match encoding {
                        dw::DW_ATE_signed => Type::Integer { bytes, signed: true },
                        dw::DW_ATE_unsigned => Type::Integer { bytes, signed: false },
                        dw::DW_ATE_float | dw::DW_ATE_complex_float => Type::Float { bytes },
                        _ => Type::Small { bytes },
                    };
                }
                dw::DW_TAG_enumeration_type => out.ty = Type::Small { bytes },
                dw::DW_TAG_pointer_type => out.ty = Type::Pointer { to: next, reference: false },
                dw::DW_TAG_reference_type | dw::DW_TAG_rvalue_reference_type => {
                    out.ty = Type::Pointer { to: next, reference: true }
                }
                dw::DW_TAG_structure_type | dw::DW_TAG_class_type | dw::DW_TAG_union_type => {
                    out.ty = Type::Record(offset)
                }
                dw::DW_TAG_array_type => {
                    let total = self.array_bytes(offset, next);
                    out.ty = Type::Array { of: next.unwrap_or(0), bytes: total };
                }
                dw::DW_TAG_subroutine_type => out.ty = Type::Code,
                _ => out.ty = Type::Other,
            }
            break;
        }
        self.stripped.borrow_mut().insert(first, out.clone());
        out
    }

    fn array_bytes(&self, offset: Offset, element: Option<Offset>) -> u64 {
        let Some((start, unit)) = self.unit_of(offset) else { return 0 };
        let Some(inside) = offset.checked_sub(*start) else { return 0 };
        let Ok(mut tree) = unit.entries_tree(Some(UnitOffset(inside))) else { return 0 };
        let Ok(root) = tree.root() else { return 0 };
        if self.nesting.get() >= MAX_NESTING {
            return 0;
        }
        self.nesting.set(self.nesting.get() + 1);
        let mut total = self.size(element);
        self.nesting.set(self.nesting.get() - 1);
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            let count = entry.attr_value(dw::DW_AT_count).and_then(|v| v.udata_value()).or_else(|| {
                let upper = entry.attr_value(dw::DW_AT_upper_bound)?.udata_value()?;
                upper.checked_add(1)
            });
            total = total.saturating_mul(count.unwrap_or(0));
        }
        total
    }

    /// Bytes of a value of this type; 0 when not known.
    pub(crate) fn size(&self, offset: Option<Offset>) -> u64 {
        match self.strip(offset).ty {
            Type::Integer { bytes, .. } | Type::Small { bytes } | Type::Float { bytes } => bytes,
            Type::Pointer { .. } => 8,
            Type::Array { bytes, .. } => bytes,
            Type::Record(offset) => self.record_at(offset, None).map_or(0, |record| record.bytes),
            Type::Void | Type::Code | Type::Other => 0,
        }
    }

    /// The structure a type names, if it is one.
    pub(crate) fn record(&self, offset: Option<Offset>) -> Option<std::rc::Rc<Record>> {
        let stripped = self.strip(offset);
        match stripped.ty {
            Type::Record(at) => self.record_at(at, stripped.inner_alias),
            _ => None,
        }
    }

    fn record_at(&self, offset: Offset, alias: Option<String>) -> Option<std::rc::Rc<Record>> {
        if let Some(known) = self.records.borrow().get(&offset) {
            return Some(known.clone());
        }
        let (_, unit, entry) = self.entry(offset)?;
        let tag_name = self.text(unit, &entry, dw::DW_AT_name);
        let full =
            tag_name.as_ref().map(|name| format!("{}{name}", self.prefixes.get(&offset).map_or("", String::as_str)));
        if entry.attr(dw::DW_AT_declaration).is_some()
            && let Some(definition) = full.as_ref().and_then(|full| self.definitions.get(full))
            && *definition != offset
        {
            let record = self.record_at(*definition, alias)?;
            self.records.borrow_mut().insert(offset, record.clone());
            return Some(record);
        }
        let bytes = entry.attr_value(dw::DW_AT_byte_size).and_then(|v| v.udata_value()).unwrap_or(0);
        let by_reference = matches!(
            entry.attr_value(dw::DW_AT_calling_convention),
            Some(AttributeValue::CallingConvention(dw::DW_CC_pass_by_reference))
        );
        let key = match (&full, &alias) {
            (Some(name), _) => format!("{name}#{bytes}"),
            (None, Some(alias)) => format!("{alias}#{bytes}"),
            (None, None) => format!("@{offset}"),
        };
        let name = full.or(alias).unwrap_or_else(|| "(unnamed)".to_string());
        let record = std::rc::Rc::new(Record { key, name, bytes, members: self.members(offset), by_reference });
        self.records.borrow_mut().insert(offset, record.clone());
        Some(record)
    }

    fn members(&self, offset: Offset) -> Vec<Member> {
        let Some((start, unit)) = self.unit_of(offset) else { return Vec::new() };
        let Some(inside) = offset.checked_sub(*start) else { return Vec::new() };
        let Ok(mut tree) = unit.entries_tree(Some(UnitOffset(inside))) else { return Vec::new() };
        let Ok(root) = tree.root() else { return Vec::new() };
        let mut children = root.children();
        let mut found = Vec::new();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            if !matches!(entry.tag(), dw::DW_TAG_member | dw::DW_TAG_inheritance) {
                continue;
            }
            if entry.attr(dw::DW_AT_external).is_some() {
                continue;
            }
            let Some(ty) = reference(*start, entry, dw::DW_AT_type) else { continue };
            let offset = entry.attr_value(dw::DW_AT_data_member_location).and_then(|v| v.udata_value()).unwrap_or(0);
            found.push(Member { offset, ty });
        }
        found
    }
}
