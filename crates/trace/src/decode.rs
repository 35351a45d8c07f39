//! Bytes to events, within one segment. The mirror of encode.rs.
//!
//! Accepts any bytes: a record that makes no sense ends the segment (`Step::Malformed`), records of kinds it does not
//! know are skipped by their length. Knows nothing of files, checksums, clocks or other segments.

use crate::predict::{Model, rounded};
use crate::record::{INLINE_GRANULE, MAX_FOUND_BYTES, MAX_FRAMES, NO_SITE, tag};
use crate::varint::{Cursor, unzigzag};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, BlobId, BlockFate, BoundsKind, CaptureReason, Checking, EventKind, MarkValue, Place, SiteId,
    ThreadNumber, Zone,
};

/// An event that has no number yet; time in units of 16 ticks.
#[derive(Clone, Debug)]
pub(crate) struct Decoded {
    pub ticks: u64,
    pub thread: ThreadNumber,
    pub site: Option<SiteId>,
    pub kind: EventKind,
}

/// What one record was.
#[derive(Debug)]
pub(crate) enum Step {
    Event(Decoded),
    /// A site was defined; its addresses are in `SegmentDecoder::frames`. The id of its place, if it has one.
    Site(u32, Option<u32>),
    /// A place was defined; [`place_at`] has it.
    Place(u32),
    /// A thread switch, or a record of an unknown kind.
    Nothing,
    /// No bytes are left.
    End,
    Malformed,
}

/// The module that a record defines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModuleDefinition<'a> {
    pub number: u32,
    pub bias: u64,
    pub start: u64,
    pub end: u64,
    pub path: &'a [u8],
    pub build_id: &'a [u8],
}

/// The coding state of one events segment.
#[derive(Clone, Debug)]
pub(crate) struct SegmentDecoder {
    model: Model,
    thread: ThreadNumber,
    slot: u32,
}

impl SegmentDecoder {
    pub(crate) fn new(base_tsc: u64, slot: u32) -> Self {
        SegmentDecoder { model: Model::new(base_tsc), thread: ThreadNumber(0), slot }
    }

    /// Addresses of the site defined last, innermost first.
    pub(crate) fn frames(&self) -> &[u64] {
        self.model.frames.get(..self.model.frame_count).unwrap_or(&[])
    }

    /// Decodes the record at `*at` of `payload` and moves `*at` behind it.
    #[inline]
    pub(crate) fn step(&mut self, payload: &[u8], at: &mut usize) -> Step {
        let rest = payload.get(*at..).unwrap_or(&[]);
        let mut bytes = Cursor::new(rest);
        let Some(first) = bytes.byte() else { return Step::End };
        if first & tag::ALLOC != 0 {
            let Some(event) = self.alloc(first, &mut bytes) else { return Step::Malformed };
            *at += rest.len() - bytes.left();
            return Step::Event(event);
        }
        let Some(body) = body(first, &mut bytes) else { return Step::Malformed };
        let start = *at;
        *at += rest.len() - bytes.left();
        self.cold(first & tag::KIND_MASK, body, start).unwrap_or(Step::Malformed)
    }

    #[inline(always)]
    fn alloc(&mut self, first: u8, bytes: &mut Cursor<'_>) -> Option<Decoded> {
        let second = if first & tag::EXTENDED != 0 { bytes.byte()? } else { 0 };
        let null = second & tag::NULL_BLOCK != 0;
        let model = &mut self.model;
        model.ticks = model.ticks.wrapping_add(bytes.number()?);
        if first & tag::SAME_ARENA == 0 {
            model.arena = bytes.number32()?;
        }
        let arena = model.arena;
        let slot = model.slot(arena);
        let mut order = slot.next_order;
        if first & tag::NEXT_ORDER == 0 {
            order = order.wrapping_add(bytes.signed()?);
        }
        slot.next_order = order.wrapping_add(1);
        let mut block = 0;
        if !null {
            block = match (first & tag::BLOCK_MASK) >> tag::BLOCK_SHIFT {
                0 => slot.end.wrapping_add(bytes.signed()?),
                mode => rounded(slot.end, mode),
            };
        }
        if first & tag::SAME_SIZE == 0 {
            slot.size = bytes.number()?;
        }
        let size = slot.size;
        if first & tag::SAME_SITE == 0 {
            slot.site = bytes.number32()?.wrapping_sub(1);
        }
        let site = site_id(slot.site);
        if !null {
            slot.end = block.wrapping_add(size);
            model.address = block.wrapping_add(size);
        }
        let align = match second & tag::ALIGN_MASK {
            0 => None,
            tag::ALIGN_FOLLOWS => Some(bytes.number()?),
            power @ 1..=64 => Some(1 << (power - 1)),
            _ => return None,
        };
        Some(Decoded {
            ticks: model.ticks,
            thread: self.thread,
            site,
            kind: EventKind::Alloc { arena: ArenaKey(arena), order, block: Address(block), size, align },
        })
    }

