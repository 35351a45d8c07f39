//! One thread's place in the recorder: its segment, its caches, the hooked calls on its stack.
//!
//! Exclusive to its thread: the only concurrency is a signal handler on the same stack, which `busy` keeps out.

use crate::arenas::Entry;
use crate::last_stack::LastStack;
use crate::recorder::Passed;
use crate::sites::{CACHE_SLOTS, CachedSite, FRAMES_MAX};
use crate::stacks::{self, CachedStack, Worth};
use crate::walk::CachedRules;
use arenascope_trace::SegmentEncoder;

/// Remembered arenas, direct-mapped by object address.
const ARENA_CACHE: usize = 16;
/// Hooked calls of one thread that may be open inside each other and are told apart.
const CALLS: usize = 8;

/// A hooked arena function that has been entered and has not returned.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Call {
    /// Address of its return address: calls further in lie below.
    pub stack_pointer: u64,
    /// The arena object it works on (0 also when not yet known).
    pub object: u64,
    /// Its role's code.
    pub role: u8,
    /// A number that stands in its stub's frame as long as that frame does.
    pub cookie: u64,
}

/// Where the next record goes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Segment {
    /// Address of the payload; 0: no segment is open.
    pub payload: u64,
    /// Committed bytes.
    pub used: u32,
    /// Running checksum of them.
    pub crc: u32,
    /// Position among this writer's segments.
    pub sequence: u32,
    /// A slot that was taken from the file but could not be given space yet, plus one; 0: none.
    pub owed_slot: u32,
    /// Events to drop before the file system is asked again.
    pub patience: u32,
}

/// What a thread remembers of backtraces.
pub(crate) struct Caches {
    pub sites: &'static mut [CachedSite],
    pub stacks: &'static mut [CachedStack],
    pub worth: Worth,
    pub last: &'static mut LastStack,
    pub rules: &'static mut CachedRules,
}

