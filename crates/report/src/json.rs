//! The JSON faces of `show` and `findings`, and the pieces that the JSON log shares with them.
//!
//! docs/json.md is the schema; `"format": 1` changes when a field changes its meaning or goes away. The serde structs
//! live here and nowhere else, apart from the view models, so that neither's change breaks the other. Addresses are
//! strings (`"0x7f…"`): 64 bits do not survive readers that take numbers as floating point.

use crate::sampled::{Estimate, Sampled};
use crate::view::{ArenaView, BytesView, FindingView, Moment, Outcome, Refusals, RunView, Sight, Site};
use arenascope_event::{Frame, Lost, SiteFacts};
use serde::Serialize;
use std::sync::Arc;

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    // Serialising a &str cannot fail.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

fn hex(value: u64) -> String {
    format!("{value:#x}")
}

#[derive(Serialize)]
pub(crate) struct FrameJson<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    function: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    file: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    line: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    module: &'a str,
    address: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    inlined: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(line: &u32) -> bool {
    *line == 0
}

impl<'a> From<&'a Frame> for FrameJson<'a> {
    fn from(frame: &'a Frame) -> Self {
        FrameJson {
            function: &frame.function,
            file: &frame.file,
            line: frame.line,
            module: &frame.module,
            address: hex(frame.address.0),
            inlined: frame.inlined,
        }
    }
}

fn frames(frames: &[Frame]) -> Vec<FrameJson<'_>> {
    frames.iter().map(FrameJson::from).collect()
}

pub(crate) fn site_frames(site: Option<&Arc<Site>>) -> Vec<FrameJson<'_>> {
    site.map(|site| frames(&site.frames)).unwrap_or_default()
}

/// The frames of a site as a JSON array; bare addresses when it was not symbolised.
pub fn site(facts: Option<&SiteFacts>) -> String {
    let Some(facts) = facts else { return "[]".to_owned() };
    let bare: Vec<Frame>;
    let known = if facts.frames.is_empty() {
        bare = facts.addresses.iter().map(|&address| Frame { address, ..Frame::default() }).collect();
        &bare
    } else {
        &facts.frames
    };
    serde_json::to_string(&frames(known)).unwrap_or_else(|_| "[]".to_owned())
}

#[derive(Serialize)]
struct LostJson {
    events: u64,
    no_space: u64,
    reentered: u64,
    table_full: u64,
    damaged: u64,
    capture_bytes: u64,
    heap_skipped: u64,
}

impl From<&Lost> for LostJson {
    fn from(lost: &Lost) -> Self {
        LostJson {
            events: lost.events(),
            no_space: lost.no_space,
            reentered: lost.reentered,
            table_full: lost.table_full,
            damaged: lost.damaged,
            capture_bytes: lost.capture_bytes,
            heap_skipped: lost.heap_skipped,
        }
    }
}

/// Losses as a JSON object.
pub fn lost(lost: &Lost) -> String {
    serde_json::to_string(&LostJson::from(lost)).unwrap_or_else(|_| "{}".to_owned())
}

#[derive(Serialize)]
struct ProcessJson<'a> {
    pid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    program: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<u32>,
}

impl<'a> ProcessJson<'a> {
    fn of(run: &'a RunView) -> Self {
        ProcessJson {
            pid: run.pid,
            program: &run.program,
            exit_status: if let Outcome::Exited(status) = run.outcome { Some(status) } else { None },
            signal: if let Outcome::Killed(signal) = run.outcome { Some(signal) } else { None },
        }
    }
}

#[derive(Serialize)]
struct FindingsJson<'a> {
    format: u32,
    trace: &'a str,
    events: u64,
    findings: Vec<FindingJson<'a>>,
    threads: Vec<ThreadJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    suppressed: Vec<SuppressionJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unasked_rules: Option<u64>,
    lost: LostJson,
}

#[derive(Serialize)]
struct ThreadJson {
    number: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    creator: Option<u32>,
}

