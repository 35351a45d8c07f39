//! Types of the debug information: their names, sizes, and what scalars they are made of.
//!
//! Relied on: recursion is bounded, so types that contain themselves end; what is not understood is `None`. Absent:
//! how a type is passed (`convention.rs`).

use crate::dwarf::Slice;
use crate::index::{Die, Index};
use gimli::{
    AttributeValue, DW_AT_alignment, DW_AT_bit_size, DW_AT_byte_size, DW_AT_calling_convention, DW_AT_count,
    DW_AT_data_bit_offset, DW_AT_data_member_location, DW_AT_declaration, DW_AT_encoding, DW_AT_external, DW_AT_name,
    DW_AT_signature, DW_AT_type, DW_AT_upper_bound, DebuggingInformationEntry, DwTag,
};

/// Types may nest this deep; deeper ones are not understood.
const DEPTH: usize = 24;

/// An aggregate passed in registers has at most this many scalars (16 bytes of bit-fields); more are not collected.
const SCALARS: usize = 128;

/// Entries looked at for one question about one type. Hostile types that hold themselves twice would double the work
/// with each level otherwise.
const STEPS: usize = 4096;

/// Longest name of a type, bytes.
const NAME_LIMIT: usize = 16 << 10;

/// Work left for one question.
struct Budget(usize);

impl Budget {
    fn new() -> Budget {
        Budget(STEPS)
    }

    fn step(&mut self) -> Option<()> {
        self.0 = self.0.checked_sub(1)?;
        Some(())
    }
}

/// One scalar inside a type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Scalar {
    /// Bytes from the start of the whole.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    pub(crate) kind: ScalarKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScalarKind {
    Integer {
        signed: bool,
    },
    Pointer,
    /// float, double, `__float128`, vectors: in SSE registers.
    Sse,
    /// long double: always in memory when passed.
    X87,
}

/// What kind of type an entry is, names and qualifiers removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Scalar,
    /// Struct, class, union, array.
    Aggregate,
    Void,
    Unknown,
}

/// A type with qualifiers and names removed; `void` when there is no entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Types<'a> {
    pub(crate) index: &'a Index,
}

type Entry = DebuggingInformationEntry<Slice>;

