//! Signals by number and by name, as both ends say them: `SIGUSR1`, `SIGRTMIN+3`.
//!
//! Numbers are Linux's on x86-64 and aarch64. A set of signals is a `u64`, bit n − 1 for signal n, as the kernel has it.

/// Names of signals 1 to 31, without `SIG`.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// Other names of the same signals.
const ALIASES: [(&str, u32); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];

/// The first real-time signal that programs may use: the C library keeps 32 and 33 for itself.
const FIRST_REAL_TIME: u32 = 34;
/// The last one.
const LAST_REAL_TIME: u32 = 64;

/// Bytes of the longest name.
pub const SIGNAL_NAME_BYTES: usize = 12;

/// The bit of `signal` in a set; 0 for a number that is no signal's.
pub const fn signal_bit(signal: u32) -> u64 {
    if signal == 0 || signal > LAST_REAL_TIME { 0 } else { 1 << (signal - 1) }
}

/// Writes the name of `signal` to `to` and returns that part: `SIGUSR1`, `SIGRTMIN+3`; empty for what is no signal.
pub fn signal_name(signal: u32, to: &mut [u8; SIGNAL_NAME_BYTES]) -> &[u8] {
    let mut out = crate::Writer::new(to);
    if let Some(name) = (signal as usize).checked_sub(1).and_then(|index| NAMES.get(index)) {
        out.raw(b"SIG");
        out.raw(name.as_bytes());
    } else if let Some(above) = signal.checked_sub(FIRST_REAL_TIME).filter(|_| signal <= LAST_REAL_TIME) {
        out.raw(b"SIGRTMIN");
        if above > 0 {
            out.raw(b"+");
            out.decimal(above);
        }
    }
    let used = out.finish().unwrap_or(0);
    to.get(..used).unwrap_or(&[])
}

/// The signal that `text` names: `USR1`, `SIGUSR1`, `usr1`, `10`, `RTMIN+3`, `SIGRTMAX-1`.
pub fn signal_number(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<u32>() {
        return (signal_bit(number) != 0 && !matches!(number, 32 | 33)).then_some(number);
    }
    let name = match text.get(..3) {
        Some(head) if head.eq_ignore_ascii_case("SIG") => text.get(3..)?,
        _ => text,
    };
    if let Some(index) = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name)) {
        return Some(index as u32 + 1);
    }
    if let Some((_, number)) = ALIASES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Some(*number);
    }
    let (head, rest) = name.split_at_checked(5)?;
    let distance = |sign: char| match rest {
        "" => Some(0),
        _ => rest.strip_prefix(sign)?.parse::<u32>().ok(),
    };
    let number = if head.eq_ignore_ascii_case("RTMIN") {
        FIRST_REAL_TIME.checked_add(distance('+')?)?
    } else if head.eq_ignore_ascii_case("RTMAX") {
        LAST_REAL_TIME.checked_sub(distance('-')?)?
    } else {
        return None;
    };
    (FIRST_REAL_TIME..=LAST_REAL_TIME).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_a_name_that_means_it() {
        for signal in (1..=31).chain(34..=64) {
            let mut room = [0; SIGNAL_NAME_BYTES];
            let name = core::str::from_utf8(signal_name(signal, &mut room)).unwrap();
            assert!(name.len() > 3, "{signal}");
            assert_eq!(signal_number(name), Some(signal), "{name}");
            assert_eq!(signal_number(&name[3..]), Some(signal), "{name}");
        }
    }

    #[test]
    fn names_in_every_form_and_what_is_none() {
        for (text, number) in [
            ("USR1", Some(10)),
            ("SIGUSR1", Some(10)),
            ("sigusr2", Some(12)),
            ("10", Some(10)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("rtmax", Some(64)),
            ("RTMAX-1", Some(63)),
            ("64", Some(64)),
            ("POLL", Some(29)),
            ("", None),
            ("SIG", None),
            ("0", None),
            ("-1", None),
            ("65", None),
            ("32", None),
            ("33", None),
            ("USR3", None),
            ("RTMIN+31", None),
            ("RTMAX-31", None),
            ("RTMIN-1", None),
            ("RTMIN+", None),
            ("RTMÏN", None),
        ] {
            assert_eq!(signal_number(text), number, "{text:?}");
        }
        let mut room = [0; SIGNAL_NAME_BYTES];
        for none in [0, 32, 33, 65, u32::MAX] {
            assert_eq!(signal_name(none, &mut room), b"", "{none}");
        }
    }
}
