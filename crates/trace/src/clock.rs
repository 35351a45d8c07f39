//! From ticks of the time stamp counter to nanoseconds since the start.
//!
//! Linear between two moments at which both clocks were read. Which two: the start, and the latest other moment that
//! is believable. Knows nothing of where the pairs come from.

use crate::layout::ClockPair;
use crate::predict::TICK_SHIFT;

/// Bits behind the point of the rate.
const RATE_SHIFT: u32 = 40;

/// Counters run at 1 MHz to 100 GHz; a pair that says otherwise is damaged.
const SLOWEST_PER_MS: u64 = 1_000;
const FASTEST_PER_MS: u64 = 100_000_000;

/// A rate and an origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start_tsc: u64,
    /// Nanoseconds per tick, times 2^40.
    rate: u64,
    /// False when no second moment was known, and a tick was taken for a nanosecond.
    pub known: bool,
}

impl Clock {
    /// `later`: pairs from the most to the least trusted. The first that is believable decides.
    pub(crate) fn new(start: ClockPair, later: impl IntoIterator<Item = ClockPair>) -> Clock {
        let rate = later.into_iter().find_map(|pair| rate(start, pair));
        Clock { start_tsc: start.tsc, rate: rate.unwrap_or(1 << RATE_SHIFT), known: rate.is_some() }
    }

    /// Nanoseconds from the start to `ticks` units of 16 counter ticks; 0 before the start; saturates.
    #[inline]
    pub(crate) fn since_start(&self, ticks: u64) -> u64 {
        let passed = (u128::from(ticks) << TICK_SHIFT).saturating_sub(u128::from(self.start_tsc));
        let Ok(passed) = u64::try_from(passed) else { return u64::MAX };
        u64::try_from((u128::from(passed) * u128::from(self.rate)) >> RATE_SHIFT).unwrap_or(u64::MAX)
    }
}

fn rate(start: ClockPair, later: ClockPair) -> Option<u64> {
    if start.ns == 0 || later.ns == 0 {
        return None;
    }
    let ticks = later.tsc.checked_sub(start.tsc).filter(|&ticks| ticks > 0)?;
    let ns = later.ns.checked_sub(start.ns).filter(|&ns| ns > 0)?;
    let per_ms = u128::from(ticks) * 1_000_000 / u128::from(ns);
    if per_ms < u128::from(SLOWEST_PER_MS) || per_ms > u128::from(FASTEST_PER_MS) {
        return None;
    }
    u64::try_from((u128::from(ns) << RATE_SHIFT) / u128::from(ticks)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_gigahertz_for_an_hour() {
        let start = ClockPair { tsc: 1_000, ns: 50 };
        let hour_ns = 3_600_000_000_000;
        let clock = Clock::new(start, [ClockPair { tsc: 1_000 + 3 * hour_ns, ns: 50 + hour_ns }]);
        assert!(clock.known);
        let at = clock.since_start((1_000 + 3 * hour_ns) >> TICK_SHIFT);
        assert!(at.abs_diff(hour_ns) < 50, "{at}");
        assert_eq!(clock.since_start(0), 0, "before the start");
    }

    #[test]
    fn pairs_that_cannot_be_are_passed_over() {
        let start = ClockPair { tsc: 1_000, ns: 1_000 };
        let good = ClockPair { tsc: 21_000, ns: 11_000 };
        for bad in [
            ClockPair::default(),
            ClockPair { tsc: 999, ns: 2_000 },
            ClockPair { tsc: 2_000, ns: 999 },
            ClockPair { tsc: u64::MAX, ns: 1_001 },
            ClockPair { tsc: 1_001, ns: u64::MAX },
        ] {
            let clock = Clock::new(start, [bad, good]);
            assert_eq!(clock.since_start(21_000 >> TICK_SHIFT), 9_996, "{bad:?}");
            assert!(!Clock::new(start, [bad]).known, "{bad:?}");
        }
    }
}
