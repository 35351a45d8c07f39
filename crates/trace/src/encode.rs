//! Records to bytes, in the target, on its hot path.
//!
//! [`SegmentEncoder::alloc`] is the hot one: no allocation, no call, no panic, about 3 bytes. The others are cold. The
//! mirror of decode.rs. Knows nothing of segments' headers, commit words or threads: the caller owns those.

use crate::layout::SEGMENT_PAYLOAD;
use crate::predict::{Model, rounded};
use crate::record::{
    INLINE_GRANULE, MAX_BUILD_ID_BYTES, MAX_FOUND_BYTES, MAX_FRAMES, MAX_RECORD_BYTES, MAX_STRING_BYTES, NO_SITE,
    Record, tag,
};
use crate::varint::{put, zigzag};

/// The coding state of one events segment. Make a new one for each segment; the first record must be
/// [`Record::Thread`]. About 900 bytes.
#[derive(Clone, Debug)]
pub struct SegmentEncoder {
    model: Model,
}

impl SegmentEncoder {
    /// State for a segment whose header holds `base_tsc`.
    pub const fn new(base_tsc: u64) -> Self {
        SegmentEncoder { model: Model::new(base_tsc) }
    }

    /// Writes one alloc record at the start of `out`, returns its length (1 to [`MAX_RECORD_BYTES`]).
    ///
    /// `block` 0: the allocator refused. `align` 0: not known. `site`: [`NO_SITE`] without a backtrace.
    #[expect(clippy::too_many_arguments, reason = "values in registers, on the hot path")]
    #[inline]
    pub fn alloc(
        &mut self,
        tsc: u64,
        arena: u32,
        order: u64,
        block: u64,
        size: u64,
        align: u64,
        site: u32,
        out: &mut [u8; MAX_RECORD_BYTES],
    ) -> usize {
        let model = &mut self.model;
        let mut first = tag::ALLOC;
        let mut at = 1;
        if block == 0 || align != 0 {
            first |= tag::EXTENDED;
            at = 2;
        }
        let step = model.step_time(tsc);
        at = put(out, at, step);
        if arena == model.arena {
            first |= tag::SAME_ARENA;
        } else {
            model.arena = arena;
            at = put(out, at, u64::from(arena));
        }
        let slot = model.slot(arena);
        if order == slot.next_order {
            first |= tag::NEXT_ORDER;
        } else {
            at = put(out, at, zigzag(order.wrapping_sub(slot.next_order)));
        }
        slot.next_order = order.wrapping_add(1);
        if block != 0 {
            let end = slot.end;
            if block == end {
                first |= 1 << tag::BLOCK_SHIFT;
            } else if block == rounded(end, 2) {
                first |= 2 << tag::BLOCK_SHIFT;
            } else if block == rounded(end, 3) {
                first |= 3 << tag::BLOCK_SHIFT;
            } else {
                at = put(out, at, zigzag(block.wrapping_sub(end)));
            }
            slot.end = block.wrapping_add(size);
        }
        if size == slot.size {
            first |= tag::SAME_SIZE;
        } else {
            slot.size = size;
            at = put(out, at, size);
        }
        if site == slot.site {
            first |= tag::SAME_SITE;
        } else {
            slot.site = site;
            at = put(out, at, u64::from(site.wrapping_add(1)));
        }
        if block != 0 {
            model.address = block.wrapping_add(size);
        }
        if first & tag::EXTENDED != 0 {
            let mut second = if block == 0 { tag::NULL_BLOCK } else { 0 };
            if align.is_power_of_two() {
                second |= align.trailing_zeros() as u8 + 1;
            } else if align != 0 {
                second |= tag::ALIGN_FOLLOWS;
                at = put(out, at, align);
            }
            out[1] = second;
        }
        out[0] = first;
        at
    }

