//! What samples stand for: estimates of all that was allocated, with their errors.
//!
//! May be relied on: each sample stands for 1/p of its kind, p the probability that it was recorded (Horvitz and Thompson, 1952), so
//! that sums over samples are right in the mean whatever the sizes; the error beside each is the square root of the estimator's own
//! variance, Σ x²(1 − p)/p². Absent: how samples are taken (docs/sampling.md).

use crate::place::FileNames;
use crate::quantity;
use crate::style::{Style, wrap};
use crate::view::Site;
use std::fmt::{self, Write};
use std::sync::Arc;

/// Estimates of bytes and blocks.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Estimate {
    /// Samples that they rest on.
    pub samples: u64,
    /// Bytes.
    pub bytes: f64,
    /// Allocations; a block that grew counts once more.
    pub blocks: f64,
    /// Variance of `bytes`.
    pub bytes_variance: f64,
    /// Variance of `blocks`.
    pub blocks_variance: f64,
}

impl Eq for Estimate {}

/// How likely a block of `size` bytes was recorded where one in `mean` bytes is.
pub fn probability(size: u64, mean: u64) -> f64 {
    if size >= mean { 1.0 } else { -(-(size as f64) / mean as f64).exp_m1() }
}

impl Estimate {
    /// A sample of `size` bytes, where one in `mean` bytes is recorded.
    pub fn add(&mut self, size: u64, mean: u64) {
        let p = probability(size, mean);
        // A block of no bytes is never a sample: what says so is damaged.
        if p > 0.0 {
            let size = size as f64;
            self.samples += 1;
            self.bytes += size / p;
            self.blocks += 1.0 / p;
            self.bytes_variance += size * size * (1.0 - p) / (p * p);
            self.blocks_variance += (1.0 - p) / (p * p);
        }
    }

    /// Adds what other samples stand for.
    pub fn join(&mut self, other: &Estimate) {
        self.samples += other.samples;
        self.bytes += other.bytes;
        self.blocks += other.blocks;
        self.bytes_variance += other.bytes_variance;
        self.blocks_variance += other.blocks_variance;
    }

    /// Standard error of `bytes`.
    pub fn bytes_error(&self) -> f64 {
        self.bytes_variance.sqrt()
    }

    /// Standard error of `blocks`.
    pub fn blocks_error(&self) -> f64 {
        self.blocks_variance.sqrt()
    }
}

/// What the samples of one arena stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ArenaSampled {
    /// All that it handed out up to the moment.
    pub allocated: Estimate,
    /// What lives of it.
    pub living: Estimate,
}

/// What all samples of a process stand for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Sampled {
    /// Mean distance of samples in bytes.
    pub mean: u64,
    /// All that was handed out up to the moment.
    pub allocated: Estimate,
    /// What lives of it.
    pub living: Estimate,
    /// By place, the most bytes first.
    pub places: Vec<(Option<Arc<Site>>, Estimate)>,
    /// Rules that were not asked.
    pub unasked_rules: u64,
}

/// Places told on a screen.
const MOST_PLACES: usize = 8;

/// Bytes to the nearest whole one; estimates are no finer.
fn rounded(value: f64) -> u64 {
    // From a float out of range `as` gives the nearest number there is.
    value.round() as u64
}

fn plus_minus(style: &Style) -> &'static str {
    if style.plain { "+-" } else { "±" }
}

/// `12.3 MiB ± 0.8 MiB`; a sum that rests on nothing but certain samples is exact.
pub fn bytes(estimate: &Estimate, style: &Style) -> String {
    let value = quantity::bytes(rounded(estimate.bytes));
    match rounded(estimate.bytes_error()) {
        0 => value,
        error => format!("{value} {} {}", plus_minus(style), quantity::bytes(error)),
    }
}

/// `45,100 ± 3,000 blocks`.
pub fn blocks(estimate: &Estimate, style: &Style) -> String {
    match rounded(estimate.blocks_error()) {
        0 => quantity::counted(rounded(estimate.blocks), "block"),
        error => format!(
            "{} {} {} blocks",
            quantity::count(rounded(estimate.blocks)),
            plus_minus(style),
            quantity::count(error)
        ),
    }
}

/// Bytes and blocks. Where there is no sample, the most that there may be: with three times the mean distance one run in twenty has none.
fn figures(estimate: &Estimate, mean: u64, style: &Style) -> String {
    if estimate.samples == 0 {
        return format!("no sample, so hardly more than {}", quantity::bytes(mean.saturating_mul(3)));
    }
    format!("{} in {}", bytes(estimate, style), blocks(estimate, style))
}