#[derive(Serialize)]
struct SuppressionJson<'a> {
    suppression: &'a str,
    line: u32,
    count: u64,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    rule: &'a str,
    class: &'static str,
    certainty: &'static str,
    message: &'a str,
    process: PidJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    arena: Option<ArenaRefJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<BlockRefJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moment: Option<u64>,
    threads: Vec<u32>,
    sites: Vec<FindingSiteJson<'a>>,
    because: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    evidence: Vec<EvidenceJson<'a>>,
    disproof: &'a str,
    next: &'a str,
    count: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct EvidenceJson<'a> {
    label: &'a str,
    address: String,
    offset: i64,
    hex: String,
    damaged: Vec<[usize; 2]>,
}

#[derive(Serialize)]
struct PidJson {
    pid: u32,
}

#[derive(Serialize)]
struct ArenaRefJson<'a> {
    id: u64,
    name: &'a str,
}

#[derive(Serialize)]
struct BlockRefJson {
    number: u64,
    extent: u32,
    offset: u64,
    size: u64,
}

#[derive(Serialize)]
struct FindingSiteJson<'a> {
    role: &'static str,
    function: &'a str,
    file: &'a str,
    line: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<PidJson>,
    frames: Vec<FrameJson<'a>>,
}

fn finding_json(finding: &FindingView, pid: u32) -> FindingJson<'_> {
    let claim = &finding.claim;
    FindingJson {
        rule: claim.rule,
        class: claim.class.word(),
        certainty: claim.certainty.word(),
        message: &claim.message,
        process: PidJson { pid: finding.process.unwrap_or(pid) },
        arena: finding.arena().map(|(id, name)| ArenaRefJson { id, name }),
        block: claim.block.map(|block| BlockRefJson {
            number: block.number,
            extent: block.extent,
            offset: block.offset,
            size: block.size,
        }),
        moment: finding.moment(),
        threads: claim.threads.iter().map(|thread| thread.0).collect(),
        sites: finding
            .sites
            .iter()
            .map(|(role, site)| {
                let told = crate::place::telling_frame(site);
                FindingSiteJson {
                    role: role.word(),
                    function: told.map_or("", |frame| &frame.function),
                    file: told.map_or("", |frame| &frame.file),
                    line: told.map_or(0, |frame| frame.line),
                    source: &site.source,
                    process: site.process.map(|pid| PidJson { pid }),
                    frames: frames(&site.frames),
                }
            })
            .collect(),
        because: &claim.because,
        evidence: claim
            .evidence
            .iter()
            .map(|evidence| EvidenceJson {
                label: &evidence.label,
                address: hex(evidence.address.0),
                offset: evidence.offset,
                hex: crate::hex::digits(&evidence.bytes),
                damaged: evidence.damaged.iter().map(|range| [range.start, range.end]).collect(),
            })
            .collect(),
        disproof: &claim.disproof,
        next: &claim.next,
        count: claim.count,
        bytes: claim.bytes,
    }
}

/// The answer of `findings --json`, with newline.
pub fn findings(run: &RunView) -> String {
    let document = FindingsJson {
        format: 1,
        trace: &run.trace,
        events: run.events,
        findings: run.findings.iter().map(|finding| finding_json(finding, run.pid)).collect(),
        threads: run
            .threads
            .iter()
            .map(|thread| ThreadJson {
                number: thread.number,
                tid: Some(thread.tid).filter(|tid| *tid != 0),
                creator: thread.creator,
            })
            .collect(),
        suppressed: run
            .suppressed
            .by
            .iter()
            .map(|by| SuppressionJson { suppression: &by.text, line: by.line, count: by.count })
            .collect(),
        unasked_rules: run.sampled.as_ref().map(|sampled| sampled.unasked_rules),
        lost: (&run.lost).into(),
    };
    to_line(&document)
}

/// One line: a snapshot may list a million blocks, and indentation would be most of it.
pub(crate) fn to_line(document: &impl Serialize) -> String {
    // These documents hold strings, numbers and lists of them: nothing that serde_json refuses.
    let mut text = serde_json::to_string(document).unwrap_or_else(|_| "{\"format\":1}".to_owned());
    text.push('\n');
    text
}

