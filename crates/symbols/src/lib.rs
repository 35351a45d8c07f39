//! Names and lines of addresses; functions, signatures and libraries of ELF files.
//!
//! Relied on: any bytes are accepted as an ELF file or as debug information; what cannot be read is an error or
//! absent, never a panic. Everything is computed at first use and kept. Deliberately absent: processes (addresses
//! come in, facts go out), running anything, the network.
#![deny(unsafe_code)]

mod convention;
mod debug_file;
mod dwarf;
mod elf;
mod exports;
mod find;
mod function;
mod image;
mod index;
mod language;
mod library_note;
mod load_order;
mod location;
mod map;
mod markers;
mod names;
mod nearest;
mod operand;
mod plt;
mod signature;
mod symbolizer;
mod types;

pub use elf::{ClassAndMachine, ImageError, Linkage, Machine};
pub use find::Match;
pub use function::{Function, Origin};
pub use image::{Image, SourceFrame};
pub use library_note::LibraryNote;
pub use load_order::{RunPaths, load_order, load_order_with};
#[doc(hidden)]
pub use markers::read_notes;
pub use markers::{Marker, MarkerKind, Markers, UnreadableMarker};
pub use names::CloneKind;
pub use operand::{Argument, Operand, parse as parse_argument};
pub use signature::{Param, Place, Returns, Signature};
pub use symbolizer::Symbolizer;
