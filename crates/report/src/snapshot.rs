//! The text of `show`: the arenas of one moment, with their blocks one by one.
//!
//! Absent: the JSON of the same models (`json`), finding the moment (`moment`).

use crate::arena::{self, Caps};
use crate::style::Style;
use crate::view::{Moment, RunView};
use crate::{escape, quantity, sampled, screen};
use std::fmt::{self, Write};

/// Writes the arenas of `run` as they stood at `moment`. `asked` is false when the user named no moment: then dead arenas
/// are shown too, each as it was just before its end.
pub fn write(out: &mut dyn Write, run: &RunView, moment: Moment, asked: bool, cwd: &str, style: &Style) -> fmt::Result {
    let names = screen::file_names(run, cwd);
    // A compiled program's folder is gone by now: the name is what tells.
    let program = run.program.rsplit('/').next().unwrap_or(&run.program);
    let program = escape::text(program, style.plain);
    let when = match (moment.event, asked) {
        (_, false) => "at the end".to_owned(),
        (0, true) => "at the start".to_owned(),
        (event, true) => format!("after #{event}"),
    };
    writeln!(
        out,
        "{}{dot}pid {}{dot}{when} of {}{dot}{}",
        style.bold(&program),
        run.pid,
        quantity::counted(run.events, "event"),
        quantity::duration(moment.time_ns),
        dot = style.dot(),
    )?;
    if run.arenas.is_empty() {
        writeln!(out, "\nno arena {}", if asked { "lives at this moment" } else { "to show" })?;
    }
    if let Some(sampled) = &run.sampled {
        sampled::write(out, sampled, &names, style)?;
    }
    for shown in &run.arenas {
        writeln!(out)?;
        arena::write(out, shown, Caps::FULL, &names, style)?;
    }
    screen::groups(out, run, &names, style)?;
    screen::losses(out, &run.lost, style)?;
    for damage in &run.damage {
        screen::warning(out, &format!("DAMAGED  {damage}"), style)?;
    }
    Ok(())
}