#[derive(Serialize)]
struct SnapshotJson<'a> {
    format: u32,
    trace: &'a str,
    process: ProcessJson<'a>,
    moment: MomentJson,
    events: u64,
    watched: Vec<WatchedJson<'a>>,
    arenas: Vec<ArenaJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<SampledJson<'a>>,
    lost: LostJson,
    damage: &'a [String],
}

#[derive(Serialize)]
struct WatchedJson<'a> {
    function: &'a str,
    role: &'static str,
    declaration: &'a str,
    seen: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
}

#[derive(Serialize)]
struct MomentJson {
    event: u64,
    time_ns: u64,
}

impl From<Moment> for MomentJson {
    fn from(moment: Moment) -> Self {
        MomentJson { event: moment.event, time_ns: moment.time_ns }
    }
}

#[derive(Serialize)]
struct ArenaJson<'a> {
    id: u64,
    name: &'a str,
    object: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    malloc: Option<MallocJson>,
    capacity: Option<u64>,
    mapped_bytes: u64,
    created: LifeJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<LifeJson<'a>>,
    used_bytes: u64,
    peak_bytes: u64,
    peak_at: u64,
    blocks_ever: u64,
    frees: u64,
    resets: u64,
    rewinds: u64,
    threads: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<RefusedJson<'a>>,
    drawn_at: u64,
    forgotten_blocks: u64,
    extents: Vec<ExtentJson>,
    blocks: Vec<BlockJson<'a>>,
    bytes: Vec<BytesJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampled: Option<ArenaSampledJson>,
}

#[derive(Serialize)]
struct ArenaSampledJson {
    allocated: EstimateJson,
    living: EstimateJson,
}

#[derive(Serialize)]
struct EstimateJson {
    bytes: u64,
    bytes_error: u64,
    blocks: u64,
    blocks_error: u64,
    samples: u64,
}

impl From<&Estimate> for EstimateJson {
    fn from(estimate: &Estimate) -> Self {
        // Estimates are no finer than one; what is out of range becomes the nearest number there is.
        let whole = |value: f64| value.round() as u64;
        EstimateJson {
            bytes: whole(estimate.bytes),
            bytes_error: whole(estimate.bytes_error()),
            blocks: whole(estimate.blocks),
            blocks_error: whole(estimate.blocks_error()),
            samples: estimate.samples,
        }
    }
}

#[derive(Serialize)]
struct SampledJson<'a> {
    sample_bytes: u64,
    allocated: EstimateJson,
    living: EstimateJson,
    places: Vec<SampledPlaceJson<'a>>,
    unasked_rules: u64,
}

#[derive(Serialize)]
struct SampledPlaceJson<'a> {
    #[serde(flatten)]
    allocated: EstimateJson,
    site: Vec<FrameJson<'a>>,
}

fn sampled_json(sampled: &Sampled) -> SampledJson<'_> {
    SampledJson {
        sample_bytes: sampled.mean,
        allocated: (&sampled.allocated).into(),
        living: (&sampled.living).into(),
        places: sampled
            .places
            .iter()
            .map(|(site, estimate)| SampledPlaceJson { allocated: estimate.into(), site: site_frames(site.as_ref()) })
            .collect(),
        unasked_rules: sampled.unasked_rules,
    }
}

#[derive(Serialize)]
struct MallocJson {
    kind: &'static str,
    first_thread: u32,
}

#[derive(Serialize)]
struct LifeJson<'a> {
    how: &'static str,
    event: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    inherited: bool,
    site: Vec<FrameJson<'a>>,
}

#[derive(Serialize)]
struct RefusedJson<'a> {
    count: u64,
    first_event: u64,
    first_size: u64,
    site: Vec<FrameJson<'a>>,
}

fn refused(refused: &Refusals) -> RefusedJson<'_> {
    RefusedJson {
        count: refused.count,
        first_event: refused.event,
        first_size: refused.size,
        site: site_frames(refused.site.as_ref()),
    }
}

