//! What a function takes and returns, and where each argument is when the function is entered.
//!
//! Relied on: an argument whose place cannot be known is `Missing`, never a guess: the platform's rules hold for
//! functions that other files can call, and for the rest what debug information says at the first instruction wins
//! (GCC renames functions whose arguments it removed, clang does not). Absent: functions without DWARF; aarch64.

use crate::convention::{self, Assignment};
use crate::elf::Machine;
use crate::image::Image;
use crate::index::{Definition, Die, Index};
use crate::location::{self, Said};
use crate::names;
use crate::types::{Kind, Language, ScalarKind, Types};
use gimli::{AttributeValue, DW_AT_decl_file, DW_AT_decl_line, DW_AT_name, DW_AT_producer};
use std::collections::HashMap;

/// Parameters and result of one function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// Parameters as written; `this` and `self` are the first.
    pub params: Vec<Param>,
    /// The result.
    pub returns: Returns,
    /// More arguments may follow (`...`).
    pub variadic: bool,
    /// Source file of the declaration; empty when unknown.
    pub file: String,
    /// Line there, from 1; 0 when unknown.
    pub line: u32,
}

/// One parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// Name; empty when it has none.
    pub name: String,
    /// Type as the source writes it (`struct pool *`); `?` when not understood.
    pub type_name: String,
    /// Size of the type, bytes; 0 when unknown.
    pub bytes: u64,
    /// A signed integer.
    pub signed: bool,
    /// A pointer or reference, or a struct of nothing else.
    pub is_pointer: bool,
    /// Where it is when the function is entered.
    pub place: Place,
}

/// Where an argument is at a function's first instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Place {
    /// 0 rdi, 1 rsi, 2 rdx, 3 rcx, 4 r8, 5 r9.
    Integer(u8),
    /// Bytes above the return address: 0 is the first stack word.
    Stack(u32),
    /// Not passed: every caller would pass this value.
    Constant(u64),
    /// In SSE registers, at least in part.
    Float,
    /// Not passed, has no bytes, or cannot be known.
    Missing,
    /// 9 to 16 bytes in this integer register and the next.
    Registers2(u8),
}

/// How a result comes back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Returns {
    /// Nothing.
    Void,
    /// In rax.
    Integer {
        /// Bytes of it that count.
        bytes: u64,
        /// A signed integer.
        signed: bool,
    },
    /// An address in rax.
    Pointer,
    /// In rax and rdx.
    RegisterPair,
    /// In memory of the caller, whose address is in rdi at entry and in rax at return. The places of all parameters
    /// account for it.
    Memory,
    /// In SSE or x87 registers, at least in part.
    Float,
}

impl Image {
    /// Parameters and result of the function whose first instruction is at `address`. `None` when debug information
    /// does not know it. The first question reads all units.
    pub fn signature(&self, address: u64) -> Option<Signature> {
        if self.class_and_machine().machine != Machine::X86_64 {
            return None;
        }
        let index = self.index()?;
        let definition = *index.starting_at(address).next()?;
        let types = Types { index };
        let language = types.language(definition.origin.unit);
        if language == Language::Go {
            return None;
        }
        let is_rust = language == Language::Rust;
        let result = types.of(definition.origin);
        let returns = convention::returns(types, result, is_rust);
        let trust = self.trust(index, &definition, address);
        let mut assignment = Assignment::new(returns == Returns::Memory, is_llvm(index, definition.origin.unit));
        let written = written_parameters(types, definition.origin);
        let copies: HashMap<Die, Die> =
            parameters(types, definition.die).into_iter().map(|copy| (index.origin(copy), copy)).collect();
        let params = written
            .into_iter()
            .map(|parameter| {
                let of = types.of(parameter);
                let passing = match (of, is_rust) {
                    (None, _) => convention::Passing::Unknown,
                    (Some(of), true) => convention::passing_rust(types, of),
                    (Some(of), false) => convention::passing(types, of),
                };
                let by_rules = assignment.place(passing);
                let copy = copies.get(&index.origin(parameter)).copied();
                let said =
                    copy.and_then(|copy| Some((copy, index.entry(copy)?))).map_or(Said::Nothing, |(copy, entry)| {
                        location::said(index, definition.die, address, copy.unit, &entry)
                    });
                describe(types, parameter, of, choose(trust, said, by_rules))
            })
            .collect();
        let (file, line) = declared_at(index, definition.origin);
        let variadic = is_variadic(types, definition.origin) || is_variadic(types, definition.die);
        Some(Signature { params, returns, variadic, file, line })
    }

    /// How far the platform's rules can be trusted for the function at `address`.
    fn trust(&self, index: &Index, definition: &Definition, address: u64) -> Trust {
        let table = self.table();
        let from = table.functions.partition_point(|function| function.address < address);
        let here: Vec<_> =
            table.functions.iter().skip(from).take_while(|function| function.address == address).collect();
        let is_clone = here.iter().any(|function| names::take_apart(&function.name).clone.is_some())
            || names::take_apart(definition.name).clone.is_some();
        if is_clone {
            Trust::No
        } else if here.iter().any(|function| function.global) {
            Trust::Whole
        } else if definition.external || !is_llvm(index, definition.die.unit) {
            Trust::UnlessSaid
        } else {
            Trust::WhenLocal
        }
    }
}

