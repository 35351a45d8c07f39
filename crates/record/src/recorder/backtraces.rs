//! The site of a call: the thread's stack walked, the backtrace looked up, defined where it is new.
//!
//! May be relied on: a site that the thread has met lately costs the walk and one look into its cache. Absent on purpose: the walk
//! itself and the table of sites (`sites`).

use super::Recorder;
use crate::clock::ticks;
use crate::deep;
use crate::quiet;
use crate::sites::{CallFrame, FRAMES_MAX, Place, walk};
use crate::system::{for_each_mapping, read_own_memory};
use crate::thread::Thread;
use arenascope_trace::{NO_SITE, Record};

/// Times a thread may look up the bounds of its stack before it is taken for one that hops between stacks.
const STACK_LOOKS: u32 = 64;

impl Recorder {
    /// The site of `call`, defined if new.
    #[inline]
    pub(crate) fn site(&self, thread: &mut Thread, call: CallFrame) -> u32 {
        self.site_at(thread, call, None)
    }

    /// As [`Recorder::site`], where the program may have said where the call stands.
    #[inline]
    pub(crate) fn site_at(&self, thread: &mut Thread, call: CallFrame, place: Option<Place<'_>>) -> u32 {
        self.look_up_stack_for(thread, call.stack_pointer);
        let end = thread.stack_high;
        let (count, hash) = walk(call, end, self.stub, &self.code, self.frames, &mut thread.frames);
        let hash = place.map_or(hash, |place| place.mixed_with(hash));
        match thread.cached_site(hash) {
            Some(cached) if cached.hash == hash => cached.id,
            _ => self.site_slowly(thread, hash, count, place),
        }
    }

    #[cold]
    fn site_slowly(&self, thread: &mut Thread, hash: u64, count: usize, place: Option<Place<'_>>) -> u32 {
        let (id, fresh) = self.sites.intern(hash);
        // Only what is new goes the long way: two sites that share a line of the cache come here by turns.
        if fresh && !deep::run(|| self.define_site(thread, id, count, place)) {
            return NO_SITE;
        }
        if let Some(cached) = thread.cached_site(hash) {
            cached.hash = hash;
            cached.id = id;
        }
        id
    }

    fn define_site(&self, thread: &mut Thread, id: u32, count: usize, place: Option<Place<'_>>) -> bool {
        let frames = thread.frames;
        let addresses = frames.get(..count).unwrap_or(&[]);
        // A place bears the number of its site: sites of one place repeat its few bytes, and no table is needed.
        let place = place.and_then(|Place { file, line, column }| {
            self.write(thread, ticks(), NO_SITE, &Record::Place { id, file, line, column }).then_some(id)
        });
        self.write(thread, ticks(), NO_SITE, &Record::Site { id, addresses, place })
    }

    #[inline]
    fn look_up_stack_for(&self, thread: &mut Thread, stack_pointer: u64) {
        if stack_pointer.wrapping_sub(thread.stack_low) >= thread.stack_high.wrapping_sub(thread.stack_low) {
            self.look_up_stack(thread, stack_pointer);
        }
    }

    /// Finds the mapping that holds the stack. A thread that hops between stacks too often keeps its callers only.
    #[cold]
    fn look_up_stack(&self, thread: &mut Thread, stack_pointer: u64) {
        deep::run(|| self.look_up_stack_here(thread, stack_pointer));
    }

    #[inline(never)]
    fn look_up_stack_here(&self, thread: &mut Thread, stack_pointer: u64) {
        thread.stack_low = stack_pointer;
        thread.stack_high = stack_pointer.wrapping_add(8);
        if thread.stack_looks > STACK_LOOKS || quiet::is_on() {
            return;
        }
        thread.stack_looks = thread.stack_looks.wrapping_add(1);
        for_each_mapping(|mapping| {
            if mapping.start <= stack_pointer && stack_pointer < mapping.end {
                // The first thread's stack grows down as it is used, without a hole (mm/mmap.c, VM_GROWSDOWN).
                let room = if mapping.special { 8 << 20 } else { 0 };
                thread.stack_low = mapping.start.saturating_sub(room);
                thread.stack_high = mapping.end;
                return false;
            }
            true
        });
    }

    /// Records a fault at `frame`. The word on top of the stack follows the faulting address in the backtrace where it
    /// may be code: in a function that has pushed nothing yet (strcpy, memset) it is the return address, and frame
    /// pointers alone would miss the caller.
    #[cold]
    pub fn note_fault(&self, thread: &mut Thread, frame: CallFrame, record: &Record<'_>) -> bool {
        deep::run(|| self.note_fault_here(thread, frame, record))
    }

    fn note_fault_here(&self, thread: &mut Thread, frame: CallFrame, record: &Record<'_>) -> bool {
        self.look_up_stack_for(thread, frame.stack_pointer);
        let mut walked = [0u64; FRAMES_MAX];
        let (count, _) = walk(frame, thread.stack_high, self.stub, &self.code, self.frames, &mut walked);
        let mut word = [0u8; 8];
        let read = read_own_memory(self.pid(), frame.stack_pointer, &mut word) == word.len();
        let top = u64::from_le_bytes(word);
        let caller = read && self.code.contains(top) && !walked.iter().take(count).any(|known| *known == top);
        let mut addresses = [0u64; FRAMES_MAX];
        let second = caller.then_some(top);
        let all = walked.iter().take(1).copied().chain(second).chain(walked.iter().take(count).skip(1).copied());
        for (place, address) in addresses.iter_mut().zip(all) {
            *place = address;
        }
        let (id, _) = self.sites.intern_anew();
        let kept = addresses.get(..count.saturating_add(usize::from(caller)).min(FRAMES_MAX)).unwrap_or(&[]);
        let defined = self.write(thread, ticks(), NO_SITE, &Record::Site { id, addresses: kept, place: None });
        let written = self.write(thread, ticks(), if defined { id } else { NO_SITE }, record);
        thread.events = thread.events.wrapping_add(u64::from(written));
        written
    }
}