    /// Any other record: `body` is what its length spans, `start` where the record began.
    fn cold(&mut self, kind: u8, body: &[u8], start: usize) -> Option<Step> {
        let mut bytes = Cursor::new(body);
        if kind < tag::FIRST_EVENT {
            return match kind {
                0 => None,
                tag::THREAD => {
                    self.thread = ThreadNumber(bytes.number32()?);
                    Some(Step::Nothing)
                }
                tag::SITE => {
                    let id = self.site(&mut bytes)?;
                    let place = if bytes.left() > 0 { bytes.number32()?.checked_sub(1) } else { None };
                    Some(Step::Site(id, place))
                }
                tag::PLACE => Some(Step::Place(bytes.number32()?)),
                _ => Some(Step::Nothing),
            };
        }
        let model = &mut self.model;
        model.ticks = model.ticks.wrapping_add(bytes.number()?);
        let site = match bytes.number()? {
            0 => None,
            1 => site_id(model.site),
            site => {
                model.site = u32::try_from(site - 2).ok()?;
                site_id(model.site)
            }
        };
        let ticks = model.ticks;
        let Some(kind) = fields(model, kind, self.slot, start, &mut bytes)? else { return Some(Step::Nothing) };
        Some(Step::Event(Decoded { ticks, thread: self.thread, site, kind }))
    }

    fn site(&mut self, bytes: &mut Cursor<'_>) -> Option<u32> {
        let id = bytes.number32()?;
        let count = usize::try_from(bytes.number()?).ok().filter(|&count| count <= MAX_FRAMES)?;
        let shared = usize::try_from(bytes.number()?).ok().filter(|&shared| shared <= count)?;
        let model = &mut self.model;
        let last = model.frames;
        let last = last.get(..model.frame_count)?;
        let kept = last.get(last.len().checked_sub(shared)?..)?;
        let mut frames = [0u64; MAX_FRAMES];
        frames.get_mut(count - shared..count)?.copy_from_slice(kept);
        let mut outside = match shared {
            0 => last.last().copied().unwrap_or(0),
            _ => kept.first().copied()?,
        };
        for frame in frames.get_mut(..count - shared)?.iter_mut().rev() {
            outside = outside.wrapping_add(bytes.signed()?);
            *frame = outside;
        }
        model.frames = frames;
        model.frame_count = count;
        Some(id)
    }
}

fn site_id(site: u32) -> Option<SiteId> {
    (site != NO_SITE).then_some(SiteId(site))
}

/// The bytes that the record's length spans.
fn body<'a>(first: u8, bytes: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let len = if first & tag::LONG != 0 { usize::from(bytes.u16()?) } else { usize::from(bytes.byte()?) };
    bytes.bytes(len)
}

/// A code that a newer version has: its record is passed over.
macro_rules! newer {
    ($code:expr) => {
        match $code {
            Some(known) => known,
            None => return Some(None),
        }
    };
}

