//! `--narrate`: events in words while the program runs.
//!
//! Reads the trace file as it grows, a few dozen times a second; the target knows nothing of it. Blocks that nobody keeps
//! are told as such at once: a site's fate is decoded when its first event comes by.

use crate::mapped::Mapped;
use crate::run::code_source::ModulesCode;
use crate::run::finish;
use arenascope_event::{Address, Event, HookFact, HookStatus, ProcessFacts, RoleDecl, Synchronises};
use arenascope_replay::Replay;
use arenascope_report::narrate::Narrator;
use arenascope_report::style::Style;
use arenascope_symbols::Symbolizer;
use arenascope_trace::{Follower, Trace};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(20);

/// Tells the events of `trace` to `out` until `ended`, and then the rest. `decls` gives the functions their names.
pub fn narrate(trace: &Path, decls: &[RoleDecl], style: Style, out: &mut dyn Write, ended: &AtomicBool) {
    let Ok(file) = File::open(trace) else { return };
    let mut facts = ProcessFacts { hooks: decls.iter().map(as_hook).collect(), ..ProcessFacts::default() };
    let cwd = crate::reading::current_directory();
    let mut replay = Replay::new(&facts);
    let mut follower = Follower::new();
    let mut symbols = Symbolizer::new(&[]);
    loop {
        let last = ended.load(Relaxed);
        // Mapped anew each time: what was a hole may be data now.
        let Ok(bytes) = Mapped::new(&file) else { return };
        follower.update(&bytes);
        let events: Vec<Event> =
            std::iter::from_fn(|| if last { follower.next_at_end(&bytes) } else { follower.next(&bytes) }).collect();
        if !events.is_empty()
            && let Ok(trace) = Trace::open(&bytes)
        {
            let now = trace.facts();
            if now.modules.len() != facts.modules.len() {
                symbols = Symbolizer::new(&now.modules);
                facts.modules = now.modules;
            }
            let code = ModulesCode { symbols: &symbols };
            for site in now.sites.into_iter().skip(facts.sites.len()) {
                let mut site = site;
                finish::decode(&mut site, &code);
                facts.sites.push(site);
            }
        }
        let mut text = String::new();
        let mut narrator = Narrator::new(&facts, &cwd, style);
        for event in events {
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

fn as_hook(decl: &RoleDecl) -> HookFact {
    HookFact {
        decl: decl.clone(),
        module: String::new(),
        address: Address::NULL,
        status: HookStatus::Watched,
        synchronises: Synchronises::default(),
        markers: None,
    }
}
