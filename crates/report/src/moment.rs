//! The MOMENT grammar of `--at`: parsing, and finding the event that is meant.
//!
//! ```text
//! #1204        after event 1204 (#0 and `start`: before the first)
//! 12.5ms       after the last event not later than that since the start; ns, us, ms, s
//! 40%          after that share of the events
//! start, end
//! parse.c:84@3 after the third event of that line; without @3 the first
//! NAME         a mark of that name, the first; NAME@3 the third
//! ```
//! A moment is a position in the event order: the state *after* that event. Both functions are pure; one pass over the
//! events resolves any spec. A mark whose own name ends in `@3` is found by that name first.

use arenascope_event::{Event, EventKind, SiteFacts};
use std::fmt;

/// A moment as the user wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MomentSpec {
    /// `#N`.
    Event(u64),
    /// Nanoseconds since the start.
    Time(u64),
    /// Hundredths of a percent of the events, 0 to 10,000.
    Share(u64),
    /// `start`.
    Start,
    /// `end`.
    End,
    /// `file:line@nth`.
    Line {
        /// File name, or the end of its path.
        file: String,
        /// Line, from 1.
        line: u32,
        /// Which event of that line, from 1.
        nth: u64,
    },
    /// A mark's name.
    Mark(String),
}

/// Why a text is no moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAMoment {
    what: String,
}

impl fmt::Display for NotAMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; a moment is #1204, 12.5ms, 40%, start, end, file.c:84@3 or the name of a mark", self.what)
    }
}

impl std::error::Error for NotAMoment {}

/// Why a moment is not in a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OutOfRange {
    /// The event number is too high: number asked for, events in the trace.
    Event(u64, u64),
    /// Later than the last event: asked for, last, nanoseconds.
    Time(u64, u64),
    /// The line has fewer events: file, line, asked for, there are.
    Line(String, u32, u64, u64),
    /// No mark of this name; some that there are.
    Mark(String, Vec<String>),
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutOfRange::Event(asked, last) => {
                write!(f, "there is no event #{asked}; the trace has #1 to #{last} (and `start`, before the first)")
            }
            OutOfRange::Time(asked, last) => write!(
                f,
                "nothing happened as late as {}; the trace goes from 0 to {}",
                crate::quantity::duration(*asked),
                crate::quantity::duration(*last)
            ),
            OutOfRange::Line(file, line, _, 0) => {
                write!(f, "no event comes from {file}:{line}; `arenascope log` lists the lines that have some")
            }
            OutOfRange::Line(file, line, asked, there) => {
                write!(f, "{file}:{line} has no event @{asked}; it has @1 to @{there}")
            }
            OutOfRange::Mark(name, known) if known.is_empty() => write!(
                f,
                "no mark is named '{name}': nobody set one while this trace was made; try #N, 12.5ms, 40%, start, end or file.c:84@3"
            ),
            OutOfRange::Mark(name, known) => {
                write!(f, "no mark is named '{name}'; there are {}", known.join(", "))
            }
        }
    }
}

impl std::error::Error for OutOfRange {}

/// Parses the grammar in the module's head.
pub fn parse(text: &str) -> Result<MomentSpec, NotAMoment> {
    let wrong = |what: String| Err(NotAMoment { what });
    match text {
        "" => return wrong("the moment is empty".to_owned()),
        "start" => return Ok(MomentSpec::Start),
        "end" => return Ok(MomentSpec::End),
        _ => {}
    }
    if let Some(number) = text.strip_prefix('#') {
        return match number.parse() {
            Ok(event) => Ok(MomentSpec::Event(event)),
            Err(_) => wrong("after # comes the number of an event".to_owned()),
        };
    }
    if let Some(share) = text.strip_suffix('%') {
        return match fixed_point(share.trim_end(), 100) {
            Some(hundredths) if hundredths <= 10_000 => Ok(MomentSpec::Share(hundredths)),
            Some(_) => wrong("more than 100%".to_owned()),
            None => wrong("before % comes a number from 0 to 100".to_owned()),
        };
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '.') && !text.contains(':') {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit() && c != '.');
        let unit = text.get(digits.len()..).unwrap_or_default().trim();
        let scale = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "" => return wrong(format!("no unit: #{text} is an event, {text}ms a time")),
            _ => return wrong("times end in ns, us, ms or s".to_owned()),
        };
        return match fixed_point(digits, scale) {
            Some(ns) => Ok(MomentSpec::Time(ns)),
            None => wrong("no time that fits".to_owned()),
        };
    }
    if let Some((file, rest)) = text.rsplit_once(':')
        && !file.is_empty()
    {
        let (line, nth) = rest.split_once('@').unwrap_or((rest, "1"));
        return match (line.parse::<u32>(), nth.parse::<u64>()) {
            (Ok(line), Ok(nth)) if line > 0 && nth > 0 => Ok(MomentSpec::Line { file: file.to_owned(), line, nth }),
            _ => wrong("after the file come a line and, if wanted, @ and which of its events, from 1".to_owned()),
        };
    }
    Ok(MomentSpec::Mark(text.to_owned()))
}