/// One thread of the host.
pub struct Thread {
    /// Stack pointer of the hook that is inside the recorder now; 0: none.
    pub busy: u64,
    /// Its number in the trace, from 1.
    pub number: u32,
    /// The kernel's id.
    pub tid: u32,
    /// Epoch of the process in which this state was made.
    pub epoch: u32,
    /// Number of the writer (slot in the thread table).
    pub(crate) writer: u32,
    /// Events recorded.
    pub events: u64,
    /// Rounds of destructors that its end has put off.
    pub put_off: u32,
    pub(crate) segment: Segment,
    pub(crate) encoder: SegmentEncoder,
    pub(crate) stack_low: u64,
    pub(crate) stack_high: u64,
    calls: [Call; CALLS],
    open_calls: usize,
    cookies: u64,
    arena_cache: [(u64, Option<&'static Entry>); ARENA_CACHE],
    pub(crate) caches: Caches,
    pub(crate) frames: [u64; FRAMES_MAX],
    pub(crate) scratch: &'static mut [u8],
    pub(crate) stack_looks: u32,
    /// Changes whenever the bounds above do.
    pub(crate) stack_bounds: u32,
    /// Generation of the modules that the cached rules are of.
    pub(crate) rules_of: u32,
    /// A distance was drawn.
    pub(crate) sampling: bool,
    /// Bytes to the next sample.
    pub(crate) sample_left: u64,
    pub(crate) passed: Passed,
    /// Memory for a changed environment at exec: address and bytes.
    pub exec_memory: (u64, u64),
}

impl Thread {
    /// A thread that has recorded nothing.
    pub(crate) fn new(writer: u32, caches: Caches, scratch: &'static mut [u8]) -> Thread {
        Thread {
            busy: 0,
            number: 0,
            tid: 0,
            epoch: 0,
            writer,
            events: 0,
            put_off: 0,
            segment: Segment::default(),
            encoder: SegmentEncoder::new(0),
            stack_low: 0,
            stack_high: 0,
            calls: [Call::default(); CALLS],
            open_calls: 0,
            cookies: 0,
            arena_cache: [(u64::MAX, None); ARENA_CACHE],
            caches,
            frames: [0; FRAMES_MAX],
            scratch,
            stack_looks: 0,
            stack_bounds: 0,
            rules_of: 0,
            sampling: false,
            sample_left: 0,
            passed: Passed::default(),
            exec_memory: (0, 0),
        }
    }

    /// Leaves the open segment behind: a record may have been cut off in the middle, so its coding state is unknown.
    /// What was committed stays.
    pub fn abandon_segment(&mut self) {
        self.segment.payload = 0;
    }

    pub(crate) fn writer_number(&self) -> u32 {
        self.writer
    }

    /// Makes the state fit for another thread, or for the only thread of a forked child (`keep_segment` false: the
    /// parent's segment is not ours to write).
    pub(crate) fn renew(&mut self, keep_segment: bool) {
        self.busy = 0;
        self.events = 0;
        self.put_off = 0;
        self.stack_low = 0;
        self.stack_high = 0;
        self.stack_looks = 0;
        self.open_calls = 0;
        self.sampling = false;
        self.passed = Passed::default();
        if !keep_segment {
            self.segment = Segment::default();
            self.caches.sites.fill(CachedSite::default());
            // Their sites are the parent's.
            stacks::forget(self.caches.stacks);
            self.caches.last.forget();
        }
    }

    #[inline]
    fn cache_line(object: u64) -> usize {
        ((object >> 4) ^ (object >> 12)) as usize & (ARENA_CACHE - 1)
    }

    #[inline]
    pub(crate) fn cached_arena(&self, object: u64) -> Option<&'static Entry> {
        match self.arena_cache.get(Self::cache_line(object)) {
            Some((known, entry)) if *known == object => *entry,
            _ => None,
        }
    }

    pub(crate) fn cache_arena(&mut self, object: u64, entry: &'static Entry) {
        if let Some(line) = self.arena_cache.get_mut(Self::cache_line(object)) {
            *line = (object, Some(entry));
        }
    }

    #[inline]
    pub(crate) fn cached_site(&mut self, hash: u64) -> Option<&mut CachedSite> {
        self.caches.sites.get_mut((hash >> 32) as usize & (CACHE_SLOTS - 1))
    }

    /// Forgets calls that are no longer on the stack: those at or below `stack_pointer` were left by longjmp or an
    /// exception.
    #[inline]
    pub fn settle_calls(&mut self, stack_pointer: u64) {
        while let Some(last) = self.open_calls.checked_sub(1).and_then(|index| self.calls.get(index)) {
            // Another stack (a signal handler's, a coroutine's) says nothing about this one.
            let same_stack = stack_pointer.wrapping_sub(last.stack_pointer) < (64 << 20)
                || last.stack_pointer.wrapping_sub(stack_pointer) < (64 << 20);
            if same_stack && last.stack_pointer > stack_pointer {
                break;
            }
            self.open_calls = self.open_calls.wrapping_sub(1);
        }
    }

    /// A number that no frame on this thread's stack holds by chance.
    #[inline]
    pub fn next_cookie(&mut self) -> u64 {
        self.cookies = self.cookies.wrapping_add(1);
        // Odd and far from addresses, sizes and text: what a stack holds by itself.
        (self.cookies << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Notes that a hooked function was entered.
    #[inline]
    pub fn push_call(&mut self, call: Call) {
        if let Some(place) = self.calls.get_mut(self.open_calls) {
            *place = call;
            self.open_calls = self.open_calls.wrapping_add(1);
        }
    }

    /// Notes that the function whose return address lies at `stack_pointer` returned.
    #[inline]
    pub fn pop_call(&mut self, stack_pointer: u64) {
        self.settle_calls(stack_pointer.wrapping_sub(1));
        if let Some(index) = self.open_calls.checked_sub(1)
            && self.calls.get(index).is_some_and(|call| call.stack_pointer == stack_pointer)
        {
            self.open_calls = index;
        }
    }

    /// The hooked calls that enclose the present one, outermost first.
    #[inline]
    pub fn open_calls(&self) -> &[Call] {
        self.calls.get(..self.open_calls).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::{CachedRule, RULE_SLOTS};
    extern crate std;
    use std::boxed::Box;

    fn thread() -> Thread {
        let sites = Box::leak(Box::new([CachedSite::default(); CACHE_SLOTS]));
        Thread::new(
            0,
            Caches {
                sites,
                stacks: &mut [],
                worth: Worth::default(),
                last: Box::leak(Box::new(LastStack::new())),
                rules: Box::leak(Box::new([CachedRule::EMPTY; RULE_SLOTS])),
            },
            Box::leak(Box::new([0; 64])),
        )
    }

    fn call(stack_pointer: u64) -> Call {
        Call { stack_pointer, object: 1, role: 1, cookie: 0 }
    }

    #[test]
    fn calls_nest_and_return() {
        let mut thread = thread();
        thread.settle_calls(0x1000);
        thread.push_call(call(0x1000));
        thread.settle_calls(0x800);
        thread.push_call(call(0x800));
        assert_eq!(thread.open_calls().len(), 2);
        thread.pop_call(0x800);
        thread.pop_call(0x1000);
        assert!(thread.open_calls().is_empty());
    }

    #[test]
    fn a_call_left_by_longjmp_is_forgotten_at_the_next_one() {
        let mut thread = thread();
        thread.push_call(call(0x1000));
        thread.push_call(call(0x800));
        // longjmp to a frame above both; the next hooked call is made from there.
        thread.settle_calls(0x1800);
        assert!(thread.open_calls().is_empty());
        thread.push_call(call(0x1000));
        thread.push_call(call(0x800));
        thread.settle_calls(0x800);
        assert_eq!(thread.open_calls(), [call(0x1000)]);
    }

    #[test]
    fn deeper_nesting_than_the_table_loses_nothing_but_the_depth() {
        let mut thread = thread();
        for depth in 0..20u64 {
            thread.push_call(call(0x10_000 - depth * 16));
        }
        for depth in (0..20u64).rev() {
            thread.pop_call(0x10_000 - depth * 16);
        }
        assert!(thread.open_calls().is_empty());
    }
}