/// The fields of an event other than alloc; the inner `None` for a kind that is not known.
fn fields(model: &mut Model, kind: u8, slot: u32, start: usize, bytes: &mut Cursor<'_>) -> Option<Option<EventKind>> {
    let kind = match kind {
        tag::CREATE => {
            let (arena, order) = own(model, bytes)?;
            let flags = bytes.byte()?;
            let nested = bytes.number()?;
            let size = if flags & 1 != 0 { Some(bytes.number()?) } else { None };
            let parent = if flags & 2 != 0 { Some(ArenaKey(bytes.number32()?)) } else { None };
            let name = if flags & 4 != 0 { Some(text(bytes.counted_bytes()?)) } else { None };
            EventKind::Create { arena, order, size, parent, name, nested }
        }
        tag::RESIZE => {
            let (arena, order) = own(model, bytes)?;
            let old = address(model, bytes)?;
            let new = address(model, bytes)?;
            EventKind::Resize { arena, order, old, new, size: bytes.number()? }
        }
        tag::FREE => {
            let (arena, order) = own(model, bytes)?;
            EventKind::Free { arena, order, block: address(model, bytes)? }
        }
        tag::MARK => {
            let (arena, order) = own(model, bytes)?;
            EventKind::Mark { arena, order, mark: mark(model, bytes)? }
        }
        tag::REWIND => {
            let (arena, order) = own(model, bytes)?;
            EventKind::Rewind { arena, order, mark: mark(model, bytes)? }
        }
        tag::RESET => {
            let (arena, order) = own(model, bytes)?;
            EventKind::Reset { arena, order }
        }
        tag::DESTROY => {
            let (arena, order) = own(model, bytes)?;
            EventKind::Destroy { arena, order }
        }
        tag::ARENA_SEEN => EventKind::ArenaSeen { arena: ArenaKey(bytes.number32()?), object: address(model, bytes)? },
        tag::CAPTURE_INLINE => {
            let (arena, reason, base, len) = capture(model, bytes)?;
            bytes.counted_bytes()?;
            EventKind::Capture { arena, reason, base, len, bytes: inline_blob(slot, start) }
        }
        tag::CAPTURE_BLOB => {
            let (arena, reason, base, len) = capture(model, bytes)?;
            let first = bytes.number32().filter(|&first| first < INLINE_BLOB)?;
            EventKind::Capture { arena, reason, base, len, bytes: BlobId(first) }
        }
        tag::MAP => EventKind::Map {
            address: address(model, bytes)?,
            len: bytes.number()?,
            protection: bytes.number32()?,
            flags: bytes.number32()?,
            observed: bytes.byte()? != 0,
        },
        tag::UNMAP => EventKind::Unmap { address: address(model, bytes)?, len: bytes.number()? },
        tag::REMAP => EventKind::Remap {
            old: address(model, bytes)?,
            old_len: bytes.number()?,
            new: address(model, bytes)?,
            new_len: bytes.number()?,
        },
        tag::HEAP_ALLOC => EventKind::HeapAlloc { address: address(model, bytes)?, size: bytes.number()? },
        tag::HEAP_FREE => EventKind::HeapFree { address: address(model, bytes)? },
        tag::THREAD_START => EventKind::ThreadStart {
            tid: bytes.number32()?,
            parent: match bytes.number32()? {
                0 => None,
                parent => Some(ThreadNumber(parent)),
            },
        },
        tag::THREAD_EXIT => EventKind::ThreadExit,
        tag::FORK => EventKind::Fork { child: bytes.number32()?, fork_id: bytes.number()? },
        tag::VFORK => EventKind::Vfork,
        tag::EXEC => EventKind::Exec { path: text(bytes.counted_bytes()?) },
        tag::EXIT => EventKind::Exit { status: unzigzag(bytes.number()?) as i32 },
        tag::FAULT => {
            let signal = bytes.number32()?;
            let address = Address(bytes.number()?);
            let pc = Address(bytes.number()?);
            let synchronous = bytes.byte()? != 0;
            let mut registers = [0u64; 16];
            for register in &mut registers {
                *register = bytes.number()?;
            }
            EventKind::Fault { signal, address, pc, synchronous, registers: Box::new(registers) }
        }
        tag::MODULE => EventKind::ModuleLoaded { module: module(bytes)?.number },
        tag::USER_MARK => EventKind::UserMark { name: text(bytes.counted_bytes()?) },
        tag::DAMAGE => EventKind::Damage {
            arena: ArenaKey(bytes.number32()?),
            block: Address(bytes.number()?),
            size: bytes.number()?,
            zone: Zone::ALL.get(usize::from(bytes.byte()?)).copied()?,
            address: Address(bytes.number()?),
            expected: bytes.byte()?,
            found: found(bytes)?,
            end: Address(bytes.number()?),
            since: bytes.number()?,
            ended: bytes.number()?.checked_sub(1),
        },
        tag::OVERLAPPED => EventKind::Overlapped { arena: ArenaKey(bytes.number32()?), since: bytes.number()? },
        tag::OBJECT_CHANGED => EventKind::ObjectChanged {
            arena: ArenaKey(bytes.number32()?),
            address: Address(bytes.number()?),
            before: found(bytes)?,
            after: found(bytes)?,
        },
        tag::HEAP_SEGMENT => EventKind::HeapSegment {
            arena: ArenaKey(bytes.number32()?),
            start: Address(bytes.number()?),
            len: bytes.number()?,
            top: Address(bytes.number()?),
        },
        tag::SCOPE_ENTER => EventKind::ScopeEnter {
            arena: ArenaKey(bytes.number32()?),
            order: bytes.number()?,
            cursor: Address(bytes.number()?),
        },
        tag::SCOPE_EXIT => EventKind::ScopeExit {
            arena: ArenaKey(bytes.number32()?),
            order: bytes.number()?,
            cursor: Address(bytes.number()?),
        },
        tag::BOUNDS => EventKind::Bounds {
            arena: ArenaKey(bytes.number32()?),
            base: Address(bytes.number()?),
            capacity: bytes.number()?,
            reserved: bytes.number()?,
            kind: newer!(BoundsKind::ALL.get(usize::from(bytes.byte()?)).copied()),
        },
        tag::CHECKED => EventKind::Checked {
            arena: ArenaKey(bytes.number32()?),
            how: newer!(Checking::ALL.get(usize::from(bytes.byte()?)).copied()),
        },
        tag::TOUCHED => EventKind::Touched {
            arena: ArenaKey(bytes.number32()?),
            block: Address(bytes.number()?),
            size: bytes.number()?,
            at: unzigzag(bytes.number()?) as i64,
            fate: newer!(BlockFate::ALL.get(usize::from(bytes.byte()?)).copied()),
            ended: bytes.number()?.checked_sub(1),
        },
        tag::CALLED_ENDED => EventKind::CalledEnded { arena: ArenaKey(bytes.number32()?) },
        tag::NO_BLOCK => EventKind::NoBlock { arena: ArenaKey(bytes.number32()?), address: Address(bytes.number()?) },
        tag::SAMPLING => EventKind::Sampling { bytes: bytes.number()? },
        _ => return Some(None),
    };
    Some(Some(kind))
}