/// A decimal number times `scale`, cut to an integer; `None` when it is none or does not fit.
fn fixed_point(digits: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() || !(whole.to_owned() + fraction).bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = whole.checked_mul(scale)?;
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        value = value.checked_add(u64::from(digit - b'0').checked_mul(place)?)?;
    }
    Some(value)
}

/// The number of the event after which the moment lies; 0 is the start. One pass, constant memory.
pub fn resolve(spec: &MomentSpec, events: impl Iterator<Item = Event>, sites: &[SiteFacts]) -> Result<u64, OutOfRange> {
    let (mut total, mut last_ns, mut in_time, mut hits, mut hit) = (0u64, 0u64, 0u64, 0u64, None);
    let mut marks = Marks::default();
    for event in events {
        total = total.max(event.number.0);
        // Clocks of several threads are merged: the last time is the latest, not that of the last event.
        last_ns = last_ns.max(event.time_ns);
        match spec {
            MomentSpec::Time(ns) if event.time_ns <= *ns => in_time = event.number.0,
            MomentSpec::Line { file, line, nth } => {
                let site = event.site.and_then(|site| sites.get(usize::try_from(site.0).ok()?));
                if site.is_some_and(|site| stands_at(site, file, *line)) {
                    hits += 1;
                    if hits == *nth {
                        hit = Some(event.number.0);
                    }
                }
            }
            MomentSpec::Mark(wanted) => {
                if let EventKind::UserMark { name } = &event.kind {
                    marks.see(wanted, name, event.number.0);
                }
            }
            _ => {}
        }
    }
    match spec {
        MomentSpec::Start => Ok(0),
        MomentSpec::End => Ok(total),
        MomentSpec::Event(event) if *event <= total => Ok(*event),
        MomentSpec::Event(event) => Err(OutOfRange::Event(*event, total)),
        MomentSpec::Time(ns) if *ns <= last_ns => Ok(in_time),
        MomentSpec::Time(ns) => Err(OutOfRange::Time(*ns, last_ns)),
        MomentSpec::Share(hundredths) => {
            let event = u128::from(total) * u128::from(*hundredths) / 10_000;
            Ok(u64::try_from(event).unwrap_or(total))
        }
        MomentSpec::Line { file, line, nth } => hit.ok_or_else(|| OutOfRange::Line(file.clone(), *line, *nth, hits)),
        MomentSpec::Mark(name) => marks.exact.or(marks.nth).ok_or(OutOfRange::Mark(name.clone(), marks.names)),
    }
}

/// Most names of marks that an error lists.
const MOST_NAMES: usize = 8;

/// The marks of a trace, as far as one name asks for them.
#[derive(Default)]
struct Marks {
    /// The first of exactly this name.
    exact: Option<u64>,
    /// The one that `NAME@N` means.
    nth: Option<u64>,
    seen: u64,
    names: Vec<String>,
}

impl Marks {
    fn see(&mut self, wanted: &str, name: &str, event: u64) {
        if name == wanted && self.exact.is_none() {
            self.exact = Some(event);
        }
        if let Some((of, nth)) = wanted.rsplit_once('@')
            && let Ok(nth) = nth.parse::<u64>()
            && of == name
        {
            self.seen += 1;
            if self.seen == nth {
                self.nth = Some(event);
            }
        }
        if self.names.len() < MOST_NAMES && !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }
}

