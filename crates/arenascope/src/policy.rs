//! The choices that a program can make about an arena's memory, by name, with what each costs.
//!
//! Plain values, no behaviour. What the defaults save beside the others is measured: `docs/performance.md`.
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
    /// Huge pages from the first byte on: creation takes the first one.
    Always,
}

/// When the system is asked for pages (Linux 5.14 and later; before that they come when touched, whatever is said here).
///
/// A page that is touched before it is there costs a fault, about a microsecond; asked for in a row they cost a part of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Populate {
    /// Each step of [`CommitAhead`] at once, before it is used. Arenas up to 64 KiB, which have no steps, take pages as they are touched.
    #[default]
    Auto,
    /// One by one, when touched: no page that is not used is ever taken.
    Never,
    /// All of a bounded arena's capacity when it is created, so that no block costs a fault or is refused for want of memory later.
    /// Creation then takes as long as filling the arena's pages with zeroes, O(capacity), and is what is refused. A growing arena, whose
    /// end nobody knows, does as `Auto`. After a reset that gives pages back they come as in `Auto`.
    Always,
}

/// True is [`Populate::Auto`], false [`Populate::Never`].
impl From<bool> for Populate {
    fn from(ahead: bool) -> Populate {
        if ahead { Populate::Auto } else { Populate::Never }
    }
}

/// How much more than is needed is taken into use when an arena with a region of its own grows, in bytes.
///
/// A step costs a system call (or two) and the populating of its pages; what is taken ahead and never used is lost until the arena ends.
/// Behind the first huge page every step ends with a whole huge page, but the last one where less than half of it can be used. A region
/// that an ended arena left is in use as far as that arena has used it, and arenas up to 64 KiB are in use as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CommitAhead {
    /// Half of what is used already, 128 KiB at most, rounded up to 16 KiB.
    #[default]
    Auto,
    /// So many bytes, rounded up to whole pages. 0: nothing ahead.
    Bytes(usize),
}

impl From<usize> for CommitAhead {
    fn from(bytes: usize) -> CommitAhead {
        CommitAhead::Bytes(bytes)
    }
}

/// Where in its first page an arena begins.
///
/// Regions of arenas that are alike begin at equal distances, often a power of two, and what is written to equal offsets of them then falls
/// into the same few lines of the first-level cache: two streams that append to two such arenas were measured 24 times slower.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Colouring {
    /// Each region begins 640 bytes further into its page than the one before (29 places, a multiple of 128, up to 3,584 bytes). Costs
    /// that many bytes of addresses, and nothing else.
    #[default]
    Auto,
    /// Each begins with its page: for arenas whose blocks shall have the same place in a page. Such regions are not kept for other
    /// arenas, and small arenas, which otherwise lie in a row, get a mapping each: creating and destroying one costs system calls.
    Never,
}

/// What a reset does with memory that the arena has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnReset {
    /// Keeps all of it: the next round costs no page faults.
    #[default]
    Keep,
    /// Keeps the first so many bytes and gives the pages behind them back.
    KeepUpTo(usize),
    /// Gives all whole pages back. Arenas up to 64 KiB lie in a row and share their first and last page with their neighbours; those two
    /// stay, and so an arena below two pages or so gives nothing back.
    Release,
}

/// [`OnReset`] in one word, as headers keep it: the bytes kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct KeptBytes(pub(crate) usize);

impl KeptBytes {
    pub(crate) const ALL: KeptBytes = KeptBytes(usize::MAX);

    pub(crate) const fn of(on_reset: OnReset) -> KeptBytes {
        match on_reset {
            OnReset::Keep => KeptBytes::ALL,
            OnReset::KeepUpTo(bytes) => KeptBytes(bytes),
            OnReset::Release => KeptBytes(0),
        }
    }
}
