//! Assertions for unit tests on what arenas did: how many blocks, how many bytes at once, what is still alive, and no findings.
//!
//! ```
//! let watch = arenascope_test::watch("parser");
//! let mut arena = arenascope::Arena::growing().expect("an arena");
//! arena.alloc_str("one");
//! arena.scope(|scope| {
//!     scope.alloc([0u8; 100]);
//! });
//! watch.assert_allocations(2);
//! watch.assert_live_bytes(3);
//! watch.assert_peak_at_most(128);
//! watch.assert_no_findings();
//! ```
//!
//! A watch covers the thread that makes it, each thread that [enters](Watch::enter) it, and arenas that were created in it wherever they
//! go. What other tests do at the same time is not counted. An assertion that fails leaves a trace of the watch's own events under
//! `target/arenascope` (or the folder for temporary files) and prints the command that opens it.
//!
//! Relied on: counts are exact; release builds and other features of the library count alike. Until the last watch has ended, every arena
//! of the process reports each call; then watching costs nothing. Deliberately absent: arenas of other makes, which `arenascope run` sees;
//! check mode, which needs it too: findings are those of recorded events (blocks freed twice, through another arena,
//! or after their arena; scopes and rewinds that do not nest; blocks that overlap).
//!
//! A burst that is open when a watch begins is seen from its next lease on. The handle of a shared arena takes its blocks along when it ends:
//! they count as alive until then.
#![forbid(unsafe_code)]

mod covering;
mod folder;
mod report;
mod tape;

pub use covering::{Entered, Watch, scope, watch};
pub use report::{Finding, Report};
