//! Newtypes for every id and unit that crosses a border between crates.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);
    };
}

id!(
    /// An address in the traced process.
    Address(u64)
);
id!(
    /// The recorder's key of an arena: one per *address of the arena object* (or one for the global arena of
    /// functions that take no arena argument). A key outlives the arena: when an arena is destroyed and another is
    /// made at the same address, both have the same key, and replay tells them apart. Dense, from 0.
    ArenaKey(u32)
);
id!(
    /// An interned backtrace within one trace. Dense, from 0.
    SiteId(u32)
);
id!(
    /// A thread of the traced process, numbered in order of first sight. The first thread is 1.
    ThreadNumber(u32)
);
id!(
    /// Position of an event in the merged order of its trace: the `#N` a user types. The first event is 1.
    EventNumber(u64)
);
id!(
    /// Captured bytes within one trace.
    BlobId(u32)
);

impl Address {
    /// The null address.
    pub const NULL: Address = Address(0);

    /// True for address 0.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }

    /// `self + bytes`, saturating at the end of the address space.
    pub fn plus(self, bytes: u64) -> Address {
        Address(self.0.saturating_add(bytes))
    }
}

impl fmt::LowerHex for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}
