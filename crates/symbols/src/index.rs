//! What DWARF knows about functions: where each begins, which were inlined and how often, which have no code.
//!
//! Relied on: one pass over all entries, reading only functions and inlined copies; references between units and
//! into a supplementary file are followed; damaged units are left out. Absent: parameters and types (`signature.rs`).

use crate::dwarf::Slice;
use gimli::{
    AttributeValue, DW_AT_MIPS_linkage_name, DW_AT_abstract_origin, DW_AT_external, DW_AT_linkage_name, DW_AT_name,
    DW_AT_specification, DW_TAG_inlined_subroutine, DW_TAG_subprogram, DebuggingInformationEntry, Dwarf, Unit,
    UnitOffset, UnitType,
};
use std::collections::HashMap;
use std::sync::Arc;

/// An entry of the debug information: a unit of [`Index::units`] and an offset in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Die {
    pub(crate) unit: usize,
    pub(crate) offset: UnitOffset<usize>,
}

/// A parsed unit.
#[derive(Debug)]
pub(crate) struct UnitAt {
    pub(crate) unit: Unit<Slice>,
    /// In the supplementary file.
    supplementary: bool,
}

/// A function that is more than declared: with code, or only inlined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition {
    /// Linkage name, or the plain name where there is none (C); empty for neither.
    pub(crate) name: &'static str,
    /// The entry that holds it.
    pub(crate) die: Die,
    /// The entry that describes it as written, which copies refer to; itself when it is no copy.
    pub(crate) origin: Die,
    /// First instruction and bytes of code; `None` for one that only describes inlined copies.
    pub(crate) code: Option<(u64, u64)>,
    /// Visible to other units, as the source says.
    pub(crate) external: bool,
}

/// Functions of one file's debug information.
#[derive(Debug)]
pub(crate) struct Index {
    dwarf: Arc<Dwarf<Slice>>,
    pub(crate) units: Vec<UnitAt>,
    /// (start in `.debug_info`, unit), sorted; of the file itself and of its supplementary file.
    starts: [Vec<(usize, usize)>; 2],
    types: HashMap<u64, Die>,
    pub(crate) definitions: Vec<Definition>,
    /// (first instruction, definition), sorted.
    by_code: Vec<(u64, usize)>,
    inlined: HashMap<Die, usize>,
}

/// References are followed at most this often: real chains have two links.
const CHAIN: usize = 8;

impl Index {
    /// Reads all functions. `is_code` tells real addresses from those of discarded functions.
    pub(crate) fn of(dwarf: &Arc<Dwarf<Slice>>, is_code: impl Fn(u64) -> bool) -> Index {
        let mut index = Index {
            dwarf: Arc::clone(dwarf),
            units: Vec::new(),
            starts: [Vec::new(), Vec::new()],
            types: HashMap::new(),
            definitions: Vec::new(),
            by_code: Vec::new(),
            inlined: HashMap::new(),
        };
        index.load_units(false);
        index.load_units(true);
        for unit in 0..index.units.len() {
            // A damaged unit keeps what was read before the damage.
            let _ = index.read_unit(unit, &is_code);
        }
        index.by_code = index
            .definitions
            .iter()
            .enumerate()
            .filter_map(|(at, definition)| Some((definition.code?.0, at)))
            .collect();
        index.by_code.sort_unstable();
        index
    }