    /// Writes any record at the start of `out`, returns its length; 0 when `out` has fewer than
    /// [`Record::max_bytes`] bytes, and then neither `out` nor the state changed. Cold.
    ///
    /// `site` is ignored for records that are no events ([`Record::Thread`], [`Record::Site`], [`Record::Place`]).
    pub fn record(&mut self, tsc: u64, site: u32, record: &Record<'_>, out: &mut [u8]) -> usize {
        let room = record.max_bytes();
        if room > out.len() || room > SEGMENT_PAYLOAD {
            return 0;
        }
        if let Record::Alloc { arena, order, block, size, align } = *record {
            let Some(out) = out.first_chunk_mut() else { return 0 };
            return self.alloc(tsc, arena, order, block, size, align, site, out);
        }
        let (kind, long) = kind_of(record);
        let head = if long { 3 } else { 2 };
        let mut body = Out { bytes: out, at: head };
        let model = &mut self.model;
        if kind >= tag::FIRST_EVENT {
            body.number(model.step_time(tsc));
            if site == NO_SITE {
                body.number(0);
            } else if site == model.site {
                body.number(1);
            } else {
                model.site = site;
                body.number(u64::from(site) + 2);
            }
        }
        fields(model, record, &mut body);
        if kind == tag::CAPTURE_INLINE {
            while body.at < INLINE_GRANULE {
                body.byte(0);
            }
        }
        let end = body.at;
        // `room` bounds the record, and a short kind's room is MAX_RECORD_BYTES: both lengths fit.
        let len = (end - head) as u16;
        let [low, high] = len.to_le_bytes();
        let mut front = Out { bytes: out, at: 0 };
        if long {
            front.byte(kind | tag::LONG);
            front.byte(low);
            front.byte(high);
        } else {
            front.byte(kind);
            front.byte(low);
        }
        end
    }
}

/// The kind byte, and whether the length takes two bytes (records with strings, bytes, frames or registers).
fn kind_of(record: &Record<'_>) -> (u8, bool) {
    match record {
        Record::Thread { .. } => (tag::THREAD, false),
        Record::Site { .. } => (tag::SITE, true),
        Record::Place { .. } => (tag::PLACE, true),
        Record::Module { .. } => (tag::MODULE, true),
        Record::Create { .. } => (tag::CREATE, true),
        Record::Alloc { .. } => (tag::ALLOC, false),
        Record::Resize { .. } => (tag::RESIZE, false),
        Record::Free { .. } => (tag::FREE, false),
        Record::Mark { .. } => (tag::MARK, false),
        Record::Rewind { .. } => (tag::REWIND, false),
        Record::Reset { .. } => (tag::RESET, false),
        Record::Destroy { .. } => (tag::DESTROY, false),
        Record::ArenaSeen { .. } => (tag::ARENA_SEEN, false),
        Record::CaptureInline { .. } => (tag::CAPTURE_INLINE, true),
        Record::CaptureBlob { .. } => (tag::CAPTURE_BLOB, false),
        Record::Map { .. } => (tag::MAP, false),
        Record::Unmap { .. } => (tag::UNMAP, false),
        Record::Remap { .. } => (tag::REMAP, false),
        Record::HeapAlloc { .. } => (tag::HEAP_ALLOC, false),
        Record::HeapFree { .. } => (tag::HEAP_FREE, false),
        Record::ThreadStart { .. } => (tag::THREAD_START, false),
        Record::ThreadExit => (tag::THREAD_EXIT, false),
        Record::Fork { .. } => (tag::FORK, false),
        Record::Vfork => (tag::VFORK, false),
        Record::Exec { .. } => (tag::EXEC, true),
        Record::Exit { .. } => (tag::EXIT, false),
        Record::Fault { .. } => (tag::FAULT, true),
        Record::UserMark { .. } => (tag::USER_MARK, true),
        Record::Damage { .. } => (tag::DAMAGE, true),
        Record::Overlapped { .. } => (tag::OVERLAPPED, false),
        Record::ObjectChanged { .. } => (tag::OBJECT_CHANGED, true),
        Record::HeapSegment { .. } => (tag::HEAP_SEGMENT, false),
        Record::ScopeEnter { .. } => (tag::SCOPE_ENTER, false),
        Record::ScopeExit { .. } => (tag::SCOPE_EXIT, false),
        Record::Bounds { .. } => (tag::BOUNDS, false),
        Record::Checked { .. } => (tag::CHECKED, false),
        Record::Touched { .. } => (tag::TOUCHED, false),
        Record::CalledEnded { .. } => (tag::CALLED_ENDED, false),
        Record::NoBlock { .. } => (tag::NO_BLOCK, false),
        Record::Sampling { .. } => (tag::SAMPLING, false),
    }
}

