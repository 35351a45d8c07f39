//! The log as JSON Lines: one object per event, written straight into a string.
//!
//! docs/json.md describes the fields. May be relied on: each line is one object that parses alone; the first line is the
//! head; memory is one text per site. A million events take seconds, which is why no value tree is built here.

use crate::hindsight::Hindsight;
use crate::json;
use crate::narrate::site_facts;
use crate::sampled;
use arenascope_event::{Address, Event, EventKind, ProcessFacts, SiteId};
use arenascope_replay::{ArenaId, Effect, State, What};
use std::collections::HashMap;
use std::fmt::Write as _;

/// Turns events into JSON lines.
pub struct JsonLog<'a> {
    facts: &'a ProcessFacts,
    sites: HashMap<SiteId, String>,
    hindsight: Hindsight,
}

/// `,"key":number`
fn number(out: &mut String, key: &str, value: u64) {
    let _ = write!(out, ",\"{key}\":{value}");
}

/// `,"key":"0x…"`
fn address(out: &mut String, key: &str, value: Address) {
    let _ = write!(out, ",\"{key}\":\"{:#x}\"", value.0);
}

/// `,"key":"text"`
fn text(out: &mut String, key: &str, value: &str) {
    let _ = write!(out, ",\"{key}\":");
    out.push_str(&json::quoted(value));
}

fn flag(out: &mut String, key: &str, value: bool) {
    let _ = write!(out, ",\"{key}\":{value}");
}