fn own(model: &mut Model, bytes: &mut Cursor<'_>) -> Option<(ArenaKey, u64)> {
    let arena = bytes.number32()?;
    model.arena = arena;
    let slot = model.slot(arena);
    let order = slot.next_order.wrapping_add(bytes.signed()?);
    slot.next_order = order.wrapping_add(1);
    Some((ArenaKey(arena), order))
}

fn address(model: &mut Model, bytes: &mut Cursor<'_>) -> Option<Address> {
    let address = model.address.wrapping_add(bytes.signed()?);
    if address != 0 {
        model.address = address;
    }
    Some(Address(address))
}

fn mark(model: &mut Model, bytes: &mut Cursor<'_>) -> Option<MarkValue> {
    model.mark = model.mark.wrapping_add(bytes.signed()?);
    Some(MarkValue(model.mark))
}

fn capture(model: &mut Model, bytes: &mut Cursor<'_>) -> Option<(ArenaKey, CaptureReason, Address, u64)> {
    let arena = ArenaKey(bytes.number32()?);
    let reason = CaptureReason::ALL.get(usize::from(bytes.byte()?)).copied()?;
    Some((arena, reason, address(model, bytes)?, bytes.number()?))
}

fn module<'a>(bytes: &mut Cursor<'a>) -> Option<ModuleDefinition<'a>> {
    let number = bytes.number32()?;
    let bias = bytes.number()?;
    let start = bytes.number()?;
    let end = start.wrapping_add(bytes.number()?);
    Some(ModuleDefinition { number, bias, start, end, path: bytes.counted_bytes()?, build_id: bytes.counted_bytes()? })
}

/// The definition in the module record that begins at `start` of `payload`.
pub(crate) fn module_at(payload: &[u8], start: usize) -> Option<ModuleDefinition<'_>> {
    let mut bytes = event_fields(payload, start, tag::MODULE)?;
    module(&mut bytes)
}