    fn load_units(&mut self, supplementary: bool) {
        let dwarf = Arc::clone(&self.dwarf);
        let Some(dwarf) = (if supplementary { dwarf.sup() } else { Some(&*dwarf) }) else { return };
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            self.load_unit(dwarf, header, supplementary);
        }
        let mut headers = dwarf.type_units();
        while let Ok(Some(header)) = headers.next() {
            self.load_unit(dwarf, header, supplementary);
        }
        if let Some(starts) = self.starts.get_mut(usize::from(supplementary)) {
            starts.sort_unstable();
        }
    }

    fn load_unit(&mut self, dwarf: &Dwarf<Slice>, header: gimli::UnitHeader<Slice>, supplementary: bool) {
        let (kind, offset) = (header.type_(), header.debug_info_offset());
        let Ok(unit) = dwarf.unit(header) else { return };
        let at = self.units.len();
        if let UnitType::Type { type_signature, type_offset } = kind {
            self.types.insert(type_signature.0, Die { unit: at, offset: type_offset });
        }
        if let (Some(offset), Some(starts)) = (offset, self.starts.get_mut(usize::from(supplementary))) {
            starts.push((offset.0, at));
        }
        self.units.push(UnitAt { unit, supplementary });
    }

    /// The sections that hold `unit`.
    pub(crate) fn dwarf_of(&self, unit: usize) -> &Dwarf<Slice> {
        let supplementary = self.units.get(unit).is_some_and(|unit| unit.supplementary);
        self.dwarf.sup().filter(|_| supplementary).unwrap_or(&self.dwarf)
    }

    /// The entry that an attribute of an entry in `unit` refers to.
    pub(crate) fn target(&self, unit: usize, value: AttributeValue<Slice>) -> Option<Die> {
        match value {
            AttributeValue::UnitRef(offset) => Some(Die { unit, offset }),
            AttributeValue::DebugInfoRef(offset) => self.at(self.units.get(unit)?.supplementary, offset.0),
            AttributeValue::DebugInfoRefSup(offset) => self.at(true, offset.0),
            AttributeValue::DebugTypesRef(signature) => self.types.get(&signature.0).copied(),
            _ => None,
        }
    }

    fn at(&self, supplementary: bool, offset: usize) -> Option<Die> {
        let starts = self.starts.get(usize::from(supplementary))?;
        let after = starts.partition_point(|(start, _)| *start <= offset);
        let (_, unit) = *starts.get(after.checked_sub(1)?)?;
        let offset = gimli::DebugInfoOffset(offset).to_unit_offset(&self.units.get(unit)?.unit.header)?;
        Some(Die { unit, offset })
    }

    /// Reads an entry.
    pub(crate) fn entry(&self, die: Die) -> Option<DebuggingInformationEntry<Slice>> {
        self.units.get(die.unit)?.unit.entry(die.offset).ok()
    }

    /// Text of an attribute.
    pub(crate) fn text(&self, unit: usize, value: AttributeValue<Slice>) -> Option<&'static str> {
        let slice = self.dwarf_of(unit).attr_string(&self.units.get(unit)?.unit, value).ok()?;
        std::str::from_utf8(slice.slice()).ok()
    }

    /// An attribute of `die`, or of what it is a copy or the body of; with the unit that holds it.
    pub(crate) fn inherited(&self, die: Die, name: gimli::DwAt) -> Option<(usize, AttributeValue<Slice>)> {
        let mut die = die;
        for _ in 0..CHAIN {
            let entry = self.entry(die)?;
            if let Some(value) = entry.attr_value(name) {
                return Some((die.unit, value));
            }
            let link = entry.attr_value(DW_AT_abstract_origin).or_else(|| entry.attr_value(DW_AT_specification))?;
            die = self.target(die.unit, link)?;
        }
        None
    }

    /// What `die` is a copy of; itself when it is none.
    pub(crate) fn origin(&self, die: Die) -> Die {
        let mut die = die;
        for _ in 0..CHAIN {
            let link = self.entry(die).and_then(|entry| entry.attr_value(DW_AT_abstract_origin));
            match link.and_then(|link| self.target(die.unit, link)) {
                Some(target) => die = target,
                None => break,
            }
        }
        die
    }

    fn read_unit(&mut self, at: usize, is_code: &impl Fn(u64) -> bool) -> gimli::Result<()> {
        let mut found = Vec::new();
        let mut copies = Vec::new();
        // The function body that is read, by depth, and what it is the body of.
        let mut body: Option<(isize, Option<Die>)> = None;
        let Some(UnitAt { unit, .. }) = self.units.get(at) else { return Ok(()) };
        let mut entries = unit.entries_raw(None)?;
        let read = loop {
            if entries.is_empty() {
                break Ok(());
            }
            let (offset, depth) = (entries.next_offset(), entries.next_depth());
            let abbreviation = match entries.read_abbreviation() {
                Ok(Some(abbreviation)) => abbreviation,
                Ok(None) => continue,
                Err(error) => break Err(error),
            };
            let tag = abbreviation.tag();
            if tag != DW_TAG_subprogram && tag != DW_TAG_inlined_subroutine {
                if let Err(error) = entries.skip_attributes(abbreviation.attributes()) {
                    break Err(error);
                }
                continue;
            }
            let mut raw = Raw::default();
            let mut broken = None;
            for specification in abbreviation.attributes() {
                match entries.read_attribute(*specification) {
                    Ok(attribute) => raw.take(attribute.name(), attribute.value()),
                    Err(error) => {
                        broken = Some(error);
                        break;
                    }
                }
            }
            if let Some(error) = broken {
                break Err(error);
            }
            let die = Die { unit: at, offset };
            if tag == DW_TAG_inlined_subroutine {
                let copied = raw.origin.filter(|_| raw.has_code()).and_then(|value| self.target(at, value));
                // A function that was split holds its own rest as a copy: its calls are all there.
                let own = body.filter(|(above, _)| *above < depth).and_then(|(_, origin)| origin);
                copies.extend(copied.filter(|copied| own != Some(*copied)));
                continue;
            }
            body = Some((depth, raw.origin.and_then(|value| self.target(at, value))));
            if !raw.declaration && (raw.has_code() || raw.inline) {
                found.extend(self.definition(die, &raw, is_code));
            }
        };
        self.definitions.extend(found);
        for copy in copies {
            *self.inlined.entry(copy).or_default() += 1;
        }
        read
    }

    fn definition(&self, die: Die, raw: &Raw, is_code: &impl Fn(u64) -> bool) -> Option<Definition> {
        let code = self.code(die.unit, raw);
        if raw.has_code() && !code.is_some_and(|(start, _)| is_code(start)) {
            // Discarded by the linker: its address was set to 0 or all ones.
            return None;
        }
        let own = |value: Option<AttributeValue<Slice>>| value.and_then(|value| self.text(die.unit, value));
        let inherited = |name| {
            if raw.origin.is_none() && raw.specification.is_none() {
                return None;
            }
            self.inherited(die, name).and_then(|(unit, value)| self.text(unit, value))
        };
        let name = own(raw.linkage)
            .or_else(|| inherited(DW_AT_linkage_name))
            .or_else(|| inherited(DW_AT_MIPS_linkage_name))
            .or_else(|| own(raw.name))
            .or_else(|| inherited(DW_AT_name))
            .unwrap_or("");
        let external =
            raw.external || matches!(self.inherited(die, DW_AT_external), Some((_, AttributeValue::Flag(true))));
        let origin = if raw.origin.is_some() { self.origin(die) } else { die };
        Some(Definition { name, die, origin, code, external })
    }

    /// First instruction and bytes of the part that holds it.
    fn code(&self, at: usize, raw: &Raw) -> Option<(u64, u64)> {
        let (dwarf, unit) = (self.dwarf_of(at), &self.units.get(at)?.unit);
        let address = |value| dwarf.attr_address(unit, value).ok().flatten();
        if let Some(low) = raw.low.and_then(address) {
            let size = match raw.high {
                Some(AttributeValue::Udata(size)) => size,
                Some(value) => match address(value) {
                    Some(high) => high.saturating_sub(low),
                    None => value.udata_value().unwrap_or(0),
                },
                None => 0,
            };
            return Some((low, size));
        }
        // Hot and cold parts apart: the entry is in the first.
        let mut ranges = dwarf.attr_ranges(unit, raw.ranges?).ok().flatten()?;
        let first = ranges.next().ok().flatten()?;
        let start = raw.entry.and_then(address).unwrap_or(first.begin);
        Some((start, first.end.saturating_sub(start)))
    }

    /// Definitions whose code starts at `address`.
    pub(crate) fn starting_at(&self, address: u64) -> impl Iterator<Item = &Definition> {
        let from = self.by_code.partition_point(|(start, _)| *start < address);
        let here = self.by_code.get(from..).unwrap_or_default();
        here.iter().take_while(move |(start, _)| *start == address).filter_map(|(_, at)| self.definitions.get(*at))
    }

    /// How often `origin` was inlined into others.
    pub(crate) fn copies_of(&self, origin: Die) -> usize {
        self.inlined.get(&origin).copied().unwrap_or(0)
    }
}

