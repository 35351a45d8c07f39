//! The stack that a thread walked last, frame by frame: the next walk goes on where the two are the same.
//!
//! A step from a frame to its caller is a function of the frame's three registers, the modules, the stack's bounds, and the words it
//! read. Each frame is kept with the places of these words (`Link`): where it stands again they are read again, two loads, and tell the
//! caller without a look at any rule. So an event that comes from where the last one did, or from a function called near by, pays for
//! rules of the frames that are new. May be relied on: what is found is what a walk from nothing finds, word by word. Tried by others:
//! memray (pull request 1004) and bytehound compare the return addresses only, which is enough where frames have fixed sizes; ours need
//! not. Stacks that come again whole are known by `stacks`, for less.
#![allow(unsafe_code, reason = "reads the host's stack where a walk has read it")]

use crate::reserve::Zeroed;
use crate::sites::FRAMES_MAX;
use crate::walk::{Link, Walk};
use arenascope_unwind::{Cursor, Rule};

/// Frames kept, those further out than was wanted included: a program that calls deeper and returns needs no step anew.
const FRAMES: usize = 2 * FRAMES_MAX;

/// A frame and its way to the caller.
#[derive(Clone, Copy)]
#[repr(C)]
struct Frame {
    address: u64,
    stack: u64,
    frame: u64,
    link: Link,
}

impl Frame {
    /// It is the frame at `at`, as far as rsp and the place in the code tell.
    #[inline]
    fn stands_at(&self, at: Cursor) -> bool {
        (self.address ^ at.address) | (self.stack ^ at.stack) == 0
    }
}

/// The last stack of a thread.
///
/// # Invariants
/// I1: a frame below `count` stands in code, and its link, if it has one, names the words that a step from it read, or would read, while
/// modules and bounds are those of `version`.
#[repr(C)]
pub(crate) struct LastStack {
    version: u64,
    count: u64,
    /// Outermost first, so that the many stay where they are while the few come and go.
    frames: [Frame; FRAMES],
    /// Frames of the walk under way that are not at their places yet, innermost first.
    fresh: [Frame; FRAMES_MAX],
}

// SAFETY: integers; with `count` 0 nothing is kept.
unsafe impl Zeroed for LastStack {}

/// Odd numbers without a pattern (splitmix64, Steele, Lea, Flood 2014), one a frame: addresses times these, summed up, is a hash whose
/// multiplications do not wait for each other.
const ODD: [u64; FRAMES_MAX] = {
    let mut odd = [0u64; FRAMES_MAX];
    let mut state = 0u64;
    let mut index = 0;
    while index < FRAMES_MAX {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        odd[index] = (z ^ (z >> 31)) | 1;
        index += 1;
    }
    odd
};

#[inline]
fn weighed(index: usize, address: u64) -> u64 {
    address.wrapping_mul(ODD.get(index).copied().unwrap_or(1))
}