/// How far the platform's rules hold for a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trust {
    /// Callers in other files rely on them.
    Whole,
    /// A function of one file, under its own name: they hold unless debug information names another place.
    UnlessSaid,
    /// The same by LLVM, which removes unused arguments without renaming the function: they hold where debug
    /// information says that the argument arrives at all.
    WhenLocal,
    /// A clone with changed arguments.
    No,
}

fn choose(trust: Trust, said: Said, by_rules: Place) -> Place {
    match (trust, said) {
        (Trust::Whole, _) => by_rules,
        (_, Said::At(place)) => place,
        // Passed by reference in the register that the rules name.
        (_, Said::Behind(place)) if place == by_rules => place,
        (Trust::UnlessSaid, _) | (Trust::WhenLocal, Said::Local) => by_rules,
        (Trust::WhenLocal, Said::Nothing | Said::Behind(_)) | (Trust::No, _) => Place::Missing,
    }
}

fn is_llvm(index: &Index, unit: usize) -> bool {
    let root = index.units.get(unit).map(|unit| unit.unit.header.root_offset());
    let producer = root
        .and_then(|offset| index.entry(Die { unit, offset })?.attr_value(DW_AT_producer))
        .and_then(|value| index.text(unit, value));
    producer.is_some_and(|producer| ["clang", "LLVM", "rustc"].iter().any(|word| producer.contains(word)))
}

/// Whether the declaration ends with `...`.
fn is_variadic(types: Types<'_>, function: Die) -> bool {
    types.children(function).iter().any(|(_, entry)| entry.tag() == gimli::DW_TAG_unspecified_parameters)
}

fn parameters(types: Types<'_>, function: Die) -> Vec<Die> {
    let children = types.children(function);
    let is_parameter = |tag| tag == gimli::DW_TAG_formal_parameter;
    children.into_iter().filter(|(_, entry)| is_parameter(entry.tag())).map(|(die, _)| die).collect()
}

/// Parameters of a function as written. Clang forgets some that have no name where the body is, but never where a
/// member function is declared.
fn written_parameters(types: Types<'_>, origin: Die) -> Vec<Die> {
    let here = parameters(types, origin);
    let index = types.index;
    let declared = index.entry(origin).and_then(|entry| entry.attr_value(gimli::DW_AT_specification));
    let declared = declared.and_then(|value| index.target(origin.unit, value));
    match declared.map(|declaration| parameters(types, declaration)) {
        Some(declared) if declared.len() > here.len() => declared,
        _ => here,
    }
}

fn describe(types: Types<'_>, parameter: Die, of: Option<Die>, place: Place) -> Param {
    let name = types
        .index
        .inherited(parameter, DW_AT_name)
        .and_then(|(unit, value)| types.index.text(unit, value))
        .unwrap_or("");
    let scalars = of.and_then(|of| types.scalars(of)).unwrap_or_default();
    let only = match scalars.as_slice() {
        [only] => Some(only.kind),
        _ => None,
    };
    Param {
        name: name.to_owned(),
        type_name: types.name(of),
        bytes: of.and_then(|of| types.bytes(of)).unwrap_or(0),
        signed: types.kind(of) == Kind::Scalar && only == Some(ScalarKind::Integer { signed: true }),
        is_pointer: only == Some(ScalarKind::Pointer),
        place,
    }
}

/// File and line of the declaration.
fn declared_at(index: &Index, origin: Die) -> (String, u32) {
    let line = index
        .inherited(origin, DW_AT_decl_line)
        .and_then(|(_, value)| u32::try_from(value.udata_value()?).ok())
        .unwrap_or(0);
    let file = index.inherited(origin, DW_AT_decl_file).and_then(|(unit, value)| {
        let file = match value {
            AttributeValue::FileIndex(file) => file,
            other => other.udata_value()?,
        };
        file_path(index, unit, file)
    });
    (file.unwrap_or_default(), line)
}

/// A file of a unit's line table, joined with the folder of compilation.
fn file_path(index: &Index, unit: usize, file: u64) -> Option<String> {
    let at = &index.units.get(unit)?.unit;
    let dwarf = index.dwarf_of(unit);
    let header = at.line_program.as_ref()?.header();
    let entry = header.file(file)?;
    let text = |value| dwarf.attr_string(at, value).ok().map(|slice| slice.to_string_lossy().into_owned());
    let mut path = at.comp_dir.map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    // Folder 0 is the folder of compilation: said already.
    if entry.directory_index() != 0
        && let Some(folder) = entry.directory(header).and_then(text)
    {
        push(&mut path, &folder);
    }
    push(&mut path, &text(entry.path_name())?);
    Some(path)
}

fn push(path: &mut String, part: &str) {
    if part.starts_with('/') {
        path.clear();
    } else if !path.is_empty() && !path.ends_with('/') {
        path.push('/');
    }
    path.push_str(part);
}
