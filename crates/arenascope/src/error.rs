//! What can go wrong, for the caller to branch on.
//!
//! After any of these the arena is as it was before the call. Deliberately absent: text beyond one line; the panicking
//! calls add the arena's name and numbers.
#![forbid(unsafe_code)]

use core::fmt;

/// Why an arena could not be made or a block not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The block does not fit into what is left of the capacity.
    Full,
    /// As `Full`, of a shared arena: other threads (or processes) hold leases, or left some, that have room for the block, which is theirs.
    LeasesHeld,
    /// The request exceeds what an address space can hold: more than `isize::MAX` bytes with its alignment.
    TooLarge,
    /// The memory source refused; the operating system's error number (12, out of memory, where there is none).
    Os(i32),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Full => f.write_str("out of memory: the block does not fit into what is left of the capacity"),
            Error::LeasesHeld => {
                f.write_str("out of memory: the block would fit only into what others have leased and not used yet")
            }
            Error::TooLarge => f.write_str("the request exceeds what an address space can hold"),
            Error::Os(number) => write!(f, "the memory source refused (error number {number})"),
        }
    }
}

impl core::error::Error for Error {}

/// Why a checkpoint could not be rewound to. The arena is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RewindError {
    /// The checkpoint was taken from another arena.
    Foreign,
    /// The arena was reset, rewound to before the checkpoint, or the scope it was taken in has ended.
    Stale,
    /// The checkpoint belongs to an outer scope: the inner one has to end first.
    OutOfOrder,
}

impl fmt::Display for RewindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RewindError::Foreign => "the checkpoint was taken from another arena",
            RewindError::Stale => "the checkpoint is stale: the arena was rewound or reset to before it",
            RewindError::OutOfOrder => "the checkpoint belongs to an outer scope, and an inner one is still open",
        })
    }
}

impl core::error::Error for RewindError {}