/// The end of a hash: low bits depend on high ones too. Never 0.
#[inline]
fn mixed(sum: u64) -> u64 {
    (sum ^ (sum >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// What a walk found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Frames, which [`LastStack::addresses`] tells.
    pub count: usize,
    /// A hash of their addresses; never 0.
    pub hash: u64,
    /// The links of its frames name every word that it depends on.
    pub sure: bool,
}

/// A walk under way.
#[derive(Clone, Copy)]
struct Progress {
    /// Frames so far. All of them are fresh, but for those that stand at the end of a walk that found the last one's.
    count: usize,
    /// Frames of the last walk that may still be: `..rest`.
    rest: usize,
    /// Addresses so far, weighed.
    sum: u64,
    /// Where it has come to.
    at: Cursor,
    /// `at` is the last frame so far, and not the one after it.
    counted: bool,
    /// It has ended at the outermost frame, whose rule says so.
    outermost: bool,
    /// Its first frame is in no code: none of it is to be kept.
    nowhere: bool,
}

impl LastStack {
    /// Walks from `from` upward, `limit` frames at most. `version` is that of the modules and of the bounds that `walk` keeps to.
    #[inline]
    pub(crate) fn walk(&mut self, walk: &mut Walk<'_>, from: Cursor, version: u64, limit: usize) -> Found {
        let limit = limit.min(FRAMES_MAX);
        let rest = if self.version == version { (self.count as usize).min(FRAMES) } else { 0 };
        self.version = version;
        let mut now = Progress { count: 0, rest, sum: 0, at: from, counted: false, outermost: false, nowhere: false };
        let mut fresh = 0usize;
        while now.count < limit {
            if self.step_quickly(walk, &mut now, &mut fresh, limit) {
                let followed = self.follow(&mut now, limit);
                if now.count >= limit {
                    break;
                }
                // Others come in between: those that were met stand among the fresh ones, and not where they stood.
                for _ in 0..followed {
                    now.rest = now.rest.wrapping_sub(1);
                    if let (Some(frame), Some(place)) = (self.frames.get(now.rest), self.fresh.get_mut(fresh)) {
                        *place = *frame;
                        fresh = fresh.wrapping_add(1);
                    }
                }
                if !now.counted {
                    continue;
                }
            }
            if now.count < limit && !self.step_slowly(walk, &mut now, &mut fresh) {
                break;
            }
        }
        self.settle(&now, fresh);
        Found { count: now.count, hash: mixed(now.sum), sure: now.count >= limit || now.outermost }
    }

    /// Goes on by rules that are at hand. True when it has come to a frame that was there last time: the last below `rest`.
    #[inline]
    fn step_quickly(&mut self, walk: &Walk<'_>, now: &mut Progress, fresh: &mut usize, limit: usize) -> bool {
        let Progress { mut count, mut rest, mut sum, mut at, .. } = *now;
        let mut met = false;
        let mut known = Self::place_of(self.frames.get(..rest));
        while count < limit {
            while known.0 < at.stack {
                rest = rest.wrapping_sub(1);
                known = Self::place_of(self.frames.get(..rest));
            }
            met = known == (at.stack, at.address);
            if met {
                break;
            }
            let Some((caller, link)) = walk.quick_step(at) else { break };
            let Some(place) = self.fresh.get_mut(*fresh) else { break };
            *place = Frame { address: at.address, stack: at.stack, frame: at.frame, link };
            *fresh = fresh.wrapping_add(1);
            sum = sum.wrapping_add(weighed(count, at.address));
            count = count.wrapping_add(1);
            at = caller;
        }
        *now = Progress { count, rest, sum, at, ..*now };
        met
    }

    /// Where the last of these stands: rsp and the place in the code. Above all, when there is none.
    #[inline]
    fn place_of(frames: Option<&[Frame]>) -> (u64, u64) {
        frames.and_then(<[Frame]>::last).map_or((u64::MAX, 0), |frame| (frame.stack, frame.address))
    }

    /// Puts the fresh frames on those that were there before.
    #[inline]
    fn settle(&mut self, now: &Progress, fresh: usize) {
        let rest = if now.rest.wrapping_add(fresh) > FRAMES { 0 } else { now.rest };
        let places = self.frames.get_mut(rest..).unwrap_or_default();
        let from = self.fresh.get(..fresh).unwrap_or(&[]);
        for (place, frame) in places.iter_mut().zip(from.iter().rev()) {
            *place = *frame;
        }
        self.count = if now.nowhere { 0 } else { rest.wrapping_add(fresh) as u64 };
    }

    /// From the last frame below `rest` on: counts frames as long as their links lead to where the next one stands; how many. They stay
    /// below `rest`.
    #[inline]
    fn follow(&mut self, now: &mut Progress, limit: usize) -> usize {
        let Progress { count, mut sum, mut at, .. } = *now;
        let mut counted = false;
        let mut followed = 0usize;
        let known = self.frames.get_mut(..now.rest).unwrap_or_default();
        let odd = ODD.get(count..limit).unwrap_or(&[]);
        for (known, odd) in known.iter_mut().rev().zip(odd) {
            if !known.stands_at(at) {
                break;
            }
            if known.frame != at.frame {
                known.frame = at.frame;
                if known.link.by_frame {
                    known.link = Link::NONE;
                }
            }
            sum = sum.wrapping_add(known.address.wrapping_mul(*odd));
            followed = followed.wrapping_add(1);
            let Link { return_at, frame_at, .. } = known.link;
            if return_at == 0 {
                counted = true;
                at.address = known.address;
                break;
            }
            at.stack = return_at.wrapping_add(8);
            // SAFETY: a walk read this word when the stack had the bounds it has now (I1: version); it lies at or above its frame
            // (`Walk::link`), which this walk came to from below. Aligned, as all words that walks read.
            at.address = unsafe { (return_at as *const u64).read() };
            at.frame = match frame_at {
                0 => at.frame,
                Link::LOST => 0,
                // SAFETY: as above.
                place => unsafe { (place as *const u64).read() },
            };
        }
        *now = Progress { count: count.wrapping_add(followed), sum, at, counted, ..*now };
        followed
    }

    /// Counts the frame that the walk has come to, which steps by `link`.
    #[inline]
    fn push(&mut self, now: &mut Progress, fresh: &mut usize, link: Link) {
        let Cursor { address, stack, frame } = now.at;
        if let Some(place) = self.fresh.get_mut(*fresh) {
            *place = Frame { address, stack, frame, link };
        }
        *fresh = fresh.wrapping_add(1);
        now.sum = now.sum.wrapping_add(weighed(now.count, address));
        now.count = now.count.wrapping_add(1);
    }

    /// One frame on, by rules looked up. False: the walk has ended.
    #[inline(never)]
    fn step_slowly(&mut self, walk: &mut Walk<'_>, now: &mut Progress, fresh: &mut usize) -> bool {
        let rule = if now.counted {
            walk.enter(now.at, false)
        } else {
            let Some((here, ours)) = walk.past_stub(now.at) else { return false };
            now.at = here;
            if ours {
                // What the frame before this one leads to is a frame of ours. This one may have been there last time.
                self.link(*fresh, Link::NONE);
                return true;
            }
            let rule = walk.enter(here, now.count == 0);
            if rule.is_none() {
                return false;
            }
            self.push(now, fresh, Link::NONE);
            now.counted = true;
            rule
        };
        let Some((rule, goes_on)) = rule else { return false };
        if !goes_on {
            // Where it comes first a frame counts wherever it is, and nowhere else.
            now.nowhere = now.count == 1;
            return false;
        }
        let Some((caller, link)) = walk.step(now.at, rule) else {
            now.outermost = rule == Rule::END;
            return false;
        };
        self.link(*fresh, link);
        now.at = caller;
        now.counted = false;
        true
    }

    /// The last of the fresh frames steps by `link`.
    #[inline]
    fn link(&mut self, fresh: usize, link: Link) {
        if let Some(frame) = self.fresh.get_mut(fresh.wrapping_sub(1)) {
            frame.link = link;
        }
    }

    /// The frames of the last walk, innermost first.
    #[inline]
    fn last(&self) -> impl Iterator<Item = &Frame> + Clone {
        self.frames.get(..self.count as usize).unwrap_or(&[]).iter().rev()
    }

    /// The steps between the first `count` frames of the last walk: how each was made, and where it led.
    #[inline]
    pub(crate) fn steps(&self, count: usize) -> impl Iterator<Item = (Link, Cursor)> + '_ {
        let callers = self.last().take(count).skip(1);
        self.last().zip(callers).map(|(frame, &Frame { address, stack, frame: rbp, .. })| {
            (frame.link, Cursor { address, stack, frame: rbp })
        })
    }

    /// The first `count` addresses of the last walk.
    pub(crate) fn addresses(&self, count: usize, out: &mut [u64; FRAMES_MAX]) {
        for (to, frame) in out.iter_mut().zip(self.last()).take(count) {
            *to = frame.address;
        }
    }

    #[cfg(test)]
    pub(crate) const fn new() -> LastStack {
        const NOWHERE: Frame = Frame { address: 0, stack: 0, frame: 0, link: Link::NONE };
        LastStack { version: 0, count: 0, frames: [NOWHERE; FRAMES], fresh: [NOWHERE; FRAMES_MAX] }
    }

    /// Nothing is kept.
    pub(crate) fn forget(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::modules::{CodeModule, Modules, Row};
    use crate::sites::{CallFrame, CodeRanges, StubFrame};
    use crate::walk::{CachedRule, CachedRules, RULE_SLOTS, Rules, Walk, after};
    use arenascope_unwind::{Kind, Rule, SavedFrame, Table};
    extern crate std;
    use std::{collections::HashMap, vec::Vec};

    pub(crate) struct Random(pub(crate) u64);
    impl Random {
        pub(crate) fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }
    }

    pub(crate) const CODE: (u64, u64) = (0x10_0000, 0x10_4000);

    /// A module of 1024 places, each with a rule of its own.
    pub(crate) fn module(random: &mut Random) -> CodeModule {
        let starts: Vec<u32> = (0..1024u32).map(|place| place * 16).collect();
        let rules = starts.iter().map(|_| {
            let saved = [SavedFrame::Same, SavedFrame::Below(16), SavedFrame::Below(24), SavedFrame::Lost]
                [random.below(4) as usize];
            match random.below(10) {
                0..6 => Rule::new(Kind::Stack, 8 * (1 + random.below(6) as i64), saved),
                6..8 => Rule::new(Kind::Frame, 16, SavedFrame::Below(16)),
                8 => Rule::GAP,
                _ => Rule::UNKNOWN,
            }
        });
        let rules: Vec<u32> = rules.map(Rule::bits).collect();
        let words: &'static [u32] = Vec::leak(starts.iter().chain(&rules).copied().collect());
        let (starts, rules) = words.split_at(1024);
        CodeModule { start: CODE.0, end: CODE.1, table: Table::new(starts, rules) }
    }

    pub(crate) const NO_STUB: StubFrame =
        StubFrame { label: 0, distance: 0, label_with_arguments: 0, argument_bytes: 0 };

    fn walk<'a>(
        call: CallFrame,
        high: u64,
        modules: &'a Modules,
        code: &'a CodeRanges,
        cache: &'a mut CachedRules,
    ) -> Walk<'a> {
        Walk::new(call.stack_pointer, high, &NO_STUB, code, Rules { modules, cache })
    }

    #[test]
    fn a_walk_that_goes_on_where_the_last_one_was_finds_what_one_from_nothing_finds() {
        let mut random = Random(0x1234_5678_9abc_def1);
        let modules = Modules::new(Vec::leak((0..4).map(|_| Row::empty()).collect()));
        modules.set([module(&mut random)].into_iter());
        let mut stack: Vec<u64> = std::vec![0; 64];
        let base = stack.as_ptr() as u64;
        let word = |random: &mut Random| match random.below(8) {
            0..5 => CODE.0 + 1 + random.below(CODE.1 - CODE.0 - 1),
            5..7 => base + 8 * random.below(64),
            _ => random.below(1000),
        };
        for place in &mut stack {
            *place = word(&mut random);
        }
        let mut last = LastStack::new();
        let mut hashes: HashMap<Vec<u64>, u64> = HashMap::new();
        let mut calls: Vec<CallFrame> = Vec::new();
        let (mut deep, mut changed, mut spared, mut which) = (0, 0, 0, 0usize);
        for round in 0..200_000u64 {
            // Words change now and then, so that many stacks are the same as before and many differ in one word.
            if random.below(4) == 0 {
                stack[random.below(64) as usize] = word(&mut random);
                changed += 1;
            }
            if calls.len() < 24 || random.below(500) == 0 {
                let call = CallFrame {
                    return_address: CODE.0 + 1 + random.below(CODE.1 - CODE.0 - 1),
                    stack_pointer: base + 8 * random.below(24),
                    frame_pointer: word(&mut random),
                };
                let at = round as usize % 24;
                if at < calls.len() { calls[at] = call } else { calls.push(call) }
            }
            // Mostly from where the last one came.
            which = if random.below(3) == 0 { random.below(calls.len() as u64) as usize } else { which % calls.len() };
            let call = calls[which];
            // Other bounds, or other modules, now and then.
            let version = 1 + round / 1000;
            let limit = 1 + random.below(10) as usize;
            let code = CodeRanges::new();
            // What is on the stack now, seen through the same pointer as the walk's.
            std::hint::black_box(&mut stack);
            let mut out = [0u64; FRAMES_MAX];
            let count = walk(call, base + 64 * 8, &modules, &code, &mut [CachedRule::EMPTY; RULE_SLOTS]).run(
                after(call),
                limit,
                &mut out,
            );
            let mut cache = [CachedRule::EMPTY; RULE_SLOTS];
            let Found { count: found, hash, .. } =
                last.walk(&mut walk(call, base + 64 * 8, &modules, &code, &mut cache), after(call), version, limit);
            let mut again = [0u64; FRAMES_MAX];
            last.addresses(found, &mut again);
            assert_eq!(again[..found], out[..count], "round {round}: {call:x?}, limit {limit}");
            assert_eq!(*hashes.entry(out[..count].to_vec()).or_insert(hash), hash);
            deep += usize::from(count >= 4);
            // Places whose rules were asked for: at least one for each step that was not known.
            let asked = cache.iter().filter(|rule| !rule.is_empty()).count();
            spared += usize::from(asked + 2 <= count);
        }
        assert!(
            deep > 5_000 && changed > 40_000 && hashes.len() > 1000 && spared > 3_000,
            "{deep} {changed} {} {spared}",
            hashes.len()
        );
        let different: std::collections::HashSet<&u64> = hashes.values().collect();
        assert_eq!(different.len(), hashes.len(), "a hash of its own for each backtrace");
    }
}
