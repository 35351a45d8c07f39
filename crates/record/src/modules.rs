//! Which modules hold code, and the rules by which their frames are unwound.
//!
//! Told by whoever parsed the modules: at the start, and after each dlopen anew, all of them. Relied on: looking up takes no lock, and
//! tables are never unmapped, so a walk in one thread is safe while another one loads or closes a library; a look-up that falls into
//! such a change finds nothing and says that it is not to be kept. Deliberately absent: files, and the modules' own sections, which
//! vanish under dlclose.
#![allow(unsafe_code, reason = "reads tables that lie in mappings told of by address")]

use crate::reserve::Zeroed;
use arenascope_unwind::{Rule, Table};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

/// Modules with rules; of more, frames are followed by frame pointers.
pub const MODULES: usize = 1024;

/// One module's code and its rules, for [`Recorder::modules`](crate::Recorder::modules).
#[derive(Clone, Copy, Debug)]
pub struct CodeModule {
    /// First byte of code.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Its rules; empty when nothing is known of them.
    pub table: Table<'static>,
}

/// What is known of a place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub rule: Rule,
    /// It lies in the code of a module.
    pub inside: bool,
    /// False: the modules were changing meanwhile.
    pub certain: bool,
}

/// A row: `start..end`, and where the table's `count` places lie; its rules follow them.
pub(crate) struct Row {
    start: AtomicU64,
    end: AtomicU64,
    words: AtomicU64,
    count: AtomicU64,
}

// SAFETY: atomic integers, of which zeros are one value as any other.
unsafe impl Zeroed for Row {}

/// The modules, sorted by address.
///
/// # Invariants
/// I1: while `sequence` is even, rows below `count` are as `set` wrote them: sorted, and `words` of a row leads to two slices of
/// `count` words, which stay readable and unchanged for the life of the process (`CodeModule::table` is `'static`).
pub(crate) struct Modules {
    /// Even: at rest. Never 0.
    sequence: AtomicU32,
    count: AtomicU32,
    rows: &'static [Row],
}

impl Modules {
    /// None yet, in zeroed rows.
    pub(crate) const fn new(rows: &'static [Row]) -> Modules {
        Modules { sequence: AtomicU32::new(2), count: AtomicU32::new(0), rows }
    }

    /// Changes whenever a place may have another rule than before.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.sequence.load(Relaxed)
    }

    /// True when nobody told of any.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// What was kept of look-ups is to be forgotten.
    pub(crate) fn changed(&self) {
        self.sequence.fetch_add(2, Relaxed);
    }

    /// In a forked child: a change that another thread of the parent was making will not be finished.
    pub(crate) fn renew(&self) {
        if self.sequence.load(Relaxed) & 1 == 1 {
            self.count.store(0, Relaxed);
            self.sequence.fetch_add(1, Relaxed);
        }
    }

    /// From now on the modules are these, in ascending order; one that is not is left out, as are those past [`MODULES`]. One thread
    /// at a time: another that comes meanwhile changes nothing.
    pub(crate) fn set(&self, modules: impl Iterator<Item = CodeModule>) {
        let before = self.sequence.load(Relaxed);
        if before & 1 == 1 || self.sequence.compare_exchange(before, before.wrapping_add(1), Acquire, Relaxed).is_err()
        {
            return;
        }
        // A reader that sees any store below sees the odd sequence too.
        fence(Release);
        let mut rows = self.rows.iter();
        let mut count = 0u32;
        let mut last = 0u64;
        for module in modules {
            if module.start < last || module.end <= module.start {
                continue;
            }
            let Some(row) = rows.next() else { break };
            last = module.end;
            row.start.store(module.start, Relaxed);
            row.end.store(module.end, Relaxed);
            let (starts, rules) = module.table.parts();
            let joined = starts.as_ptr_range().end == rules.as_ptr() && starts.len() == rules.len();
            row.words.store(if joined { starts.as_ptr() as u64 } else { 0 }, Relaxed);
            row.count.store(if joined { starts.len() as u64 } else { 0 }, Relaxed);
            count = count.wrapping_add(1);
        }
        self.count.store(count, Relaxed);
        // Release: pairs with the Acquire in `look`.
        self.sequence.store(before.wrapping_add(2).max(2), Release);
    }

    /// What is known of `place`. O(log modules + log rules).
    #[inline(never)]
    pub(crate) fn look(&self, place: u64) -> Look {
        const NOTHING: Look = Look { rule: Rule::UNKNOWN, inside: false, certain: false };
        let before = self.sequence.load(Acquire);
        let rows = self.rows.get(..self.count.load(Relaxed) as usize).unwrap_or(&[]);
        let after = rows.partition_point(|row| row.start.load(Relaxed) <= place);
        let found = after.checked_sub(1).and_then(|index| rows.get(index)).map(|row| {
            let [start, end, words, count] =
                [&row.start, &row.end, &row.words, &row.count].map(|word| word.load(Relaxed));
            (start, end, words, count)
        });
        fence(Acquire);
        if before & 1 == 1 || self.sequence.load(Relaxed) != before {
            return NOTHING;
        }
        let Some((start, _, words, count)) = found.filter(|(_, end, ..)| place < *end) else {
            return Look { rule: Rule::UNKNOWN, inside: false, certain: true };
        };
        if count == 0 {
            return Look { rule: Rule::GAP, inside: true, certain: true };
        }
        let count = count as usize;
        // SAFETY: the sequence was even and the same before and after: I1.
        let starts = unsafe { core::slice::from_raw_parts(words as *const u32, count) };
        // SAFETY: as above; the rules follow the places.
        let rules = unsafe { core::slice::from_raw_parts((words as *const u32).add(count), count) };
        Look { rule: Table::new(starts, rules).rule(place.wrapping_sub(start)), inside: true, certain: true }
    }
}

