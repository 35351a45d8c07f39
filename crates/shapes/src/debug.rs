//! Functions and types as the debug information tells them, read lazily by offset.
//!
//! Relied on: names, parameters, result types and address ranges of functions with a body; types with typedefs and
//! qualifiers stripped. Damage makes single facts `None`, never an error of the whole.
//! Deliberately absent: lines, variables, type units (`.debug_types`), split DWARF (`.dwo`).

mod types;

pub(crate) use types::{Record, Stripped, Type};

use crate::FindError;
use crate::binary::Binary;
use gimli::{AttributeValue, DebuggingInformationEntry, EndianSlice, LittleEndian, UnitOffset, constants as dw};
use object::{Object, ObjectSection};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};

type Slice<'d> = EndianSlice<'d, LittleEndian>;
type Entry<'d> = DebuggingInformationEntry<Slice<'d>>;

/// No section of debug information is unpacked beyond this many bytes.
const MAX_UNPACKED_BYTES: u64 = 1 << 30;

/// The debug sections, unpacked.
pub(crate) struct Sections<'a>(gimli::DwarfSections<Cow<'a, [u8]>>);

impl<'a> Sections<'a> {
    /// Sections of the debug file if it has any, else of the program; `None` when neither has.
    pub(crate) fn load(elf: &'a [u8], debug: Option<&'a [u8]>) -> Result<Option<Sections<'a>>, FindError> {
        for bytes in debug.into_iter().chain([elf]) {
            let Ok(file) = object::File::parse(bytes) else { continue };
            if file.section_by_name(".debug_info").is_none_or(|section| section.size() == 0) {
                continue;
            }
            let load = |id: gimli::SectionId| -> Result<Cow<'a, [u8]>, FindError> {
                let Some(section) = file.section_by_name(id.name()) else { return Ok(Cow::Borrowed(&[])) };
                let damaged = |e: object::Error| FindError::Damaged(format!("{}: {e}", id.name()));
                let packed = section.compressed_data().map_err(damaged)?;
                if packed.uncompressed_size > MAX_UNPACKED_BYTES
                    || packed.uncompressed_size / 2000 > packed.data.len() as u64
                {
                    return Err(FindError::Damaged(format!(
                        "{} claims {} bytes in {}",
                        id.name(),
                        packed.uncompressed_size,
                        packed.data.len()
                    )));
                }
                packed.decompress().map_err(damaged)
            };
            return gimli::DwarfSections::load(load).map(|sections| Some(Sections(sections)));
        }
        Ok(None)
    }
}

/// A place in `.debug_info`; identifies a type or a function.
pub(crate) type Offset = usize;

/// One parameter.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub name: String,
    pub ty: Offset,
    /// Where the parameter is at entry when the debug information says so.
    pub place: Place,
}

/// Where the debug information puts a parameter at the function's first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It does not say: the calling convention decides.
    Usual,
    /// An integer register, by number in argument order (0 = rdi).
    Register(u8),
    /// Removed; the value is a constant or gone.
    Removed,
}

/// A function with a body.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// Qualified name without arguments (`ns::Arena::alloc`).
    pub name: String,
    pub low: u64,
    pub high: u64,
    pub parameters: Vec<Parameter>,
    pub result: Option<Offset>,
    /// The name the linker knows, when it differs.
    pub linkage: Option<String>,
    /// The declaration that inlined copies refer to.
    pub origin: Offset,
}

struct RawFunction {
    offset: Offset,
    low: u64,
    high: u64,
}

/// A function that exists only inside others.
#[derive(Clone, Debug)]
pub(crate) struct Inlined {
    pub name: String,
    pub parameters: Vec<Parameter>,
    pub result: Option<Offset>,
    pub copies: usize,
    pub origin: Offset,
}

/// Everything read in one walk, plus the means to look further.
pub(crate) struct Info<'d> {
    dwarf: gimli::Dwarf<Slice<'d>>,
    /// (start in `.debug_info`, unit), in order.
    units: Vec<(Offset, gimli::Unit<Slice<'d>>)>,
    functions: Vec<RawFunction>,
    /// Structure name → its first definition.
    definitions: HashMap<String, Offset>,
    prefixes: HashMap<Offset, String>,
    /// Inlined copies by the function they are of.
    copies: HashMap<Offset, usize>,
    /// (function of, inside of: index into `functions`).
    inlined_in: BTreeSet<(Offset, usize)>,
    stripped: RefCell<HashMap<Offset, Stripped>>,
    records: RefCell<HashMap<Offset, std::rc::Rc<Record>>>,
    /// Depth of arrays being measured.
    nesting: Cell<u8>,
    /// Units that could not be read.
    pub damaged_units: usize,
}

