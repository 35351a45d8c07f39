//! Reading what its owner may be changing: again and again, until two readings agree on what does not change.
//!
//! # Why two readings that agree are one state
//! A reading copies a header from its first byte to its last in no time of its own: fields may be of different moments. The first reading reads each field
//! at some moment a, the second at some moment b, all a before all b. A field that is the same in both and never takes a value twice (the
//! arena's number) was that value from a to b; so between the end of the first reading and the begin of the second it was one arena's header, and the
//! fields that agree are that arena's. What changes with every allocation (cursor, limit, counters) need not agree: each is a single word, read
//! whole, and is checked against the others in the second reading.
//! Deliberately absent: what the fields are.

use crate::memory::{Memory, Unread};

/// Readings before it is said that a header does not settle.
const ROUNDS: u32 = 48;

/// What came of it.
pub(crate) enum Settled<T> {
    /// Two readings agree, and the second is sound.
    Sound(T),
    /// Sound each time, and never twice the same.
    Restless(T),
    /// Two readings agree, and are not sound.
    Damaged(String),
    /// It is no header of this kind (any more).
    Ended,
    /// It cannot be read.
    Unread(Unread),
}

/// What one reading says.
pub(crate) enum Verdict<T> {
    /// Each number fits.
    Sound(T),
    /// One does not.
    Contradiction(String),
    /// Its magic word says that it is something else.
    Other,
}

impl<T> Verdict<T> {
    /// The same of another value.
    pub(crate) fn map<U>(self, of: impl FnOnce(T) -> U) -> Verdict<U> {
        match self {
            Verdict::Sound(value) => Verdict::Sound(of(value)),
            Verdict::Contradiction(why) => Verdict::Contradiction(why),
            Verdict::Other => Verdict::Other,
        }
    }
}

/// Reads `N` bytes at `at` until they settle. `judge` says what they are, `same` whether two readings agree on what does not change.
pub(crate) fn settle<T, const N: usize>(
    memory: &dyn Memory,
    at: u64,
    same: impl Fn(&[u8; N], &[u8; N]) -> bool,
    mut judge: impl FnMut(&[u8; N]) -> Verdict<T>,
) -> Settled<T> {
    let mut before: Option<[u8; N]> = None;
    let mut outcome = Settled::Ended;
    for round in 0..ROUNDS {
        let mut now = [0; N];
        if let Err(why) = memory.read(at, &mut now) {
            return Settled::Unread(why);
        }
        let agree = before.is_some_and(|before| same(&before, &now));
        match judge(&now) {
            Verdict::Sound(value) if agree => return Settled::Sound(value),
            Verdict::Sound(value) => outcome = Settled::Restless(value),
            Verdict::Other => return Settled::Ended,
            Verdict::Contradiction(why) if before == Some(now) => return Settled::Damaged(why),
            Verdict::Contradiction(why) => outcome = Settled::Damaged(format!("{why}; and it changes all the time")),
        }
        before = Some(now);
        if round > 0 {
            memory.pause(round);
        }
    }
    outcome
}

/// Whether two readings agree in these ranges of bytes.
pub(crate) fn agree<const N: usize>(a: &[u8; N], b: &[u8; N], ranges: &[(usize, usize)]) -> bool {
    ranges.iter().all(|&(from, to)| a.get(from..to) == b.get(from..to))
}