#[cfg(test)]
impl Row {
    /// One that was never written.
    pub(crate) fn empty() -> Row {
        Row { start: AtomicU64::new(0), end: AtomicU64::new(0), words: AtomicU64::new(0), count: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use arenascope_unwind::{Kind, SavedFrame};
    use std::{boxed::Box, vec, vec::Vec};

    fn rows() -> &'static [Row] {
        Vec::leak((0..MODULES).map(|_| Row::empty()).collect())
    }

    fn module(start: u64, end: u64, rules: &[(u32, Rule)]) -> CodeModule {
        let mut words: Vec<u32> = rules.iter().map(|(at, _)| *at).collect();
        words.extend(rules.iter().map(|(_, rule)| rule.bits()));
        let words: &'static [u32] = Box::leak(words.into_boxed_slice());
        let (starts, bits) = words.split_at(rules.len());
        CodeModule { start, end, table: Table::new(starts, bits) }
    }

    fn rule(offset: i64) -> Rule {
        Rule::new(Kind::Stack, offset, SavedFrame::Same)
    }

    #[test]
    fn a_place_is_looked_up_in_its_module_and_nowhere_else() {
        let modules = Modules::new(rows());
        assert!(modules.is_empty() && modules.look(0x1000).certain);
        let list = vec![module(0x1000, 0x2000, &[(0, rule(8)), (0x10, rule(16))]), module(0x3000, 0x4000, &[])];
        modules.set(list.into_iter());
        let looked = |place| {
            let look = modules.look(place);
            assert!(look.certain);
            (look.rule, look.inside)
        };
        assert_eq!(looked(0xfff), (Rule::UNKNOWN, false));
        assert_eq!(looked(0x1000), (rule(8), true));
        assert_eq!(looked(0x1fff), (rule(16), true));
        assert_eq!(looked(0x2000), (Rule::UNKNOWN, false));
        assert_eq!(looked(0x3000), (Rule::GAP, true), "a module without rules");
        // Another library where one was closed.
        let before = modules.generation();
        modules.set(vec![module(0x1000, 0x1800, &[(0, rule(24))])].into_iter());
        assert_ne!(modules.generation(), before);
        assert_eq!(
            (looked(0x1400), looked(0x1900), looked(0x3000)),
            ((rule(24), true), (Rule::UNKNOWN, false), (Rule::UNKNOWN, false))
        );
    }

    #[test]
    fn overlapping_and_surplus_modules_are_left_out() {
        let modules = Modules::new(rows());
        modules.set((0..2000u64).map(|n| module(n * 16, n * 16 + 24, &[(0, rule(8))])));
        let inside = (0..2000u64).filter(|n| modules.look(n * 16).inside).count();
        assert!(inside > MODULES / 2, "{inside}");
    }

    #[test]
    fn threads_never_see_one_module_with_the_rules_of_another() {
        let modules: &'static Modules = Box::leak(Box::new(Modules::new(rows())));
        // In state n the module at 0x1000 has n as its offset, and as many more modules lie before it.
        let state = |n: u64| {
            let before: Vec<CodeModule> =
                (0..n).map(|i| module(0x100 + i * 2, 0x101 + i * 2, &[(0, rule(8 * 77))])).collect();
            before
                .into_iter()
                .chain([module(0x1000 * n, 0x1000 * n + 0x800, &[(0, rule(8 * n as i64))])])
                .collect::<Vec<_>>()
        };
        let states: Vec<Vec<CodeModule>> = (1..5).map(state).collect();
        modules.set(states[0].iter().copied());
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let mut seen = 0u64;
                        while !stop.load(Relaxed) {
                            for n in 1..5u64 {
                                let look = modules.look(0x1000 * n + 5);
                                if look.certain && look.inside {
                                    assert_eq!(look.rule, rule(8 * n as i64));
                                    seen += 1;
                                }
                            }
                        }
                        seen
                    })
                })
                .collect();
            for round in 0..20_000usize {
                modules.set(states[round % 4].iter().copied());
                if round % 64 == 0 {
                    std::thread::yield_now();
                }
            }
            // At rest at least once, or a reader may never have found anything.
            std::thread::sleep(std::time::Duration::from_millis(20));
            stop.store(true, Relaxed);
            let seen: Vec<u64> = readers.into_iter().map(|reader| reader.join().expect("no wrong rule")).collect();
            assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        });
    }
}
