//! Names for a trace that nobody has completed: its program recorded itself, or `run` was killed before the end.
//!
//! May be relied on: the trace's file is never changed; a program's file that is not the one that ran gives no names. Absent on purpose: what
//! only the launcher knew (roles and what became of them, arguments, how the process ended).

use crate::run::finish;
use arenascope_event::{Module, ProcessFacts};
use arenascope_symbols::Image;
use arenascope_trace::{DamageKind, Trace};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

/// True when names are to be looked up: it has no tail, and never had one.
pub fn wanted(trace: &Trace<'_>) -> bool {
    !trace.is_sealed() && trace.damage().iter().all(|damage| damage.what != DamageKind::Tail)
}

/// What is known about the process, with names if the trace has none of its own.
pub fn facts(trace: &Trace<'_>) -> ProcessFacts {
    let mut facts = trace.facts();
    if wanted(trace) {
        look_up(&mut facts, trace);
    }
    facts
}

fn look_up(facts: &mut ProcessFacts, trace: &Trace<'_>) {
    let modules = facts.modules.clone();
    for module in &mut facts.modules {
        let is_it = is_the_one(module, facts.started_unix_ns);
        if is_it == Some(false) {
            say_once(&module.path);
            // No file has this build id.
            module.build_id = Vec::new();
            module.path = String::new();
        } else if is_it == Some(true)
            && Image::open(Path::new(&module.path)).is_ok_and(|image| !image.library_notes().is_empty())
        {
            facts.libraries.push(module.path.clone());
        }
    }
    finish::resolve(facts, trace, &[]);
    facts.modules = modules;
}

/// Once for each file, however often names are looked up in it.
fn say_once(path: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.insert(path.to_owned()) {
        let path = arenascope_report::escape::shell_word(path);
        // Nobody is there to be told that stderr is closed.
        let _ = writeln!(
            std::io::stderr(),
            "arenascope: {path} is another file than when this was recorded: what ran from it has no names"
        );
    }
}

/// Whether the module's file is the one that ran; `None`: there is none.
fn is_the_one(module: &Module, started_unix_ns: u64) -> Option<bool> {
    let path = Path::new(&module.path);
    let data = std::fs::metadata(path).ok().filter(|data| data.is_file())?;
    if module.build_id.is_empty() {
        // Then its time must do: a file written since is not what ran.
        let started = UNIX_EPOCH + Duration::from_nanos(started_unix_ns);
        return Some(data.modified().is_ok_and(|modified| modified <= started));
    }
    Some(Image::open(path).is_ok_and(|image| image.build_id() == module.build_id))
}