impl Types<'_> {
    /// The type that `die` (a parameter, a function, a member, or what it is a copy of) has; `None` is void.
    pub(crate) fn of(self, die: Die) -> Option<Die> {
        let (unit, value) = self.index.inherited(die, DW_AT_type)?;
        self.index.target(unit, value)
    }

    /// Without typedefs and qualifiers.
    pub(crate) fn bare(self, die: Die) -> Option<Die> {
        let mut die = die;
        for _ in 0..DEPTH {
            let entry = self.index.entry(die)?;
            if is_wrapper(entry.tag()) {
                die = self.link(die, &entry)?;
            } else if let Some(signature) = entry.attr_value(DW_AT_signature) {
                die = self.index.target(die.unit, signature)?;
            } else {
                return Some(die);
            }
        }
        None
    }

    fn link(self, die: Die, entry: &Entry) -> Option<Die> {
        self.index.target(die.unit, entry.attr_value(DW_AT_type)?)
    }

    /// What kind of type this is; `None` stands for void.
    pub(crate) fn kind(self, die: Option<Die>) -> Kind {
        let Some(die) = die else { return Kind::Void };
        let Some(die) = self.bare(die) else { return Kind::Void };
        let Some(entry) = self.index.entry(die) else { return Kind::Unknown };
        match entry.tag() {
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type => Kind::Aggregate,
            gimli::DW_TAG_array_type if !entry.has_attr(gimli::DW_AT_GNU_vector) => Kind::Aggregate,
            tag if is_pointer(tag) => Kind::Scalar,
            gimli::DW_TAG_base_type | gimli::DW_TAG_enumeration_type | gimli::DW_TAG_array_type => Kind::Scalar,
            gimli::DW_TAG_ptr_to_member_type => Kind::Scalar,
            // nullptr_t in C++, `!` in Rust.
            gimli::DW_TAG_unspecified_type => Kind::Scalar,
            _ => Kind::Unknown,
        }
    }

    /// Size in bytes. `None` when the type is incomplete or not understood.
    pub(crate) fn bytes(self, die: Die) -> Option<u64> {
        self.bytes_within(die, DEPTH)
    }

    fn bytes_within(self, die: Die, depth: usize) -> Option<u64> {
        let depth = depth.checked_sub(1)?;
        let die = self.bare(die)?;
        let entry = self.index.entry(die)?;
        if let Some(bytes) = number(&entry, DW_AT_byte_size) {
            return Some(bytes);
        }
        if let Some(bits) = number(&entry, DW_AT_bit_size) {
            return Some(bits.div_ceil(8));
        }
        match entry.tag() {
            tag if is_pointer(tag) => Some(8),
            gimli::DW_TAG_unspecified_type => Some(8),
            gimli::DW_TAG_ptr_to_member_type => {
                // A pointer to a member function is two words (Itanium C++ ABI 2.3).
                let target = self.bare(self.link(die, &entry)?)?;
                let is_function = self.index.entry(target)?.tag() == gimli::DW_TAG_subroutine_type;
                Some(if is_function { 16 } else { 8 })
            }
            gimli::DW_TAG_enumeration_type => self.bytes_within(self.link(die, &entry)?, depth),
            gimli::DW_TAG_array_type => {
                let element = self.bytes_within(self.link(die, &entry)?, depth)?;
                self.elements(die)?.checked_mul(element)
            }
            _ => None,
        }
    }

    /// Number of elements of an array, all dimensions multiplied; 0 for a flexible array.
    fn elements(self, die: Die) -> Option<u64> {
        let mut count: u64 = 1;
        for (_, entry) in self.children(die) {
            if entry.tag() != gimli::DW_TAG_subrange_type && entry.tag() != gimli::DW_TAG_enumeration_type {
                continue;
            }
            let own =
                number(&entry, DW_AT_count).or_else(|| number(&entry, DW_AT_upper_bound)?.checked_add(1)).unwrap_or(0);
            count = count.checked_mul(own)?;
        }
        Some(count)
    }

    /// Direct children of an entry, in order.
    pub(crate) fn children(self, die: Die) -> Vec<(Die, Entry)> {
        let mut children = Vec::new();
        let Some(unit) = self.index.units.get(die.unit) else { return children };
        let Ok(mut tree) = unit.unit.entries_tree(Some(die.offset)) else { return children };
        let Ok(root) = tree.root() else { return children };
        let mut nodes = root.children();
        while let Ok(Some(node)) = nodes.next() {
            let entry = node.entry().clone();
            children.push((Die { unit: die.unit, offset: entry.offset() }, entry));
        }
        children
    }

    /// All scalars of a type with their places, in order of offset. `None` when it cannot be told: incomplete types,
    /// Rust enums with data, too many.
    pub(crate) fn scalars(self, die: Die) -> Option<Vec<Scalar>> {
        let mut scalars = Vec::new();
        self.collect(die, 0, DEPTH, &mut scalars, &mut Budget::new())?;
        scalars.sort_by_key(|scalar| scalar.offset);
        Some(scalars)
    }

    fn collect(
        self,
        die: Die,
        offset: u64,
        depth: usize,
        scalars: &mut Vec<Scalar>,
        budget: &mut Budget,
    ) -> Option<()> {
        budget.step()?;
        let depth = depth.checked_sub(1)?;
        let die = self.bare(die)?;
        let entry = self.index.entry(die)?;
        match entry.tag() {
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type | gimli::DW_TAG_union_type => {
                if entry.attr_value(DW_AT_declaration).is_some() {
                    return None;
                }
                for (child, member) in self.children(die) {
                    match member.tag() {
                        gimli::DW_TAG_variant_part => return None,
                        gimli::DW_TAG_member | gimli::DW_TAG_inheritance => {
                            // Static members are declarations or external.
                            if member.has_attr(DW_AT_external) || member.has_attr(DW_AT_declaration) {
                                continue;
                            }
                            let at = offset.checked_add(member_offset(&member)?)?;
                            match number(&member, DW_AT_bit_size) {
                                Some(bits) => bit_field(&member, at, bits, scalars)?,
                                None => self.collect(self.link(child, &member)?, at, depth, scalars, budget)?,
                            }
                        }
                        _ => {}
                    }
                }
                Some(())
            }
            gimli::DW_TAG_array_type if !entry.has_attr(gimli::DW_AT_GNU_vector) => {
                let element = self.link(die, &entry)?;
                let bytes = self.bytes_within(element, depth)?;
                for at in 0..self.elements(die)? {
                    let offset = offset.checked_add(at.checked_mul(bytes)?)?;
                    self.collect(element, offset, depth, scalars, budget)?;
                }
                Some(())
            }
            _ => {
                let kind = self.scalar_kind(die, &entry)?;
                let bytes = self.bytes_within(die, depth)?;
                if scalars.len() >= SCALARS {
                    return None;
                }
                scalars.push(Scalar { offset, bytes, kind });
                Some(())
            }
        }
    }

    fn scalar_kind(self, die: Die, entry: &Entry) -> Option<ScalarKind> {
        match entry.tag() {
            tag if is_pointer(tag) => Some(ScalarKind::Pointer),
            gimli::DW_TAG_unspecified_type => Some(ScalarKind::Pointer),
            gimli::DW_TAG_ptr_to_member_type => Some(ScalarKind::Integer { signed: true }),
            gimli::DW_TAG_array_type => Some(ScalarKind::Sse),
            gimli::DW_TAG_enumeration_type => {
                let under = self.link(die, entry).and_then(|under| self.bare(under));
                let signed = under.and_then(|under| self.index.entry(under)).is_none_or(|under| is_signed(&under));
                Some(ScalarKind::Integer { signed })
            }
            gimli::DW_TAG_base_type => {
                let name = entry.attr_value(DW_AT_name).and_then(|value| self.index.text(die.unit, value));
                match entry.attr_value(DW_AT_encoding)? {
                    AttributeValue::Encoding(gimli::DW_ATE_float | gimli::DW_ATE_complex_float) => {
                        let long = name.is_some_and(|name| name.contains("long double"));
                        Some(if long { ScalarKind::X87 } else { ScalarKind::Sse })
                    }
                    AttributeValue::Encoding(gimli::DW_ATE_decimal_float) => Some(ScalarKind::Sse),
                    AttributeValue::Encoding(_) => Some(ScalarKind::Integer { signed: is_signed(entry) }),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether the program demands a C++ object of this type to be passed by reference: its copy is not trivial.
    pub(crate) fn is_passed_by_reference(self, die: Die) -> bool {
        let Some((die, entry)) = self.bare(die).and_then(|die| Some((die, self.index.entry(die)?))) else {
            return false;
        };
        match entry.attr_value(DW_AT_calling_convention) {
            Some(AttributeValue::CallingConvention(gimli::DW_CC_pass_by_reference)) => return true,
            Some(AttributeValue::CallingConvention(gimli::DW_CC_pass_by_value)) => return false,
            _ => {}
        }
        // Before DWARF 5 nobody says it; a destructor that somebody wrote is the sign that is always there.
        self.children(die).iter().any(|(child, member)| {
            let name = member.attr_value(DW_AT_name).and_then(|value| self.index.text(child.unit, value));
            member.tag() == gimli::DW_TAG_subprogram
                && name.is_some_and(|name| name.starts_with('~'))
                && !member.has_attr(gimli::DW_AT_artificial)
                && !member.has_attr(gimli::DW_AT_defaulted)
        })
    }

    /// Alignment as declared with `alignas`; 0 when the natural one stands.
    pub(crate) fn declared_alignment(self, die: Die) -> u64 {
        let mut die = Some(die);
        for _ in 0..DEPTH {
            let Some((at, entry)) = die.and_then(|die| Some((die, self.index.entry(die)?))) else { break };
            if let Some(alignment) = number(&entry, DW_AT_alignment) {
                return alignment;
            }
            die = if is_wrapper(entry.tag()) { self.link(at, &entry) } else { None };
        }
        0
    }

    /// Whether a pointer is among the data of a Rust enum (`Option<NonNull<u8>>`).
    pub(crate) fn mentions_pointer(self, die: Die) -> bool {
        self.pointer_within(die, 10, &mut Budget::new())
    }

    fn pointer_within(self, die: Die, depth: usize, budget: &mut Budget) -> bool {
        let (Some(()), Some(depth), Some(die)) = (budget.step(), depth.checked_sub(1), self.bare(die)) else {
            return false;
        };
        let Some(entry) = self.index.entry(die) else { return false };
        if is_pointer(entry.tag()) {
            return true;
        }
        self.children(die).into_iter().any(|(child, entry)| match entry.tag() {
            gimli::DW_TAG_member => self.link(child, &entry).is_some_and(|of| self.pointer_within(of, depth, budget)),
            gimli::DW_TAG_variant_part | gimli::DW_TAG_variant => self.pointer_within(child, depth, budget),
            _ => false,
        })
    }

    /// The type as the source would write it (`const char *`); `void` for none, `?` when not understood.
    pub(crate) fn name(self, die: Option<Die>) -> String {
        self.name_within(die, DEPTH, &mut Budget::new()).unwrap_or_else(|| "?".to_owned())
    }

    fn name_within(self, die: Option<Die>, depth: usize, budget: &mut Budget) -> Option<String> {
        budget.step()?;
        let Some(die) = die else { return Some("void".to_owned()) };
        let depth = depth.checked_sub(1)?;
        let entry = self.index.entry(die)?;
        if let Some(signature) = entry.attr_value(DW_AT_signature) {
            return self.name_within(Some(self.index.target(die.unit, signature)?), depth, budget);
        }
        let own = entry.attr_value(DW_AT_name).and_then(|value| self.index.text(die.unit, value));
        if own.is_some_and(|own| own.len() > NAME_LIMIT) {
            return None;
        }
        let language = self.language(die.unit);
        let tagged = |word: &str| match own {
            Some(name) if language == Language::C => format!("{word} {name}"),
            Some(name) => name.to_owned(),
            None => format!("{word} {{…}}"),
        };
        let mut of = || self.name_within(self.link(die, &entry), depth, budget);
        Some(match entry.tag() {
            gimli::DW_TAG_structure_type => tagged("struct"),
            gimli::DW_TAG_class_type => tagged("class"),
            gimli::DW_TAG_union_type => tagged("union"),
            gimli::DW_TAG_enumeration_type => tagged("enum"),
            _ if own.is_some() => own?.to_owned(),
            gimli::DW_TAG_pointer_type => pointer_to(&of()?, "*"),
            gimli::DW_TAG_reference_type => pointer_to(&of()?, "&"),
            gimli::DW_TAG_rvalue_reference_type => pointer_to(&of()?, "&&"),
            gimli::DW_TAG_const_type => qualified(&of()?, "const"),
            gimli::DW_TAG_volatile_type => qualified(&of()?, "volatile"),
            gimli::DW_TAG_restrict_type => qualified(&of()?, "restrict"),
            gimli::DW_TAG_atomic_type => format!("_Atomic {}", of()?),
            gimli::DW_TAG_array_type => format!("{}[{}]", of()?, self.elements(die).unwrap_or(0)),
            gimli::DW_TAG_subroutine_type => {
                let returns = of()?;
                let mut parameters = Vec::new();
                for (at, child) in self.children(die) {
                    if child.tag() == gimli::DW_TAG_formal_parameter {
                        parameters.push(self.name_within(self.link(at, &child), depth, budget)?);
                    }
                }
                format!("{returns} ()({})", parameters.join(", "))
            }
            gimli::DW_TAG_ptr_to_member_type => format!("{} ::*", of()?),
            tag if is_wrapper(tag) => of()?,
            _ => return None,
        })
    }

    /// The language of a unit.
    pub(crate) fn language(self, unit: usize) -> Language {
        let root = self.index.units.get(unit).map(|unit| unit.unit.header.root_offset());
        let language = root
            .and_then(|offset| self.index.entry(Die { unit, offset }))
            .and_then(|root| root.attr_value(gimli::DW_AT_language));
        match language {
            Some(AttributeValue::Language(language)) => Language::of(language),
            _ => Language::Other,
        }
    }
}

/// Languages whose calling conventions differ, or that write types differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Language {
    C,
    /// C++ and all others that pass values as C does.
    Other,
    Rust,
    /// Values are passed in its own way, which is not known here.
    Go,
}

impl Language {
    fn of(language: gimli::DwLang) -> Language {
        match language {
            gimli::DW_LANG_C89 | gimli::DW_LANG_C | gimli::DW_LANG_C99 | gimli::DW_LANG_C11 | gimli::DW_LANG_C17 => {
                Language::C
            }
            gimli::DW_LANG_Rust => Language::Rust,
            gimli::DW_LANG_Go => Language::Go,
            _ => Language::Other,
        }
    }
}

fn is_wrapper(tag: DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_typedef
            | gimli::DW_TAG_const_type
            | gimli::DW_TAG_volatile_type
            | gimli::DW_TAG_restrict_type
            | gimli::DW_TAG_atomic_type
            | gimli::DW_TAG_immutable_type
            | gimli::DW_TAG_packed_type
            | gimli::DW_TAG_shared_type
            | gimli::DW_TAG_template_alias
    )
}

fn is_pointer(tag: DwTag) -> bool {
    matches!(
        tag,
        gimli::DW_TAG_pointer_type
            | gimli::DW_TAG_reference_type
            | gimli::DW_TAG_rvalue_reference_type
            | gimli::DW_TAG_subroutine_type
    )
}

fn is_signed(entry: &Entry) -> bool {
    matches!(
        entry.attr_value(DW_AT_encoding),
        Some(AttributeValue::Encoding(gimli::DW_ATE_signed | gimli::DW_ATE_signed_char | gimli::DW_ATE_signed_fixed))
    )
}

/// An attribute that is a constant.
fn number(entry: &Entry, name: gimli::DwAt) -> Option<u64> {
    entry.attr(name)?.udata_value()
}

/// Bytes from the start of the struct; a bit-field counts where its bits begin.
fn member_offset(member: &Entry) -> Option<u64> {
    if let Some(bits) = number(member, DW_AT_data_bit_offset) {
        return Some(bits / 8);
    }
    match member.attr_value(DW_AT_data_member_location) {
        // Members of unions have none.
        None => Some(0),
        // DWARF 2 and 3 write `DW_OP_plus_uconst N`; virtual bases compute and are not understood.
        Some(AttributeValue::Exprloc(expression)) => {
            let mut bytes = expression.0;
            let operation = gimli::Reader::read_u8(&mut bytes).ok()?;
            let offset = gimli::Reader::read_uleb128(&mut bytes).ok()?;
            (operation == gimli::DW_OP_plus_uconst.0 && bytes.is_empty()).then_some(offset)
        }
        Some(_) => number(member, DW_AT_data_member_location),
    }
}

/// A bit-field as its first and last byte: it is never unaligned.
fn bit_field(member: &Entry, offset: u64, bits: u64, scalars: &mut Vec<Scalar>) -> Option<()> {
    let shift = number(member, DW_AT_data_bit_offset).unwrap_or(0) % 8;
    let last = shift.checked_add(bits)?.checked_sub(1)? / 8;
    for at in [0, last] {
        if scalars.len() >= SCALARS {
            return None;
        }
        let kind = ScalarKind::Integer { signed: false };
        scalars.push(Scalar { offset: offset.checked_add(at)?, bytes: 1, kind });
    }
    Some(())
}

fn pointer_to(target: &str, mark: &str) -> String {
    // A function type renders as `int ()(long)`: the mark goes inside its first parentheses.
    if let Some((returns, parameters)) = target.split_once(" ()(") {
        return format!("{returns} ({mark})({parameters}");
    }
    let space = if target.ends_with(['*', '&']) { "" } else { " " };
    format!("{target}{space}{mark}")
}

fn qualified(target: &str, word: &str) -> String {
    if target.ends_with(['*', '&']) { format!("{target}{word}") } else { format!("{word} {target}") }
}