/// Attributes of a function entry as they stand.
#[derive(Default)]
struct Raw {
    name: Option<AttributeValue<Slice>>,
    linkage: Option<AttributeValue<Slice>>,
    low: Option<AttributeValue<Slice>>,
    high: Option<AttributeValue<Slice>>,
    ranges: Option<AttributeValue<Slice>>,
    entry: Option<AttributeValue<Slice>>,
    origin: Option<AttributeValue<Slice>>,
    specification: Option<AttributeValue<Slice>>,
    declaration: bool,
    inline: bool,
    external: bool,
}

impl Raw {
    fn take(&mut self, name: gimli::DwAt, value: AttributeValue<Slice>) {
        match name {
            gimli::DW_AT_name => self.name = Some(value),
            gimli::DW_AT_linkage_name | gimli::DW_AT_MIPS_linkage_name => self.linkage = Some(value),
            gimli::DW_AT_low_pc => self.low = Some(value),
            gimli::DW_AT_high_pc => self.high = Some(value),
            gimli::DW_AT_ranges => self.ranges = Some(value),
            gimli::DW_AT_entry_pc => self.entry = Some(value),
            gimli::DW_AT_abstract_origin => self.origin = Some(value),
            gimli::DW_AT_specification => self.specification = Some(value),
            gimli::DW_AT_declaration => self.declaration = value == AttributeValue::Flag(true),
            gimli::DW_AT_external => self.external = value == AttributeValue::Flag(true),
            // DW_INL_inlined (1) and DW_INL_declared_inlined (3): there are, or may be, inlined copies.
            gimli::DW_AT_inline => self.inline = matches!(value, AttributeValue::Inline(gimli::DwInl(1 | 3))),
            _ => {}
        }
    }

    fn has_code(&self) -> bool {
        self.low.is_some() || self.ranges.is_some()
    }
}
