//! The JSON face of `diff`: comparisons and the answers to questions.
//!
//! docs/json.md is the schema. Nothing is capped: what the text counts is listed here.

use crate::diff::{ArenaDiff, BlockChange, Diff, PlaceDiff, Placed, SavedBytes};
use crate::hex;
use crate::json::{FrameJson, site_frames, to_line};
use crate::questions::Answer;
use crate::view::Moment;
use serde::Serialize;

#[derive(Serialize)]
struct DiffJson<'a> {
    format: u32,
    traces: &'a [String],
    from: PointJson,
    to: PointJson,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    nothing_in_common: bool,
    arenas: Vec<ArenaDiffJson<'a>>,
    alike: u64,
    alike_unknown: u64,
    places: Vec<PlaceDiffJson<'a>>,
}

#[derive(Serialize)]
struct PointJson {
    event: u64,
    time_ns: u64,
}

impl From<Moment> for PointJson {
    fn from(moment: Moment) -> PointJson {
        PointJson { event: moment.event, time_ns: moment.time_ns }
    }
}

#[derive(Serialize)]
struct WhichArenaJson<'a> {
    id: u64,
    name: &'a str,
}

#[derive(Serialize)]
struct ArenaDiffJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<WhichArenaJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<WhichArenaJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<&'static str>,
    blocks: [u64; 2],
    bytes: [u64; 2],
    changes: Vec<ChangeJson<'a>>,
    same: u64,
    unknown: u64,
}

#[derive(Serialize)]
struct ChangeJson<'a> {
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<PlacedJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<PlacedJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    died: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<ChangedJson>,
    site: Vec<FrameJson<'a>>,
}

#[derive(Serialize)]
struct PlacedJson {
    number: u64,
    extent: u32,
    offset: u64,
    size: u64,
    address: String,
    event: u64,
}

impl From<&Placed> for PlacedJson {
    fn from(placed: &Placed) -> PlacedJson {
        PlacedJson {
            number: placed.number,
            extent: placed.extent,
            offset: placed.offset,
            size: placed.size,
            address: format!("{:#x}", placed.address),
            event: placed.born,
        }
    }
}

#[derive(Serialize)]
struct ChangedJson {
    ranges: Vec<[usize; 2]>,
    before: SavedJson,
    after: SavedJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_from: Option<RunJson>,
}

#[derive(Serialize)]
struct SavedJson {
    event: u64,
    reason: &'static str,
    hex: String,
}

impl From<&SavedBytes> for SavedJson {
    fn from(saved: &SavedBytes) -> SavedJson {
        SavedJson { event: saved.event, reason: saved.reason.word(), hex: hex::digits(&saved.bytes) }
    }
}

#[derive(Serialize)]
struct RunJson {
    block: u64,
    offset: u64,
}

#[derive(Serialize)]
struct PlaceDiffJson<'a> {
    blocks: [u64; 2],
    bytes: [u64; 2],
    handed: [u64; 2],
    site: Vec<FrameJson<'a>>,
}

impl<'a> From<&'a PlaceDiff> for PlaceDiffJson<'a> {
    fn from(place: &'a PlaceDiff) -> PlaceDiffJson<'a> {
        PlaceDiffJson {
            blocks: place.blocks,
            bytes: place.bytes,
            handed: place.handed,
            site: site_frames(place.site.as_ref()),
        }
    }
}

fn change(change: &BlockChange) -> ChangeJson<'_> {
    ChangeJson {
        what: change.what(),
        before: change.before.as_ref().map(PlacedJson::from),
        after: change.after.as_ref().map(PlacedJson::from),
        died: change.died,
        changed: change.bytes.as_ref().map(|bytes| ChangedJson {
            ranges: bytes.ranges.iter().map(|range| [range.start, range.end]).collect(),
            before: (&bytes.before).into(),
            after: (&bytes.after).into(),
            run_from: bytes.run_from.map(|(block, offset)| RunJson { block, offset }),
        }),
        site: site_frames(change.site.as_ref()),
    }
}

fn arena(arena: &ArenaDiff) -> ArenaDiffJson<'_> {
    ArenaDiffJson {
        before: arena.before.as_ref().map(|(id, name)| WhichArenaJson { id: *id, name }),
        after: arena.after.as_ref().map(|(id, name)| WhichArenaJson { id: *id, name }),
        ended: arena.ended,
        blocks: arena.blocks,
        bytes: arena.bytes,
        changes: arena.changes.iter().map(change).collect(),
        same: arena.same,
        unknown: arena.unknown,
    }
}

/// The answer of `diff --json`, with newline.
pub fn diff(traces: &[String], diff: &Diff) -> String {
    let [from, to] = diff.moments;
    to_line(&DiffJson {
        format: 1,
        traces,
        from: from.into(),
        to: to.into(),
        nothing_in_common: diff.nothing_in_common,
        arenas: diff.arenas.iter().map(arena).collect(),
        alike: diff.alike,
        alike_unknown: diff.alike_unknown,
        places: diff.places.iter().map(PlaceDiffJson::from).collect(),
    })
}

#[derive(Serialize)]
struct AnswerJson<'a> {
    format: u32,
    traces: &'a [String],
    question: &'static str,
    moments: Vec<PointJson>,
    blocks: u64,
    bytes: u64,
    places: Vec<AnswerPlaceJson<'a>>,
}

#[derive(Serialize)]
struct AnswerPlaceJson<'a> {
    blocks: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<FirstJson<'a>>,
    site: Vec<FrameJson<'a>>,
}

#[derive(Serialize)]
struct FirstJson<'a> {
    arena: WhichArenaJson<'a>,
    block: PlacedJson,
}

/// The answer of `diff --rule QUESTION --json`, with newline.
pub fn answer(traces: &[String], answer: &Answer) -> String {
    to_line(&AnswerJson {
        format: 1,
        traces,
        question: answer.question.word(),
        moments: answer.moments.iter().copied().map(PointJson::from).collect(),
        blocks: answer.blocks(),
        bytes: answer.bytes(),
        places: answer
            .places
            .iter()
            .map(|place| AnswerPlaceJson {
                blocks: place.blocks,
                bytes: place.bytes,
                first: place.first.as_ref().map(|(id, name, placed)| FirstJson {
                    arena: WhichArenaJson { id: *id, name },
                    block: placed.into(),
                }),
                site: site_frames(place.site.as_ref()),
            })
            .collect(),
    })
}