#[derive(Serialize)]
struct ExtentJson {
    number: u32,
    address: String,
    len: u64,
    mapped_bytes: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_chunk: Option<u64>,
}

#[derive(Serialize)]
struct BlockJson<'a> {
    number: u64,
    extent: u32,
    offset: u64,
    size: u64,
    address: String,
    event: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    inherited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holds: Vec<u64>,
    site: Vec<FrameJson<'a>>,
}

#[derive(Serialize)]
struct BytesJson {
    event: u64,
    reason: &'static str,
    address: String,
    wanted: u64,
    hex: String,
}

fn bytes_json(saved: &BytesView) -> BytesJson {
    BytesJson {
        event: saved.event,
        reason: saved.reason.word(),
        address: hex(saved.address),
        wanted: saved.wanted,
        hex: crate::hex::digits(&saved.bytes),
    }
}

fn arena_json(arena: &ArenaView) -> ArenaJson<'_> {
    ArenaJson {
        id: arena.id,
        name: &arena.name,
        object: hex(arena.object),
        malloc: arena.malloc.map(|malloc| MallocJson { kind: malloc.kind.word(), first_thread: malloc.first_thread }),
        capacity: arena.capacity,
        mapped_bytes: arena.mapped,
        created: LifeJson {
            how: if arena.birth.created { "created" } else { "first-seen" },
            event: arena.birth.event,
            inherited: arena.birth.inherited,
            site: site_frames(arena.birth.site.as_ref()),
        },
        ended: arena.end.as_ref().map(|end| LifeJson {
            how: end.how,
            event: end.event,
            inherited: false,
            site: site_frames(end.site.as_ref()),
        }),
        used_bytes: arena.used(),
        peak_bytes: arena.peak_bytes,
        peak_at: arena.peak_event,
        blocks_ever: arena.blocks_ever,
        frees: arena.frees,
        resets: arena.resets,
        rewinds: arena.rewinds,
        threads: &arena.threads,
        refused: arena.refused.as_ref().map(refused),
        drawn_at: arena.drawn_at,
        forgotten_blocks: arena.forgotten_blocks,
        extents: arena
            .extents
            .iter()
            .map(|extent| ExtentJson {
                number: extent.number,
                address: hex(extent.start),
                len: extent.len,
                mapped_bytes: extent.mapped,
                kind: extent.kind,
                top_chunk: extent.top_chunk,
            })
            .collect(),
        blocks: arena
            .blocks
            .iter()
            .map(|block| BlockJson {
                number: block.number,
                extent: arena.extents.get(block.extent).map_or(0, |extent| extent.number),
                offset: block.offset,
                size: block.size,
                address: hex(block.address),
                event: block.born,
                inherited: block.inherited,
                flag: block.flag,
                holds: block.holds.iter().map(|(id, _)| *id).collect(),
                site: site_frames(block.site.as_ref()),
            })
            .collect(),
        bytes: arena.bytes.iter().map(bytes_json).collect(),
        sampled: arena.sampled.as_ref().map(|sampled| ArenaSampledJson {
            allocated: (&sampled.allocated).into(),
            living: (&sampled.living).into(),
        }),
    }
}

/// The answer of `show --json`, with newline.
pub fn snapshot(run: &RunView, moment: Moment) -> String {
    let document = SnapshotJson {
        format: 1,
        trace: &run.trace,
        process: ProcessJson::of(run),
        moment: moment.into(),
        events: run.events,
        watched: run
            .watched
            .iter()
            .map(|function| {
                let (seen, why) = match &function.sight {
                    Sight::Full => ("full", None),
                    Sight::Partly(why) => ("partly", Some(why.as_str())),
                    Sight::None(why) => ("none", Some(why.as_str())),
                };
                WatchedJson {
                    function: &function.function,
                    role: function.role,
                    declaration: &function.declaration,
                    seen,
                    why,
                }
            })
            .collect(),
        arenas: run.arenas.iter().map(arena_json).collect(),
        sampled: run.sampled.as_ref().map(sampled_json),
        lost: (&run.lost).into(),
        damage: &run.damage,
    };
    to_line(&document)
}