/// The fields of every record but alloc, in the order of FORMAT.md.
fn fields(model: &mut Model, record: &Record<'_>, out: &mut Out<'_>) {
    match *record {
        Record::Alloc { .. } | Record::ThreadExit | Record::Vfork => {}
        Record::Thread { number } => out.number(u64::from(number)),
        Record::Site { id, addresses, place } => {
            site(model, id, addresses, out);
            if let Some(place) = place {
                out.number(u64::from(place).saturating_add(1));
            }
        }
        Record::Place { id, file, line, column } => {
            out.number(u64::from(id));
            out.counted(file, MAX_STRING_BYTES);
            out.number(u64::from(line));
            out.number(u64::from(column));
        }
        Record::Module { number, bias, start, end, path, build_id } => {
            out.number(u64::from(number));
            out.number(bias);
            out.number(start);
            out.number(end.wrapping_sub(start));
            out.counted(path, MAX_STRING_BYTES);
            out.counted(build_id, MAX_BUILD_ID_BYTES);
        }
        Record::Create { arena, order, size, parent, name, nested } => {
            own(model, arena, order, out);
            let flag = |there: bool, bit: u8| if there { bit } else { 0 };
            out.byte(flag(size.is_some(), 1) | flag(parent.is_some(), 2) | flag(name.is_some(), 4));
            out.number(nested);
            if let Some(size) = size {
                out.number(size);
            }
            if let Some(parent) = parent {
                out.number(u64::from(parent));
            }
            if let Some(name) = name {
                out.counted(name, MAX_STRING_BYTES);
            }
        }
        Record::Resize { arena, order, old, new, size } => {
            own(model, arena, order, out);
            address(model, old, out);
            address(model, new, out);
            out.number(size);
        }
        Record::Free { arena, order, block } => {
            own(model, arena, order, out);
            address(model, block, out);
        }
        Record::Mark { arena, order, mark } | Record::Rewind { arena, order, mark } => {
            own(model, arena, order, out);
            out.number(zigzag(mark.wrapping_sub(model.mark)));
            model.mark = mark;
        }
        Record::Reset { arena, order } | Record::Destroy { arena, order } => own(model, arena, order, out),
        Record::ArenaSeen { arena, object } => {
            out.number(u64::from(arena));
            address(model, object, out);
        }
        Record::CaptureInline { arena, reason, base, len, bytes } => {
            out.number(u64::from(arena));
            out.byte(reason as u8);
            address(model, base, out);
            out.number(len);
            out.counted(bytes, bytes.len());
        }
        Record::CaptureBlob { arena, reason, base, len, first_segment } => {
            out.number(u64::from(arena));
            out.byte(reason as u8);
            address(model, base, out);
            out.number(len);
            out.number(u64::from(first_segment));
        }
        Record::Map { address: start, len, protection, flags, observed } => {
            address(model, start, out);
            out.number(len);
            out.number(u64::from(protection));
            out.number(u64::from(flags));
            out.byte(u8::from(observed));
        }
        Record::Unmap { address: start, len } => {
            address(model, start, out);
            out.number(len);
        }
        Record::Remap { old, old_len, new, new_len } => {
            address(model, old, out);
            out.number(old_len);
            address(model, new, out);
            out.number(new_len);
        }
        Record::HeapAlloc { address: start, size } => {
            address(model, start, out);
            out.number(size);
        }
        Record::HeapFree { address: start } => address(model, start, out),
        Record::ThreadStart { tid, parent } => {
            out.number(u64::from(tid));
            out.number(u64::from(parent));
        }
        Record::Fork { child, fork_id } => {
            out.number(u64::from(child));
            out.number(fork_id);
        }
        Record::Exec { path } => out.counted(path, MAX_STRING_BYTES),
        Record::Exit { status } => out.number(zigzag(status as i64 as u64)),
        Record::Fault { signal, address: at, pc, synchronous, registers } => {
            out.number(u64::from(signal));
            out.number(at);
            out.number(pc);
            out.byte(u8::from(synchronous));
            for &register in registers {
                out.number(register);
            }
        }
        Record::UserMark { name } => out.counted(name, MAX_STRING_BYTES),
        Record::Damage { arena, block, size, zone, address, expected, found, end, since, ended } => {
            out.number(u64::from(arena));
            out.number(block);
            out.number(size);
            out.byte(zone as u8);
            out.number(address);
            out.byte(expected);
            out.counted(found, MAX_FOUND_BYTES);
            out.number(end);
            out.number(since);
            out.number(ended.map_or(0, |order| order.saturating_add(1)));
        }
        Record::Overlapped { arena, since } => {
            out.number(u64::from(arena));
            out.number(since);
        }
        Record::ObjectChanged { arena, address, before, after } => {
            out.number(u64::from(arena));
            out.number(address);
            out.counted(before, MAX_FOUND_BYTES);
            out.counted(after, MAX_FOUND_BYTES);
        }
        Record::HeapSegment { arena, start, len, top } => {
            out.number(u64::from(arena));
            out.number(start);
            out.number(len);
            out.number(top);
        }
        // Whole numbers, and nothing remembered: older readers pass these over.
        Record::ScopeEnter { arena, order, cursor } | Record::ScopeExit { arena, order, cursor } => {
            out.number(u64::from(arena));
            out.number(order);
            out.number(cursor);
        }
        Record::Bounds { arena, base, capacity, reserved, kind } => {
            out.number(u64::from(arena));
            out.number(base);
            out.number(capacity);
            out.number(reserved);
            out.byte(kind as u8);
        }
        Record::Checked { arena, how } => {
            out.number(u64::from(arena));
            out.byte(how as u8);
        }
        Record::Touched { arena, block, size, at, fate, ended } => {
            out.number(u64::from(arena));
            out.number(block);
            out.number(size);
            out.number(zigzag(at as u64));
            out.byte(fate as u8);
            out.number(ended.map_or(0, |order| order.saturating_add(1)));
        }
        Record::CalledEnded { arena } => out.number(u64::from(arena)),
        Record::NoBlock { arena, address } => {
            out.number(u64::from(arena));
            out.number(address);
        }
        Record::Sampling { bytes } => out.number(bytes),
    }
}

