//! The choices that a program can make about an arena's memory, by name, with what each costs.
//!
//! Plain values, no behaviour.
#![forbid(unsafe_code)]

/// Huge pages (2 MiB on x86-64), where the system has them.
///
/// Filling cold memory is bound by page faults, and huge pages take a 512th of them: 3 to 4 times faster. The first touch of
/// a huge page zeroes all of it (about 100 µs), so a region's first 256 KiB use small pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HugePages {
    /// Small pages for the first 256 KiB, huge pages after them.
    #[default]
    Auto,
    /// Small pages only. Memory is taken in the amounts that are touched, for arenas that are many and half empty.
    Never,
    /// Huge pages from the first byte on.
    Always,
}

/// What a reset does with memory that the arena has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnReset {
    /// Keeps all of it: the next round costs no page faults.
    #[default]
    Keep,
    /// Keeps the first so many bytes and gives the pages behind them back.
    KeepUpTo(usize),
    /// Gives all whole pages back. An arena that is carved from a row of small ones keeps its memory: its pages are not its own.
    Release,
}
