//! `--narrate`: events in words while the program runs.
//!
//! Reads the trace file as it grows, a few dozen times a second; the target knows nothing of it.

use crate::mapped::Mapped;
use arenascope_event::ProcessFacts;
use arenascope_replay::Replay;
use arenascope_report::narrate::Narrator;
use arenascope_report::style::Style;
use arenascope_trace::Follower;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(20);

/// Tells the events of `trace` to `out` until `ended`, and then the rest.
pub fn narrate(trace: &PathBuf, style: Style, out: &mut dyn Write, ended: &AtomicBool) {
    let Ok(file) = File::open(trace) else { return };
    let Ok(bytes) = Mapped::new(&file) else { return };
    let facts = ProcessFacts::default();
    let cwd = crate::reading::current_directory();
    let mut narrator = Narrator::new(&facts, &cwd, style);
    let mut replay = Replay::new(&facts);
    let mut follower = Follower::new();
    loop {
        let last = ended.load(Relaxed);
        follower.update(&bytes);
        let mut text = String::new();
        while let Some(event) = if last { follower.next_at_end(&bytes) } else { follower.next(&bytes) } {
            let effect = replay.apply(&event);
            narrator.words(&event, &effect, replay.state(), &mut text);
        }
        if !text.is_empty() && out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
            return;
        }
        if last {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}
