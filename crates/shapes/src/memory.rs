//! What a function is known to have put into memory so far: its frame, and the fields it reached.
//!
//! Relied on: a load after a store to the same exact place sees the stored value; what was never stored is `None`.
//! Deliberately absent: aliasing between different bases (two arguments may be the same object), and stores at varying
//! offsets: they are recorded as effects by `machine`, and change no cell here.

use crate::value::{Atom, Base, Loc, Value, Way};
use std::collections::BTreeMap;

/// Cells kept; a function that touches more loses sight of the rest.
const MAX_CELLS: usize = 600;

/// Where a cell lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Region {
    /// The function's frame; offset 0 is the return address.
    Frame,
    /// An object, or what is behind its pointers.
    Object(Base, Way),
}

/// Known cells.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Memory {
    /// (region, offset) → (bytes, value).
    cells: BTreeMap<(Region, i64), (u32, Value)>,
}

fn end(offset: i64, bytes: u32) -> i64 {
    offset.saturating_add(i64::from(bytes.max(1)))
}

impl Memory {
    /// The value at a place, if something was stored there.
    pub(crate) fn get(&self, region: Region, offset: i64, bytes: u32) -> Option<Value> {
        if let Some((size, value)) = self.cells.get(&(region, offset)) {
            return Some(if *size == bytes || value.as_number() == Some(0) {
                value.clone()
            } else if *size < bytes {
                // A wide load over several narrow stores.
                let mut all = value.blurred();
                for (_, (_, next)) in self.cells.range((region, offset)..(region, end(offset, bytes))) {
                    all = all.mix(next);
                }
                all
            } else {
                value.blurred()
            });
        }
        let (&(_, start), (size, value)) = self.cells.range((region, i64::MIN)..(region, offset)).next_back()?;
        (end(start, *size) > offset).then(|| if value.as_number() == Some(0) { value.clone() } else { value.blurred() })
    }

    /// Replaces what was at a place.
    pub(crate) fn set(&mut self, region: Region, offset: i64, bytes: u32, value: Value) {
        let stop = end(offset, bytes);
        let mut overlapped: Vec<i64> = Vec::new();
        if let Some((&(_, start), (size, _))) = self.cells.range((region, i64::MIN)..(region, offset)).next_back()
            && end(start, *size) > offset
        {
            overlapped.push(start);
        }
        overlapped.extend(self.cells.range((region, offset)..(region, stop)).map(|(key, _)| key.1));
        for start in overlapped {
            let Some((size, old)) = self.cells.remove(&(region, start)) else { continue };
            let old_end = end(start, size);
            let rest = if old.as_number() == Some(0) { old } else { old.blurred() };
            if start < offset {
                self.cells.insert((region, start), (distance(start, offset), rest.clone()));
            }
            if old_end > stop {
                self.cells.insert((region, stop), (distance(stop, old_end), rest));
            }
        }
        if self.cells.len() < MAX_CELLS {
            self.cells.insert((region, offset), (bytes, value));
        }
    }

    /// Values of all frame cells in `[offset, offset + bytes)`.
    pub(crate) fn frame_values(&self, offset: i64, bytes: i64) -> impl Iterator<Item = &Value> + '_ {
        self.cells
            .range((Region::Frame, offset)..(Region::Frame, offset.saturating_add(bytes)))
            .map(|(_, (_, value))| value)
    }

    /// Either of two memories.
    pub(crate) fn join(&self, other: &Memory) -> Memory {
        if self == other {
            return self.clone();
        }
        let mut out = Memory::default();
        for (key, (size, value)) in &self.cells {
            let joined = match other.cells.get(key) {
                Some((same, theirs)) if size == same && value == theirs => (*size, value.clone()),
                Some((same, theirs)) => (*size.max(same), value.join(theirs)),
                None => (*size, join_initial(*key, value)),
            };
            out.cells.insert(*key, joined);
        }
        for (key, (size, value)) in &other.cells {
            if !self.cells.contains_key(key) {
                out.cells.insert(*key, (*size, join_initial(*key, value)));
            }
        }
        out
    }
}

fn distance(from: i64, to: i64) -> u32 {
    u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX)
}

/// A cell that only one way has: on the other way the frame holds nothing, an object its old content.
fn join_initial((region, offset): (Region, i64), value: &Value) -> Value {
    match region {
        Region::Frame => value.clone(),
        Region::Object(base, way) => value.join(&Value::of(Atom::Load(Loc { base, way, offset: Some(offset) }))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A byte-by-byte array is the model: each byte knows the number of the store that wrote it last.
        #[test]
        fn loads_see_the_last_store(stores in prop::collection::vec((0i64..40, 1u32..17), 1..20), at in 0i64..50, bytes in 1u32..9) {
            let mut memory = Memory::default();
            let mut model = [None; 80];
            for (number, (offset, size)) in stores.iter().enumerate() {
                // Distinct origins tell the stores apart.
                memory.set(Region::Frame, *offset, *size, Value::of(Atom::Global(number as u64)));
                for byte in *offset..*offset + i64::from(*size) {
                    model[byte as usize] = Some(number as u64);
                }
            }
            let found = memory.get(Region::Frame, at, bytes);
            if let Some(writer) = model[at as usize] {
                let value = found.expect("a stored byte is known");
                prop_assert!(value.has(Atom::Global(writer)), "byte {} was written by {}: {:?}", at, writer, value);
            }
        }
    }

    #[test]
    fn zeroing_a_structure_zeroes_its_fields() {
        let mut memory = Memory::default();
        memory.set(Region::Frame, 0, 32, Value::number(0));
        memory.set(Region::Frame, 8, 8, Value::of(Atom::Fresh));
        assert_eq!(memory.get(Region::Frame, 0, 8), Some(Value::number(0)));
        assert_eq!(memory.get(Region::Frame, 8, 8), Some(Value::of(Atom::Fresh)));
        assert_eq!(memory.get(Region::Frame, 20, 4), Some(Value::number(0)));
        assert_eq!(memory.get(Region::Frame, 32, 4), None);
    }
}
