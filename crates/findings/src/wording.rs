//! How facts are put in words and calls are told apart, the same in every rule.
//!
//! May be relied on: no addresses (they differ from run to run), no line breaks. Absent on purpose: escaping of what
//! came from the program; views do that for everything they print.

use crate::finding::{ArenaRef, BlockRef};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use arenascope_event::{Address, ProcessFacts, SiteId};
use arenascope_replay::{ArenaId, State, default_name};

/// The arena with the name that users see.
pub(crate) fn arena_ref(state: &State, facts: &ProcessFacts, id: ArenaId) -> ArenaRef {
    let own = state.arena(id).map(|arena| arena.name.as_str()).filter(|name| !name.is_empty());
    ArenaRef { id, name: own.map_or_else(|| default_name(&facts.hooks), ToOwned::to_owned) }
}

/// What tells one call in the source from another: its return address, or where no backtrace is known only the site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum CallingLine {
    Returns(Address),
    Only(Option<SiteId>),
}

impl CallingLine {
    pub(crate) fn of(facts: &ProcessFacts, site: Option<SiteId>) -> CallingLine {
        let known = site.and_then(|site| facts.sites.get(usize::try_from(site.0).ok()?));
        known.and_then(|known| known.addresses.first()).map_or(CallingLine::Only(site), |at| CallingLine::Returns(*at))
    }
}

/// "32 bytes at +64, block 3 of arena 1".
pub(crate) fn block(block: &BlockRef, arena: ArenaId) -> String {
    let extent = if block.extent > 1 { format!(" of extent {}", block.extent) } else { String::new() };
    format!("{} at +{}{extent}, block {} of arena {arena}", bytes(block.size), block.offset, block.number)
}

/// "1 byte", "256 bytes", "4 KiB", "1.5 MiB": whole units where they fit, one digit otherwise.
pub(crate) fn bytes(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (KIB, "KiB")];
    if bytes == 1 {
        return "1 byte".to_owned();
    }
    for (unit, word) in UNITS {
        if bytes >= unit && (bytes.is_multiple_of(unit) || bytes >= unit.saturating_mul(10) || unit > KIB) {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            let (whole, tenth) = (tenths / 10, tenths % 10);
            return if tenth == 0 { format!("{whole} {word}") } else { format!("{whole}.{tenth} {word}") };
        }
    }
    format!("{bytes} bytes")
}

/// The longest text in `bytes`, of at least four characters, cut after 40.
pub(crate) fn text(bytes: &[u8]) -> Option<String> {
    let printable = |byte: &u8| (0x20..0x7f).contains(byte);
    let runs = bytes.split(|byte| !printable(byte)).filter(|run| run.len() >= 4);
    // Of several as long as the longest, the first.
    let longest = runs.rev().max_by_key(|run| run.len())?;
    let shown: String = longest.iter().take(40).map(|byte| char::from(*byte)).collect();
    Some(if longest.len() > 40 { format!("{shown}…") } else { shown })
}

/// "parse.c:84", "main in prog", "prog" or nothing: the innermost frame of a site that says something.
pub(crate) fn place(facts: &ProcessFacts, site: SiteId) -> Option<String> {
    let frames = &facts.sites.get(usize::try_from(site.0).ok()?)?.frames;
    if let Some(frame) = frames.iter().find(|frame| !frame.file.is_empty()) {
        let file = frame.file.rsplit('/').next().unwrap_or(&frame.file);
        return Some(if frame.line == 0 { file.to_owned() } else { format!("{file}:{}", frame.line) });
    }
    let frame = frames.first()?;
    match (frame.function.as_str(), frame.module.as_str()) {
        ("", "") => None,
        ("", module) => Some(module.to_owned()),
        (function, "") => Some(function.to_owned()),
        (function, module) => Some(format!("{function} in {module}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_text_is_shown_and_cut() {
        assert_eq!(text(b"\x01abc\0user=ada\0passwd=x\0").as_deref(), Some("user=ada"));
        assert_eq!(text(b"\x01abc\0"), None);
        assert_eq!(text(&[b'x'; 60]).map(|text| text.chars().count()), Some(41));
    }

    #[test]
    fn bytes_are_exact_where_that_is_short() {
        for (count, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (256, "256 bytes"),
            (1024, "1 KiB"),
            (4096, "4 KiB"),
            (4100, "4100 bytes"),
            (12_288, "12 KiB"),
            (12_345, "12 KiB"),
            (12_800, "12.5 KiB"),
            (1 << 20, "1 MiB"),
            (3 << 19, "1.5 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