/// True when the site's innermost line, or one it was inlined into, is `file:line`. These are the lines that the log shows.
fn stands_at(site: &SiteFacts, file: &str, line: u32) -> bool {
    let Some(told) = site.frames.iter().find(|frame| frame.line > 0) else { return false };
    let same_call = site.frames.iter().filter(|frame| frame.address == told.address);
    let is_file = |path: &str| {
        path == file || path.strip_suffix(file).is_some_and(|before| before.ends_with('/') || file.starts_with('/'))
    };
    same_call.into_iter().any(|frame| frame.line == line && is_file(&frame.file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arenascope_event::{Address, EventKind, EventNumber, Frame, SiteId, ThreadNumber};
    use proptest::prelude::*;

    fn line(file: &str, line: u32, nth: u64) -> MomentSpec {
        MomentSpec::Line { file: file.into(), line, nth }
    }

    #[test]
    fn every_form_of_the_grammar() {
        for (text, spec) in [
            ("#1204", MomentSpec::Event(1204)),
            ("#0", MomentSpec::Event(0)),
            ("12.5ms", MomentSpec::Time(12_500_000)),
            ("3 us", MomentSpec::Time(3_000)),
            ("7µs", MomentSpec::Time(7_000)),
            (".5s", MomentSpec::Time(500_000_000)),
            ("1.23456ns", MomentSpec::Time(1)),
            ("40%", MomentSpec::Share(4_000)),
            ("12.34%", MomentSpec::Share(1_234)),
            ("start", MomentSpec::Start),
            ("end", MomentSpec::End),
            ("parse.c:84@3", line("parse.c", 84, 3)),
            ("src/parse.c:84", line("src/parse.c", 84, 1)),
            ("9b.c:71", line("9b.c", 71, 1)),
            ("before the loop", MomentSpec::Mark("before the loop".into())),
        ] {
            assert_eq!(parse(text), Ok(spec), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_says_why() {
        for (text, part) in [
            ("", "empty"),
            ("#", "number of an event"),
            ("#-1", "number of an event"),
            ("#99999999999999999999", "number of an event"),
            ("101%", "more than 100%"),
            ("x%", "from 0 to 100"),
            ("12", "#12 is an event"),
            ("5 years", "end in ns"),
            ("1.2.3ms", "no time"),
            ("99999999999999999s", "no time"),
            ("a.c:0", "a line"),
            ("a.c:5@0", "from 1"),
            ("a.c:", "a line"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(part) && error.contains("a moment is"), "{text}: {error}");
        }
    }

    fn events() -> Vec<Event> {
        (1..=10)
            .map(|number| Event {
                number: EventNumber(number),
                time_ns: number * 1_000,
                thread: ThreadNumber(1),
                site: Some(SiteId(u32::from(number % 2 == 0))),
                kind: EventKind::Vfork,
            })
            .collect()
    }

    fn sites() -> Vec<SiteFacts> {
        let frame = |file: &str, line, address| Frame {
            file: file.into(),
            line,
            address: Address(address),
            ..Frame::default()
        };
        let site = |frames| SiteFacts { frames, ..SiteFacts::default() };
        vec![
            site(vec![frame("/s/a.c", 5, 1), frame("/s/main.c", 9, 2)]),
            site(vec![frame("/s/b.h", 3, 7), frame("/s/a.c", 8, 7), frame("/s/main.c", 9, 2)]),
        ]
    }

    #[test]
    fn moments_are_found_or_the_range_is_named() {
        let find = |text: &str| {
            resolve(&parse(text).expect(text), events().into_iter(), &sites()).map_err(|error| error.to_string())
        };
        for (text, event) in [
            ("start", 0),
            ("end", 10),
            ("#0", 0),
            ("#10", 10),
            ("0ns", 0),
            ("2.5us", 2),
            ("10us", 10),
            ("0%", 0),
            ("40%", 4),
            ("45%", 4),
            ("100%", 10),
            ("a.c:5", 1),
            ("a.c:5@3", 5),
            ("s/a.c:8@2", 4),
            ("/s/b.h:3@5", 10),
        ] {
            assert_eq!(find(text), Ok(event), "{text}");
        }
        for (text, part) in [
            ("#11", "#1 to #10"),
            ("11us", "from 0 to 10.00 us"),
            ("a.c:5@6", "@1 to @5"),
            ("c.c:5", "no event comes from c.c:5"),
            ("main.c:9", "no event comes from main.c:9"),
            (".c:5", "no event"),
            ("phase", "no mark is named 'phase'"),
        ] {
            let error = find(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
        assert_eq!(resolve(&MomentSpec::End, std::iter::empty(), &[]), Ok(0));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_complains(text in ".*|[#0-9.%:@a-z ]{0,12}") {
            let _ = parse(&text);
        }

        #[test]
        fn times_agree_with_floating_point(whole in 0u64..1_000_000, digits in "[0-9]{0,6}") {
            let text = format!("{whole}.{digits}ms");
            let expected = text.trim_end_matches("ms").parse::<f64>().unwrap_or(0.0) * 1e6;
            let Ok(MomentSpec::Time(ns)) = parse(&text) else { panic!("{text}") };
            prop_assert!((ns as f64 - expected).abs() <= 1.0, "{text}: {ns} {expected}");
        }
    }
}