/// What the first screen and `show` say of a sampled run, before its arenas.
pub fn write(out: &mut dyn Write, sampled: &Sampled, names: &FileNames, style: &Style) -> fmt::Result {
    let told = [
        (
            "sampled",
            format!(
                "one allocation in {} or so; figures are estimates, each with its standard error",
                quantity::bytes(sampled.mean)
            ),
        ),
        (
            "allocated",
            format!(
                "{}, by {}",
                figures(&sampled.allocated, sampled.mean, style),
                quantity::counted(sampled.allocated.samples, "sample")
            ),
        ),
        ("living", figures(&sampled.living, sampled.mean, style)),
    ];
    for (word, text) in told {
        line(out, word, &text, style)?;
    }
    for (site, estimate) in sampled.places.iter().take(MOST_PLACES) {
        let place = site.as_ref().map_or_else(|| "unknown place".to_owned(), |site| names.site_line(site, style));
        writeln!(out, "  {:<24} {place}", bytes(estimate, style))?;
    }
    let more = sampled.places.len().saturating_sub(MOST_PLACES);
    if more > 0 {
        writeln!(out, "  {} and {} more", style.ellipsis(), quantity::counted(more as u64, "place"))?;
    }
    Ok(())
}

/// That rules were silent.
pub fn silence(out: &mut dyn Write, sampled: &Sampled, style: &Style) -> fmt::Result {
    let rules = quantity::counted(sampled.unasked_rules, "rule");
    let verb = if sampled.unasked_rules == 1 { "needs" } else { "need" };
    let were = if sampled.unasked_rules == 1 { "was" } else { "were" };
    line(out, "rules", &format!("{rules} {verb} every event and {were} not asked"), style)
}

fn line(out: &mut dyn Write, word: &str, text: &str, style: &Style) -> fmt::Result {
    for (index, part) in wrap(text, style.columns().saturating_sub(11)).iter().enumerate() {
        let word = if index == 0 { style.bold(&format!("{word:<9}")) } else { " ".repeat(9) };
        writeln!(out, "{word}  {}", part.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_stands_for_the_inverse_of_its_probability() {
        let mut estimate = Estimate::default();
        estimate.add(512 << 10, 512 << 10);
        estimate.add(1 << 30, 512 << 10);
        assert_eq!((estimate.blocks, estimate.bytes_error(), estimate.samples), (2.0, 0.0, 2));
        // Small ones: one in mean / size of them, so that each stands for about `mean` bytes.
        let mut small = Estimate::default();
        small.add(16, 512 << 10);
        assert!((small.bytes / (512.0 * 1024.0) - 1.0).abs() < 1e-4, "{small:?}");
        assert!(
            (small.bytes_error() / small.bytes - 1.0).abs() < 1e-4,
            "one sample is one, give or take one: {small:?}"
        );
        small.add(0, 512 << 10);
        assert_eq!(small.samples, 1);
    }

    /// Each sample of a random program drawn by its own probability: the sums are right in the mean, and the interval of two
    /// errors holds the truth as often as it should.
    #[test]
    fn estimates_are_unbiased_and_know_their_error() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        let (mean, runs) = (4096u64, 2000);
        let sizes: Vec<u64> = (0..3000).map(|i| if i % 97 == 0 { 9000 } else { 8 + i * 37 % 700 }).collect();
        let (bytes, blocks) = (sizes.iter().sum::<u64>() as f64, sizes.len() as f64);
        let (mut bytes_off, mut blocks_off, mut bytes_held, mut blocks_held) = (0.0, 0.0, 0, 0);
        for _ in 0..runs {
            let mut estimate = Estimate::default();
            for &size in &sizes {
                if random() < probability(size, mean) {
                    estimate.add(size, mean);
                }
            }
            bytes_off += estimate.bytes - bytes;
            blocks_off += estimate.blocks - blocks;
            bytes_held += u32::from((estimate.bytes - bytes).abs() < 1.96 * estimate.bytes_error());
            blocks_held += u32::from((estimate.blocks - blocks).abs() < 1.96 * estimate.blocks_error());
        }
        assert!((bytes_off / f64::from(runs) / bytes).abs() < 0.005, "{}", bytes_off / f64::from(runs));
        assert!((blocks_off / f64::from(runs) / blocks).abs() < 0.01, "{}", blocks_off / f64::from(runs));
        for held in [bytes_held, blocks_held] {
            let share = f64::from(held) / f64::from(runs);
            assert!((0.92..=0.975).contains(&share), "{share}");
        }
    }
}