impl<'a> JsonLog<'a> {
    /// Names come from `facts`; `hindsight` is that of the same trace.
    pub fn new(facts: &'a ProcessFacts, hindsight: Hindsight) -> JsonLog<'a> {
        JsonLog { facts, sites: HashMap::new(), hindsight }
    }

    /// The first line.
    pub fn head(&self, trace: &str, out: &mut String) {
        let _ = write!(out, "{{\"format\":1,\"trace\":{}", json::quoted(trace));
        let _ = write!(out, ",\"process\":{{\"pid\":{}", self.facts.pid);
        text(out, "program", &self.facts.program);
        if self.facts.fork_id != 0 {
            number(out, "parent_pid", u64::from(self.facts.parent_pid));
            let _ = write!(out, ",\"fork_id\":\"{:#x}\"", self.facts.fork_id);
        }
        out.push_str("},\"lost\":");
        out.push_str(&json::lost(&self.facts.lost));
        out.push_str("}\n");
    }

    /// One event, with newline.
    pub fn event(&mut self, event: &Event, effect: &Effect, state: &State, out: &mut String) {
        let _ = write!(
            out,
            "{{\"event\":{},\"time_ns\":{},\"thread\":{},\"kind\":\"{}\"",
            event.number.0,
            event.time_ns,
            event.thread.0,
            event.kind.word()
        );
        let arena = match &event.kind {
            EventKind::Capture { arena, .. } => state.arena_of_key(*arena).map(|arena| arena.id),
            _ => effect.arena,
        };
        if let Some(ArenaId(id)) = arena {
            number(out, "arena", u64::from(id));
        }
        if effect.born {
            flag(out, "born", true);
        }
        self.details(event, effect, out);
        if let Some(block) = &effect.block {
            let (extent, offset) = effect.place.map_or((0, 0), |place| (place.extent, place.offset));
            let _ = write!(
                out,
                ",\"block\":{{\"number\":{},\"offset\":{offset},\"size\":{},\"address\":\"{:#x}\",\"extent\":{extent}}}",
                block.number, block.size, block.address.0,
            );
        }
        if effect.died.blocks > 0 {
            let _ = write!(out, ",\"died\":{{\"blocks\":{},\"bytes\":{}}}", effect.died.blocks, effect.died.bytes);
        }
        if !effect.ended.is_empty() {
            out.push_str(",\"ended\":[");
            for (index, ArenaId(id)) in effect.ended.iter().enumerate() {
                let _ = write!(out, "{}{id}", if index == 0 { "" } else { "," });
            }
            out.push(']');
        }
        if let Some(id) = event.site {
            let facts = self.facts;
            let site = self.sites.entry(id).or_insert_with(|| json::site(site_facts(facts, Some(id))));
            out.push_str(",\"site\":");
            out.push_str(site);
        }
        out.push_str("}\n");
    }

    fn details(&self, event: &Event, effect: &Effect, out: &mut String) {
        match &event.kind {
            EventKind::Create { size, parent, name, .. } => {
                if let Some(size) = size {
                    number(out, "size", *size);
                }
                if parent.is_some() {
                    flag(out, "has_parent", true);
                }
                if let Some(name) = name {
                    text(out, "name", name);
                }
            }
            EventKind::Alloc { block, size, align, .. } => {
                number(out, "size", *size);
                if let Some(align) = align {
                    number(out, "align", *align);
                }
                if block.is_null() {
                    flag(out, "refused", true);
                }
                if self.facts.sample_bytes > 0 && !block.is_null() {
                    let stands_for = 1.0 / sampled::probability(*size, self.facts.sample_bytes);
                    let _ = write!(out, ",\"stands_for\":{stands_for:.3}");
                }
                if matches!(effect.what, What::HandedOn { .. }) {
                    flag(out, "handed_on", true);
                }
                if self.hindsight.nobody_keeps(event) {
                    flag(out, "nobody_keeps", true);
                }
            }
            EventKind::Resize { old, new, size, .. } => {
                number(out, "size", *size);
                address(out, "old", *old);
                if new.is_null() {
                    flag(out, "refused", true);
                } else {
                    address(out, "new", *new);
                }
            }
            EventKind::Free { block, .. } => address(out, "address", *block),
            EventKind::Mark { mark, .. } | EventKind::Rewind { mark, .. } => address(out, "mark", Address(mark.0)),
            EventKind::Reset { .. } | EventKind::Destroy { .. } | EventKind::ThreadExit | EventKind::Vfork => {}
            EventKind::ArenaSeen { object, .. } => address(out, "object", *object),
            EventKind::Capture { reason, base, len, .. } => {
                text(out, "reason", reason.word());
                address(out, "address", *base);
                number(out, "len", *len);
            }
            EventKind::Map { address: at, len, protection, flags, observed } => {
                address(out, "address", *at);
                number(out, "len", *len);
                number(out, "protection", u64::from(*protection));
                number(out, "flags", u64::from(*flags));
                flag(out, "observed", *observed);
            }
            EventKind::Unmap { address: at, len } => {
                address(out, "address", *at);
                number(out, "len", *len);
            }
            EventKind::Remap { old, old_len, new, new_len } => {
                address(out, "old", *old);
                number(out, "old_len", *old_len);
                address(out, "new", *new);
                number(out, "new_len", *new_len);
            }
            EventKind::HeapAlloc { address: at, size } => {
                address(out, "address", *at);
                number(out, "size", *size);
            }
            EventKind::HeapFree { address: at } => address(out, "address", *at),
            EventKind::ThreadStart { tid, parent } => {
                number(out, "tid", u64::from(*tid));
                if let Some(parent) = parent {
                    number(out, "parent", u64::from(parent.0));
                }
            }
            EventKind::Fork { child, fork_id } => {
                number(out, "child", u64::from(*child));
                // A 64-bit value that JSON readers with floating-point numbers would round.
                let _ = write!(out, ",\"fork_id\":\"{fork_id:#x}\"");
            }
            EventKind::Exec { path } => {
                text(out, "path", path);
                if self.hindsight.failed(event) {
                    flag(out, "failed", true);
                }
            }
            EventKind::Exit { status } => {
                let _ = write!(out, ",\"status\":{status}");
            }
            EventKind::Fault { signal, address: at, pc, synchronous, .. } => {
                number(out, "signal", u64::from(*signal));
                address(out, "address", *at);
                address(out, "pc", *pc);
                flag(out, "synchronous", *synchronous);
            }
            EventKind::UserMark { name } => text(out, "name", name),
            EventKind::Damage { block, size, zone, address: at, expected, found, end, since, ended, .. } => {
                address(out, "block", *block);
                number(out, "size", *size);
                text(out, "zone", zone.word());
                address(out, "address", *at);
                number(out, "expected", u64::from(*expected));
                hex(out, "found", found);
                address(out, "end", *end);
                number(out, "since", *since);
                if let Some(ended) = ended {
                    number(out, "ended", *ended);
                }
            }
            EventKind::Overlapped { since, .. } => number(out, "since", *since),
            EventKind::ObjectChanged { address: at, before, after, .. } => {
                address(out, "object", *at);
                hex(out, "before", before);
                hex(out, "after", after);
            }
            EventKind::Sampling { bytes } => number(out, "sample_bytes", *bytes),
            EventKind::HeapSegment { start, len, top, .. } => {
                address(out, "address", *start);
                number(out, "len", *len);
                address(out, "top", *top);
            }
            EventKind::ScopeEnter { cursor, .. } | EventKind::ScopeExit { cursor, .. } => {
                address(out, "mark", *cursor);
            }
            EventKind::Bounds { base, capacity, reserved, kind, .. } => {
                address(out, "address", *base);
                number(out, "capacity", *capacity);
                number(out, "reserved_bytes", *reserved);
                text(out, "bounds", kind.word());
            }
            EventKind::NoBlock { address: at, .. } => address(out, "address", *at),
            EventKind::CalledEnded { .. } => {}
            EventKind::Checked { how, .. } => text(out, "checked", how.word()),
            EventKind::Touched { block, size, at, fate, ended, .. } => {
                address(out, "address", *block);
                number(out, "size", *size);
                text(out, "at", &at.to_string());
                text(out, "fate", fate.word());
                if let Some(order) = ended {
                    number(out, "ended_order", *order);
                }
            }
            EventKind::ModuleLoaded { module } => {
                let path = usize::try_from(*module).ok().and_then(|index| self.facts.modules.get(index));
                number(out, "module", u64::from(*module));
                if let Some(module) = path {
                    text(out, "path", &module.path);
                }
            }
        }
    }
}

fn hex(out: &mut String, name: &str, bytes: &[u8]) {
    let _ = write!(out, ",\"{name}\":\"");
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out.push('"');
}
