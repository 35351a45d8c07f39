//! `--mark-on`: which signals may set a mark, and what is said when none did.

use crate::error::CliError;
use crate::reading::TraceFile;
use arenascope_event::EventKind;
use arenascope_plan::{SIGNAL_NAME_BYTES, signal_bit, signal_name, signal_number};
use std::path::Path;

/// Why a signal cannot set a mark; `None`: it can.
fn unfit(signal: libc::c_int) -> Option<&'static str> {
    Some(match signal {
        libc::SIGKILL | libc::SIGSTOP => "no program can catch it",
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP | libc::SIGSYS => {
            "it is a fault of an instruction, which would happen again after the mark"
        }
        libc::SIGABRT => "abort ends the program whatever is done about it",
        libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => "it stops the program, and a mark would not",
        _ => return None,
    })
}

/// The name of a signal as marks have it.
fn name_of(signal: u32) -> String {
    String::from_utf8_lossy(signal_name(signal, &mut [0; SIGNAL_NAME_BYTES])).into_owned()
}

/// The signals that `--mark-on` names, bit n − 1 for signal n.
///
/// # Errors
/// A word that names no signal, or one that cannot set a mark.
pub fn parse(words: &[String]) -> Result<u64, CliError> {
    let mut set = 0;
    for word in words {
        let number = signal_number(word).ok_or_else(|| {
            CliError::usage(format!("--mark-on {word}: no signal has this name"))
                .hint("--mark-on USR1, SIGUSR1, 10, RTMIN+3: by name or number, as `kill -l` lists them")
        })?;
        if let Some(why) = unfit(number as libc::c_int) {
            let name = name_of(number);
            return Err(CliError::usage(format!("--mark-on {word}: {name} cannot set a mark: {why}"))
                .hint("--mark-on USR1, or another signal that the program does not need; its bytes are saved at a fatal signal anyway"));
        }
        set |= signal_bit(number);
    }
    Ok(set)
}

/// For each signal of `set` that set no mark in any of `traces`, a sentence.
pub fn not_set<'a>(set: u64, traces: impl Iterator<Item = &'a Path>) -> Vec<String> {
    let mut missing = set;
    for path in traces {
        if missing == 0 {
            break;
        }
        let Ok(file) = TraceFile::open(path) else { continue };
        let Ok(trace) = file.trace() else { continue };
        for event in trace.events() {
            if let EventKind::UserMark { name } = &event.kind {
                missing &= !signal_number(name).map_or(0, signal_bit);
            }
        }
    }
    (1..=64u32)
        .filter(|signal| missing & signal_bit(*signal) != 0)
        .map(|signal| {
            let name = name_of(signal);
            format!("{name} set no mark: it did not come, or the program ignores it, blocks it, or takes it by sigwait or a signalfd")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_make_one_set() {
        let words = |words: &[&str]| parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&[]).ok(), Some(0));
        assert_eq!(words(&["USR1", "SIGUSR1", "10", "usr2"]).ok(), Some(1 << 9 | 1 << 11));
        assert_eq!(words(&["RTMIN"]).ok(), Some(1 << 33));
        for unfit in ["KILL", "STOP", "SEGV", "11", "BUS", "ILL", "FPE", "TRAP", "SYS", "ABRT", "TSTP", "TTIN", "TTOU"]
        {
            let error = words(&["USR1", unfit]).expect_err(unfit).to_string();
            assert!(error.contains("cannot set a mark"), "{error}");
        }
        for unknown in ["", "USR3", "SIG", "0", "65", "-9"] {
            assert!(words(&[unknown]).is_err(), "{unknown}");
        }
    }
}
