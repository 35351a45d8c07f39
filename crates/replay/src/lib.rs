//! Events to state at any moment: which arenas lived, what they held, where their memory came from.
//!
//! Feed events in the order of the trace to [`Replay::apply`] and read [`Replay::state`] whenever you like;
//! [`Timeline`] finds the state at any earlier moment again without keeping all of them. Same events, same state.
//! Accepts any events, also senseless ones: what does not fit becomes an [`Anomaly`], never an error or a panic.
//! Knows nothing of files, clocks, threads, environment, randomness or text; draws no conclusion about bugs.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod anomaly;
mod arena;
mod blocks;
mod calls;
mod cursor;
mod effect;
mod malloc;
mod memory;
mod naming;
mod realloc;
mod regions;
mod replay;
mod state;
mod timeline;

pub use anomaly::{Anomalies, Anomaly, AnomalyKind};
pub use arena::{Arena, ArenaId, Born, Counts, Created, End, Ending, Extent, ExtentKind, Mark, Peak, Refusal};
pub use blocks::{Block, Death, How, Place};
pub use effect::{Died, Effect, What};
pub use naming::default_name;
pub use regions::{Region, RegionId, RegionKind};
pub use replay::Replay;
pub use state::{LastRefusal, ProcessEnd, State, Thread};
pub use timeline::{Limits, Timeline};