/// The place in the record that begins at `start` of `payload`.
pub(crate) fn place_at(payload: &[u8], start: usize) -> Option<Place> {
    let mut bytes = Cursor::new(payload.get(start..)?);
    let first = bytes.byte()?;
    if first & tag::ALLOC != 0 || first & tag::KIND_MASK != tag::PLACE {
        return None;
    }
    let mut bytes = Cursor::new(body(first, &mut bytes)?);
    bytes.number32()?;
    Some(Place { file: text(bytes.counted_bytes()?), line: bytes.number32()?, column: bytes.number32()? })
}

/// The bytes of the inline capture whose record begins at `start` of `payload`.
pub(crate) fn inline_bytes_at(payload: &[u8], start: usize) -> Option<&[u8]> {
    let mut bytes = event_fields(payload, start, tag::CAPTURE_INLINE)?;
    capture(&mut Model::new(0), &mut bytes)?;
    bytes.counted_bytes()
}

/// The fields of the event at `start`, behind time and site, when it is of this kind.
fn event_fields(payload: &[u8], start: usize, kind: u8) -> Option<Cursor<'_>> {
    let mut bytes = Cursor::new(payload.get(start..)?);
    let first = bytes.byte()?;
    if first & tag::ALLOC != 0 || first & tag::KIND_MASK != kind {
        return None;
    }
    let mut bytes = Cursor::new(body(first, &mut bytes)?);
    bytes.number()?;
    bytes.number()?;
    Some(bytes)
}

/// Blob ids from here on name inline captures: segment slot and position of the record, in units of 32 bytes (no two
/// inline captures begin in one unit). The ids below name the first slot of a run of blob segments.
const INLINE_BLOB: u32 = 1 << 31;

/// Positions per segment in such an id. Slots that leave no room (files beyond 64 GiB) get the id of no blob.
const UNITS_PER_SEGMENT: u32 = (crate::layout::SEGMENT_BYTES / INLINE_GRANULE) as u32;

fn inline_blob(slot: u32, start: usize) -> BlobId {
    let unit = (start / INLINE_GRANULE) as u32;
    let position = slot.checked_mul(UNITS_PER_SEGMENT).map(|first| first + unit % UNITS_PER_SEGMENT);
    BlobId(position.filter(|&position| position < INLINE_BLOB).map_or(u32::MAX, |position| INLINE_BLOB | position))
}

/// What a blob id names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BlobPlace {
    /// The run of blob segments that begins at this slot.
    Run { slot: u32 },
    /// The inline capture whose record begins in this unit of 32 bytes of this slot's payload.
    Inline { slot: u32, unit: usize },
}

pub(crate) fn blob_place(blob: BlobId) -> BlobPlace {
    let BlobId(id) = blob;
    if id < INLINE_BLOB {
        return BlobPlace::Run { slot: id };
    }
    let position = id & (INLINE_BLOB - 1);
    BlobPlace::Inline { slot: position / UNITS_PER_SEGMENT, unit: (position % UNITS_PER_SEGMENT) as usize }
}

/// The unit that a record beginning at `start` lies in.
pub(crate) fn unit_of(start: usize) -> usize {
    start / INLINE_GRANULE
}

/// Bytes that an observation found.
fn found(bytes: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let found = bytes.counted_bytes()?;
    (found.len() <= MAX_FOUND_BYTES).then(|| found.to_vec())
}

/// Text from the target: bytes that are no UTF-8 are replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MAX_RECORD_BYTES, Record, SegmentEncoder};

    #[test]
    fn a_code_of_a_newer_version_costs_its_own_record_and_no_other() {
        let mut encoder = SegmentEncoder::new(0);
        let mut payload = [0u8; 4 * MAX_RECORD_BYTES];
        let bounds = Record::Bounds { arena: 1, base: 4096, capacity: 8, reserved: 8, kind: BoundsKind::Lease };
        let first = encoder.record(16, NO_SITE, &bounds, &mut payload);
        let second = encoder.record(32, NO_SITE, &Record::Reset { arena: 1, order: 0 }, &mut payload[first..]);
        // The kind is the record's last byte.
        payload[first - 1] = 200;
        let (mut decoder, mut at) = (SegmentDecoder::new(0, 0), 0);
        let payload = &payload[..first + second];
        assert!(matches!(decoder.step(payload, &mut at), Step::Nothing));
        let Step::Event(event) = decoder.step(payload, &mut at) else { panic!("the next record stands") };
        assert_eq!(event.kind, EventKind::Reset { arena: ArenaKey(1), order: 0 });
    }
}