impl<'d> Info<'d> {
    /// Walks all units once.
    pub(crate) fn read(sections: &'d Sections<'_>, binary: &Binary<'_>) -> Info<'d> {
        let dwarf = sections.0.borrow(|section| EndianSlice::new(section, LittleEndian));
        let mut info = Info {
            dwarf,
            units: Vec::new(),
            functions: Vec::new(),
            definitions: HashMap::new(),
            prefixes: HashMap::new(),
            copies: HashMap::new(),
            inlined_in: BTreeSet::new(),
            stripped: RefCell::default(),
            records: RefCell::default(),
            nesting: Cell::new(0),
            damaged_units: 0,
        };
        let mut headers = info.dwarf.units();
        loop {
            let header = match headers.next() {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(_) => {
                    info.damaged_units += 1;
                    break;
                }
            };
            let Some(start) = header.debug_info_offset() else { continue };
            match info.dwarf.unit(header) {
                Ok(unit) => info.units.push((start.0, unit)),
                Err(_) => info.damaged_units += 1,
            }
        }
        for index in 0..info.units.len() {
            if info.walk(index, binary).is_err() {
                info.damaged_units += 1;
            }
        }
        info
    }

    fn walk(&mut self, index: usize, binary: &Binary<'_>) -> gimli::Result<()> {
        let Some((start, unit)) = self.units.get(index) else { return Ok(()) };
        let start = *start;
        // (depth, name) of the enclosing namespaces and classes; (depth, function) of the enclosing functions.
        let mut scopes: Vec<(isize, String)> = Vec::new();
        let mut bodies: Vec<(isize, usize)> = Vec::new();
        let mut cursor = unit.entries();
        while let Some(entry) = cursor.next_dfs()? {
            let depth = entry.depth();
            scopes.truncate(scopes.partition_point(|(at, _)| *at < depth));
            bodies.truncate(bodies.partition_point(|(at, _)| *at < depth));
            let offset = start.saturating_add(entry.offset().0);
            let tag = entry.tag();
            let named = |entry: &Entry<'d>| -> Option<String> {
                let value = entry.attr_value(dw::DW_AT_name)?;
                let text = self.dwarf.attr_string(unit, value).ok()?;
                Some(text.to_string_lossy().into_owned())
            };
            match tag {
                dw::DW_TAG_namespace => {
                    if let Some(name) = named(entry) {
                        scopes.push((depth, name));
                    }
                }
                dw::DW_TAG_structure_type | dw::DW_TAG_class_type | dw::DW_TAG_union_type => {
                    if !scopes.is_empty() {
                        self.prefixes.insert(offset, join(&scopes));
                    }
                    if let Some(name) = named(entry) {
                        if entry.attr(dw::DW_AT_declaration).is_none() {
                            let mut full = join(&scopes);
                            full.push_str(&name);
                            self.definitions.entry(full).or_insert(offset);
                        }
                        scopes.push((depth, name));
                    }
                }
                dw::DW_TAG_subprogram => {
                    if !scopes.is_empty() {
                        self.prefixes.insert(offset, join(&scopes));
                    }
                    if let Some((low, high)) = range(&self.dwarf, unit, entry)
                        && binary.code(low, 1).is_some()
                        && low < high
                    {
                        bodies.push((depth, self.functions.len()));
                        self.functions.push(RawFunction { offset, low, high });
                    }
                }
                dw::DW_TAG_inlined_subroutine => {
                    if let Some(origin) = reference(start, entry, dw::DW_AT_abstract_origin) {
                        *self.copies.entry(origin).or_default() += 1;
                        if let Some((_, function)) = bodies.last() {
                            self.inlined_in.insert((origin, *function));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn unit_of(&self, offset: Offset) -> Option<&(Offset, gimli::Unit<Slice<'d>>)> {
        let after = self.units.partition_point(|(start, _)| *start <= offset);
        self.units.get(after.checked_sub(1)?)
    }

    fn entry(&self, offset: Offset) -> Option<(Offset, &gimli::Unit<Slice<'d>>, Entry<'d>)> {
        let (start, unit) = self.unit_of(offset)?;
        let entry = unit.entry(UnitOffset(offset.checked_sub(*start)?)).ok()?;
        Some((*start, unit, entry))
    }

    fn text(&self, unit: &gimli::Unit<Slice<'d>>, entry: &Entry<'d>, attribute: gimli::DwAt) -> Option<String> {
        let value = entry.attr_value(attribute)?;
        Some(self.dwarf.attr_string(unit, value).ok()?.to_string_lossy().into_owned())
    }

    /// Number of functions with a body.
    pub(crate) fn function_count(&self) -> usize {
        self.functions.len()
    }

    /// One function, read fully. `None` when it has no name.
    pub(crate) fn function(&self, index: usize) -> Option<Function> {
        let raw = self.functions.get(index)?;
        let mut described = self.describe(raw.offset)?;
        let places = self.places(raw.offset, raw.low);
        let concrete_only = !places.is_empty();
        for (position, parameter) in described.parameters.iter_mut().enumerate() {
            let own = places
                .iter()
                .find(|(origin, at, _)| origin.map_or(*at == position, |origin| origin == parameter.offset));
            match own {
                Some((_, _, place)) => parameter.place = *place,
                None if concrete_only => parameter.place = Place::Removed,
                None => {}
            }
        }
        Some(Function {
            name: described.name,
            low: raw.low,
            high: raw.high,
            parameters: described
                .parameters
                .into_iter()
                .map(|p| Parameter { name: p.name, ty: p.ty, place: p.place })
                .collect(),
            result: described.result,
            linkage: described.linkage,
            origin: described.origin,
        })
    }

    /// The functions that are nowhere but inside others.
    pub(crate) fn only_inlined(&self) -> Vec<Inlined> {
        let with_body: BTreeSet<Offset> =
            self.functions.iter().filter_map(|f| self.describe(f.offset)).map(|d| d.origin).collect();
        let mut found: Vec<Inlined> = self
            .copies
            .iter()
            .filter(|(origin, _)| !with_body.contains(*origin))
            .filter_map(|(&origin, &copies)| {
                let described = self.describe(origin)?;
                let parameters = described
                    .parameters
                    .into_iter()
                    .map(|p| Parameter { name: p.name, ty: p.ty, place: p.place })
                    .collect();
                Some(Inlined { name: described.name, parameters, result: described.result, copies, origin })
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// How often a function was copied into others.
    pub(crate) fn copies(&self, origin: Offset) -> usize {
        self.copies.get(&origin).copied().unwrap_or(0)
    }

    /// True when `origin` was copied into function number `index`.
    pub(crate) fn is_inlined_in(&self, origin: Offset, index: usize) -> bool {
        self.inlined_in.contains(&(origin, index))
    }

    /// True when a copy of `origin` lies inside one of the functions with these numbers.
    pub(crate) fn is_inside_any(&self, origin: Offset, functions: &[usize]) -> bool {
        self.inlined_in.range((origin, 0)..=(origin, usize::MAX)).any(|(_, function)| functions.contains(function))
    }

    fn describe(&self, offset: Offset) -> Option<Described> {
        let mut name = None;
        let mut linkage = None;
        let mut prefix = None;
        let mut result = None;
        let mut parameters: Option<Vec<RawParameter>> = None;
        let mut at = offset;
        let mut origin = offset;
        for _ in 0..8 {
            let (start, unit, entry) = self.entry(at)?;
            name = name.or_else(|| self.text(unit, &entry, dw::DW_AT_name));
            linkage = linkage.or_else(|| self.text(unit, &entry, dw::DW_AT_linkage_name));
            prefix = self.prefixes.get(&at).cloned().or(prefix);
            result = result.or_else(|| reference(start, &entry, dw::DW_AT_type));
            // The outermost description that has parameters wins: concrete copies may have lost some.
            if let Some(own) = self.parameters(at)
                && !own.is_empty()
                && own.iter().all(|p| p.ty.is_some())
            {
                parameters.get_or_insert_with(|| {
                    own.into_iter()
                        .map(|p| RawParameter {
                            name: p.name.unwrap_or_default(),
                            ty: p.ty.unwrap_or(0),
                            offset: p.offset,
                            place: Place::Usual,
                        })
                        .collect()
                });
            }
            if let Some(next) = reference(start, &entry, dw::DW_AT_abstract_origin) {
                origin = next;
                at = next;
            } else if let Some(next) = reference(start, &entry, dw::DW_AT_specification) {
                at = next;
            } else {
                break;
            }
        }
        let name = match (linkage.as_deref(), prefix) {
            // Rust symbols carry paths that the namespaces alone do not tell.
            (Some(mangled), _) if is_rust(mangled) => {
                format!("{:#}", rustc_demangle::demangle(mangled))
            }
            (_, Some(prefix)) => format!("{prefix}{}", name?),
            (_, None) => name?,
        };
        Some(Described { name, parameters: parameters.unwrap_or_default(), result, linkage, origin })
    }

    fn parameters(&self, offset: Offset) -> Option<Vec<FoundParameter>> {
        let (start, unit) = self.unit_of(offset)?;
        let mut tree = unit.entries_tree(Some(UnitOffset(offset.checked_sub(*start)?))).ok()?;
        let root = tree.root().ok()?;
        let mut children = root.children();
        let mut found = Vec::new();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            match entry.tag() {
                // Destructors and constructors of classes with virtual bases have parameters that the source has not.
                dw::DW_TAG_formal_parameter if !found.is_empty() && entry.attr(dw::DW_AT_artificial).is_some() => {}
                dw::DW_TAG_formal_parameter => found.push(FoundParameter {
                    name: self.text(unit, entry, dw::DW_AT_name),
                    ty: reference(*start, entry, dw::DW_AT_type),
                    offset: start.saturating_add(entry.offset().0),
                }),
                _ => {}
            }
        }
        Some(found)
    }

    /// (origin or own offset, position, place) of the concrete parameters of a body.
    fn places(&self, offset: Offset, low: u64) -> Vec<(Option<Offset>, usize, Place)> {
        let Some((start, unit)) = self.unit_of(offset) else { return Vec::new() };
        let Some(inside) = offset.checked_sub(*start) else { return Vec::new() };
        let Ok(mut tree) = unit.entries_tree(Some(UnitOffset(inside))) else { return Vec::new() };
        let Ok(root) = tree.root() else { return Vec::new() };
        let mut children = root.children();
        let mut found = Vec::new();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            if entry.tag() != dw::DW_TAG_formal_parameter {
                continue;
            }
            let origin = reference(*start, entry, dw::DW_AT_abstract_origin);
            let place = if entry.attr(dw::DW_AT_const_value).is_some() {
                Place::Removed
            } else {
                self.entry_place(unit, entry, low, origin.is_some())
            };
            found.push((origin, found.len(), place));
        }
        found
    }

    fn entry_place(&self, unit: &gimli::Unit<Slice<'d>>, entry: &Entry<'d>, low: u64, instance: bool) -> Place {
        let unsaid = if instance { Place::Removed } else { Place::Usual };
        let Some(value) = entry.attr_value(dw::DW_AT_location) else { return unsaid };
        let expression = match value {
            AttributeValue::Exprloc(expression) => Some(expression),
            other => {
                let Ok(Some(mut list)) = self.dwarf.attr_locations(unit, other) else { return Place::Usual };
                let mut at_entry = None;
                while let Ok(Some(one)) = list.next() {
                    if one.range.begin <= low && low < one.range.end {
                        at_entry = Some(one.data);
                        break;
                    }
                }
                at_entry
            }
        };
        let Some(expression) = expression else { return Place::Usual };
        match expression.operations(unit.encoding()).next() {
            Ok(Some(gimli::Operation::Register { register })) => {
                // DWARF numbers of rdi rsi rdx rcx r8 r9.
                match [5, 4, 1, 2, 8, 9].iter().position(|&number| number == register.0) {
                    Some(index) => Place::Register(index as u8),
                    None => Place::Usual,
                }
            }
            _ => Place::Usual,
        }
    }
}

struct FoundParameter {
    name: Option<String>,
    ty: Option<Offset>,
    offset: Offset,
}

struct RawParameter {
    name: String,
    ty: Offset,
    offset: Offset,
    place: Place,
}

struct Described {
    name: String,
    parameters: Vec<RawParameter>,
    result: Option<Offset>,
    linkage: Option<String>,
    origin: Offset,
}

fn join(scopes: &[(isize, String)]) -> String {
    let mut out = String::new();
    for (_, name) in scopes {
        out.push_str(name);
        out.push_str("::");
    }
    out
}

fn is_rust(mangled: &str) -> bool {
    mangled.starts_with("_R")
        || (mangled.starts_with("_ZN") && rustc_demangle::try_demangle(mangled).is_ok() && {
            // Old-style Rust symbols end in a 16-digit hash: `17h` + 16 hex digits + `E`.
            mangled.len() > 20 && mangled.get(mangled.len().saturating_sub(20)..).is_some_and(|t| t.starts_with("17h"))
        })
}

fn reference(start: Offset, entry: &Entry<'_>, attribute: gimli::DwAt) -> Option<Offset> {
    match entry.attr_value(attribute)? {
        AttributeValue::UnitRef(offset) => start.checked_add(offset.0),
        AttributeValue::DebugInfoRef(offset) => Some(offset.0),
        _ => None,
    }
}

fn range<'d>(dwarf: &gimli::Dwarf<Slice<'d>>, unit: &gimli::Unit<Slice<'d>>, entry: &Entry<'d>) -> Option<(u64, u64)> {
    if let Some(value) = entry.attr_value(dw::DW_AT_low_pc) {
        let low = dwarf.attr_address(unit, value).ok()??;
        let high = entry.attr_value(dw::DW_AT_high_pc)?;
        let high = match high.udata_value() {
            Some(size) if !matches!(high, AttributeValue::Addr(_)) => low.checked_add(size)?,
            _ => dwarf.attr_address(unit, high).ok()??,
        };
        return Some((low, high));
    }
    if entry.attr(dw::DW_AT_ranges).is_some() {
        // The first range holds the entry; cold parts follow.
        let mut ranges = dwarf.die_ranges(unit, entry).ok()?;
        let first = ranges.next().ok()??;
        return Some((first.begin, first.end));
    }
    None
}