/// Arena and order of an arena's own event.
fn own(model: &mut Model, arena: u32, order: u64, out: &mut Out<'_>) {
    model.arena = arena;
    out.number(u64::from(arena));
    let slot = model.slot(arena);
    out.number(zigzag(order.wrapping_sub(slot.next_order)));
    slot.next_order = order.wrapping_add(1);
}

/// An address as the difference to the last. Null says nothing about where the next will lie.
fn address(model: &mut Model, address: u64, out: &mut Out<'_>) {
    out.number(zigzag(address.wrapping_sub(model.address)));
    if address != 0 {
        model.address = address;
    }
}

/// Frames from the outside in: the number shared with the last site, then each as the difference to the one outside.
fn site(model: &mut Model, id: u32, addresses: &[u64], out: &mut Out<'_>) {
    let count = addresses.len().min(MAX_FRAMES);
    let addresses = addresses.get(..count).unwrap_or(&[]);
    let last = model.frames.get(..model.frame_count).unwrap_or(&[]);
    let shared = addresses.iter().rev().zip(last.iter().rev()).take_while(|(a, b)| a == b).count();
    out.number(u64::from(id));
    out.number(count as u64);
    out.number(shared as u64);
    // Without a shared frame the last site's outermost is the nearest guess.
    let mut outside = match shared {
        0 => last.last().copied().unwrap_or(0),
        _ => addresses.get(count - shared).copied().unwrap_or(0),
    };
    for &frame in addresses.iter().rev().skip(shared) {
        out.number(zigzag(frame.wrapping_sub(outside)));
        outside = frame;
    }
    for (kept, &frame) in model.frames.iter_mut().zip(addresses) {
        *kept = frame;
    }
    model.frame_count = count;
}

/// Writes into a slice that `Record::max_bytes` has been held against; would drop bytes rather than panic.
struct Out<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Out<'_> {
    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.at) {
            *place = byte;
            self.at += 1;
        }
    }

    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte((value as u8) | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn counted(&mut self, bytes: &[u8], limit: usize) {
        let bytes = bytes.get(..limit).unwrap_or(bytes);
        self.number(bytes.len() as u64);
        if let Some(place) = self.bytes.get_mut(self.at..).and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }
}
