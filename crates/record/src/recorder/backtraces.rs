//! The site of a call: known by its stack, or the stack walked as far as it differs from the last one, the backtrace looked up, defined
//! where it is new.
//!
//! May be relied on: a stack that the thread has had lately costs no walk (`stacks`); a site that it has met lately costs the walk and
//! one look into its cache. Absent on purpose: the walk itself (`walk`) and the table of sites (`sites`).

use super::Recorder;
use crate::clock::ticks;
use crate::deep;
use crate::modules::CodeModule;
use crate::quiet;
use crate::sites::{CallFrame, FRAMES_MAX, Place};
use crate::stacks;
use crate::system::{for_each_mapping, read_own_memory};
use crate::thread::Thread;
use crate::walk::{Rules, Walk, after};
use arenascope_trace::{NO_SITE, Record};
use arenascope_unwind::{Cursor, Kind};

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
        let version = self.version(thread);
        let told = place.map_or(0, |place| place.hash());
        if thread.caches.worth.looks()
            && let Some(site) = stacks::find(thread.caches.stacks, call, told, version)
        {
            thread.caches.worth.met();
            return site;
        }
        self.walk(thread, call, place, told, version)
    }

    /// The site of a stack that is not one of the last few.
    #[inline(never)]
    fn walk(&self, thread: &mut Thread, call: CallFrame, place: Option<Place<'_>>, told: u64, version: u64) -> u32 {
        self.renew_rules(thread);
        let Thread { caches, stack_high, .. } = thread;
        let rules = Rules { modules: &self.modules, cache: caches.rules };
        let mut walk = Walk::new(call.stack_pointer, *stack_high, &self.stub, &self.code, rules);
        let found = caches.last.walk(&mut walk, after(call), version, self.frames);
        let hash = place.map_or(found.hash, |place| place.mixed_with(found.hash));
        let site = match thread.cached_site(hash) {
            Some(cached) if cached.hash == hash => cached.id,
            _ => self.site_slowly(thread, hash, found.count, place),
        };
        let caches = &mut thread.caches;
        if site != NO_SITE && found.sure && caches.worth.wants() {
            stacks::keep(caches.stacks, call, told, version, (caches.last, found.count), site);
        }
        site
    }

    /// What a walk depends on besides registers and the words it reads. Never 0.
    #[inline]
    fn version(&self, thread: &Thread) -> u64 {
        u64::from(self.modules.generation()) << 32 | u64::from(thread.stack_bounds)
    }

    /// Forgets rules of modules that have changed.
    #[inline]
    fn renew_rules(&self, thread: &mut Thread) {
        let generation = self.modules.generation();
        if thread.rules_of != generation {
            Rules::forget(thread.caches.rules);
            thread.rules_of = generation;
        }
    }

    /// Walks into `thread.frames`, reading nothing below `low`; their count.
    fn walk_from(&self, thread: &mut Thread, at: Cursor, low: u64, limit: usize) -> usize {
        self.renew_rules(thread);
        let Thread { caches, frames, stack_high, .. } = thread;
        let rules = Rules { modules: &self.modules, cache: caches.rules };
        Walk::new(low, *stack_high, &self.stub, &self.code, rules).run(at, limit, frames)
    }

    /// The site of a place that the program names, of no call.
    #[cold]
    pub(crate) fn site_of_place(&self, thread: &mut Thread, place: Place<'_>) -> u32 {
        self.site_slowly(thread, place.mixed_with(0), 0, Some(place))
    }

    /// The site of the last walk's first `count` frames.
    #[cold]
    fn site_slowly(&self, thread: &mut Thread, hash: u64, count: usize, place: Option<Place<'_>>) -> u32 {
        thread.caches.last.addresses(count, &mut thread.frames);
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
    pub(super) fn look_up_stack_for(&self, thread: &mut Thread, stack_pointer: u64) {
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
        thread.stack_bounds = thread.stack_bounds.wrapping_add(1);
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

    /// Records a fault at `frame`, whose return address lies one byte behind the faulting instruction's first. Where no rule leads on
    /// from there, the word on top of the stack follows in the backtrace where it may be code: in a function that has pushed nothing
    /// yet, or at an address that is no code at all, it is the return address, and frame pointers alone would miss the caller.
    #[cold]
    pub fn note_fault(&self, thread: &mut Thread, frame: CallFrame, record: &Record<'_>) -> bool {
        deep::run(|| self.note_fault_here(thread, frame, record))
    }

    fn note_fault_here(&self, thread: &mut Thread, frame: CallFrame, record: &Record<'_>) -> bool {
        let low = frame.stack_pointer;
        self.look_up_stack_for(thread, low);
        let at = Cursor { address: frame.return_address, stack: low, frame: frame.frame_pointer };
        let rule = self.modules.look(at.place()).rule.kind();
        let known = !self.modules.is_empty() && !matches!(rule, Kind::Gap | Kind::Unknown);
        let mut count = self.walk_from(thread, at, low, self.frames);
        if !known && let Some(top) = self.return_address_at(low, thread.frames.get(..count).unwrap_or(&[])) {
            let above = Cursor { address: top, stack: low.wrapping_add(8), ..at };
            count = self.walk_from(thread, above, low, self.frames.saturating_sub(1));
            let kept = count.min(FRAMES_MAX.saturating_sub(1));
            thread.frames.copy_within(..kept, 1);
            if let Some(first) = thread.frames.first_mut() {
                *first = at.address;
            }
            count = kept.saturating_add(1);
        }
        let frames = thread.frames;
        let (id, _) = self.sites.intern_anew();
        let addresses = frames.get(..count).unwrap_or(&[]);
        let defined = self.write(thread, ticks(), NO_SITE, &Record::Site { id, addresses, place: None });
        let written = self.write(thread, ticks(), if defined { id } else { NO_SITE }, record);
        thread.events = thread.events.wrapping_add(u64::from(written));
        written
    }

    /// The word at `address`, where it may be a return address that is not among `known`.
    fn return_address_at(&self, address: u64, known: &[u64]) -> Option<u64> {
        let mut word = [0u8; 8];
        let read = read_own_memory(self.pid(), address, &mut word) == word.len();
        let top = u64::from_le_bytes(word);
        (read && self.is_code(top) && !known.contains(&top)).then_some(top)
    }

    fn is_code(&self, address: u64) -> bool {
        if self.modules.is_empty() {
            self.code.contains(address)
        } else {
            self.modules.look(address.wrapping_sub(1)).inside
        }
    }

    /// Tells which modules hold code now, in ascending order, with their rules. One thread at a time.
    pub fn modules(&self, modules: impl Iterator<Item = CodeModule>) {
        self.modules.set(modules);
    }
}
