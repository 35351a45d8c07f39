//! The JSON faces of `ps`, `show --pid` and `show --core`. docs/json.md is the schema.

use crate::outside::{Bytes, View, Whose};
use crate::processes::Listing;
use arenascope_headers::{Arena, Between, Lease, Place, Shared, Text, Where};
use serde::Serialize;
use serde_json::{Map, Value, json};

fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// Puts a text under `key`, or why it is not known under `key_unknown`.
fn put_text(object: &mut Map<String, Value>, key: &str, text: &Text) {
    match text {
        Text::None => {}
        Text::Known(text) => {
            object.insert(key.to_owned(), Value::from(text.as_str()));
        }
        Text::Unknown(why) => {
            object.insert(format!("{key}_unknown"), Value::from(why.as_str()));
        }
    }
}

fn put(object: &mut Map<String, Value>, key: &str, value: impl Serialize) {
    // Numbers, booleans and strings always serialise.
    object.insert(key.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
}

fn site(object: &mut Map<String, Value>, site: &Where) {
    let mut told = Map::new();
    put_text(&mut told, "file", &site.file);
    for (key, value) in [("line", site.line), ("column", site.column)] {
        if value > 0 {
            put(&mut told, key, value);
        }
    }
    if !told.is_empty() {
        put(object, "created", told);
    }
}

fn bytes_of(object: &mut Map<String, Value>, bytes: &[Bytes], base: u64) {
    let Some(bytes) = bytes.iter().find(|bytes| bytes.base == base) else { return };
    match &bytes.why {
        Some(why) => put(object, "bytes_unknown", why),
        None => {
            put(object, "bytes", bytes.bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        }
    }
}

fn arena(arena: &Arena, view: &View<'_>) -> Value {
    let mut told = Map::new();
    put(&mut told, "id", arena.id);
    put(&mut told, "kind", "arena");
    put_text(&mut told, "name", &arena.name);
    site(&mut told, &arena.site);
    put(&mut told, "header", hex(arena.address));
    put(&mut told, "base", hex(arena.base));
    let place = match arena.place {
        Place::Alone => "alone",
        Place::Slab(slab) => {
            put(&mut told, "slab", hex(slab));
            "slab"
        }
        Place::NotForked => "not-forked",
        Place::Buffer => "buffer",
    };
    put(&mut told, "place", place);
    for (key, value) in [
        ("capacity", arena.capacity),
        ("used", arena.used),
        ("peak", arena.peak),
        ("committed", arena.committed),
        ("reserved", arena.reserved),
        ("generation", arena.generation),
        ("depth", arena.depth.into()),
        ("owner_thread", arena.owner_tid.into()),
        ("pid", arena.pid.into()),
        ("events", arena.events),
        ("commits", arena.commits.into()),
        ("refusals", arena.refusals.into()),
    ] {
        put(&mut told, key, value);
    }
    for (key, value) in
        [("growing", arena.growing), ("watched", arena.watched), ("checked", arena.checked), ("settled", arena.settled)]
    {
        put(&mut told, key, value);
    }
    bytes_of(&mut told, &view.bytes, arena.base);
    Value::Object(told)
}

fn owner(owner: Option<(u32, u32)>) -> Value {
    owner.map_or(Value::Null, |(pid, tid)| json!({"pid": pid, "thread": tid}))
}

fn lease(lease: &Lease, base: u64) -> Value {
    json!({
        "offset": lease.base.saturating_sub(base), "size": lease.capacity, "used": lease.used, "id": lease.id,
        "owner": owner(lease.owner), "events": lease.events, "watched": lease.watched
    })
}

fn shared(arena: &Shared) -> Value {
    let mut told = Map::new();
    put(&mut told, "id", arena.id);
    put(&mut told, "kind", "shared");
    put_text(&mut told, "name", &arena.name);
    site(&mut told, &arena.site);
    put(&mut told, "header", hex(arena.address));
    put(&mut told, "base", hex(arena.base));
    for (key, value) in [
        ("capacity", arena.capacity),
        ("used", arena.used()),
        ("leased", arena.leased),
        ("lost", arena.lost),
        ("committed", arena.touched),
        ("reserved", arena.capacity),
        ("generation", arena.generation),
        ("pid", arena.pid.into()),
        ("refusals", arena.refusals.into()),
    ] {
        put(&mut told, key, value);
    }
    put(&mut told, "growing", arena.growing);
    put(&mut told, "settled", arena.settled);
    put(&mut told, "leases", arena.leases.iter().map(|held| lease(held, arena.base)).collect::<Vec<_>>());
    if !arena.gaps.is_empty() {
        put(&mut told, "gaps", &arena.gaps);
    }
    Value::Object(told)
}

fn between(memory: &Between) -> Value {
    let leases: Vec<Value> = memory
        .leases
        .iter()
        .map(|held| {
            json!({"offset": held.start, "size": held.end - held.start, "used": held.used - held.start,
                   "owner": owner(held.owner)})
        })
        .collect();
    json!({
        "id": memory.number, "kind": "between-processes", "header": hex(memory.address), "memory": hex(memory.identity),
        "capacity": memory.capacity, "used": memory.used(), "leased": memory.leased, "lost": memory.lost,
        "committed": memory.leased, "reserved": memory.mapping, "pid": memory.pid, "refusals": memory.refusals,
        "settled": memory.settled, "leases": leases
    })
}

/// `show --pid --json`, `show --core --json`: one object and a newline.
pub fn outside(view: &View<'_>) -> String {
    let mut told = Map::new();
    put(&mut told, "format", 1);
    let mut process = Map::new();
    match &view.whose {
        Whose::Process { pid, inner_pid } => {
            put(&mut process, "pid", pid);
            if inner_pid != pid {
                put(&mut process, "inner_pid", inner_pid);
            }
        }
        Whose::Core { path, pid, signal } => {
            put(&mut told, "core", path);
            for (key, value) in [("pid", pid), ("signal", signal)] {
                if let Some(value) = value {
                    put(&mut process, key, value);
                }
            }
        }
    }
    put(&mut process, "program", &view.program);
    put(&mut told, "process", process);
    let chosen = &view.chosen;
    let arenas: Vec<Value> = chosen
        .shared
        .iter()
        .map(|one| shared(one))
        .chain(chosen.between.iter().map(|one| between(one)))
        .chain(chosen.arenas.iter().chain(&chosen.rest).map(|one| arena(one, view)))
        .collect();
    put(&mut told, "arenas", arenas);
    let damaged: Vec<Value> = view
        .found
        .damaged
        .iter()
        .map(|damaged| json!({"header": hex(damaged.address), "what": damaged.what, "why": damaged.why}))
        .collect();
    put(&mut told, "damaged", damaged);
    let searched = &view.found.searched;
    put(
        &mut told,
        "searched",
        json!({
            "lists": searched.noted + searched.rooted, "noted": searched.noted, "static_bytes": searched.static_bytes,
            "scanned_bytes": searched.scanned, "left_bytes": searched.left, "wide_bytes": searched.wide,
            "unread_bytes": searched.unread, "kept": searched.kept, "copies": searched.copies,
            "broken": searched.broken
        }),
    );
    put(&mut told, "remarks", &view.remarks);
    format!("{}\n", Value::Object(told))
}

/// `ps --json`: one object and a newline.
pub fn processes(listing: &Listing) -> String {
    let processes: Vec<Value> = listing
        .processes
        .iter()
        .map(|process| {
            json!({
                "pid": process.pid, "program": process.program, "arenas": process.arenas, "shared": process.shared,
                "between": process.between, "inherited": process.inherited, "reserved": process.totals.reserved,
                "committed": process.totals.committed, "used": process.totals.used, "names": process.names,
                "damaged": process.damaged, "remarks": process.remarks
            })
        })
        .collect();
    let unread: Vec<Value> =
        listing.unread.iter().map(|unread| json!({"count": unread.count, "why": unread.why})).collect();
    let told = json!({
        "format": 1, "processes": processes, "unread": unread, "looked_at": listing.looked_at, "scanned": listing.scanned
    });
    format!("{told}\n")
}
