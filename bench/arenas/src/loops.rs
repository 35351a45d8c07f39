//! The work: one file per kind of row, each loop generic over the contender and never inlined.
//!
//! A loop takes how many units to do and returns the time it took; preparation is outside the time. Doing twice the units
//! is twice the work and the same preparation, so that instruction counts of two runs give the cost of a unit.

pub mod cold;
pub mod cycle;
pub mod json;
pub mod many;
pub mod scope;
pub mod shared;
pub mod text;
pub mod trees;
pub mod vectors;
pub mod warm;

/// What one run of a loop took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// The row's work. In rows that count something else than time (`many`): what they count.
    pub ns: f64,
    /// A second thing measured in the same run (the drop of what was filled); 0 where there is none.
    pub second_ns: f64,
}

/// A loop, compiled for one contender.
pub type Loop = fn(units: u64) -> Took;

/// Times `work`.
pub fn timed(work: impl FnOnce()) -> f64 {
    let start = std::time::Instant::now();
    work();
    start.elapsed().as_nanos() as f64
}

/// The generator of all inputs: xorshift64*, so that every run and every machine sees the same.
pub struct Random(u64);

impl Random {
    /// From a seed that is not 0.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((self.bits() >> 32) * bound) >> 32
    }
}
