//! What is written comes back: every record, in any order, across segments, threads and captures.

use crate::build::{File, Writer};
use arenascope_event::{
    Address, ArenaKey, BlobId, BlockFate, BoundsKind, CaptureReason, Checking, Event, EventKind, EventNumber,
    MarkValue, SiteId, ThreadNumber, Zone,
};
use arenascope_trace::{Record, Trace};
use proptest::prelude::*;

/// An event as a test says it: who, when, what.
#[derive(Clone, Debug)]
pub struct Said {
    pub thread: u32,
    pub ns: u64,
    pub site: Option<u32>,
    pub kind: EventKind,
    /// The captured bytes of a `Capture`.
    pub bytes: Vec<u8>,
}

/// Writes what was said by one writer.
pub fn write(file: &mut File, writer: &mut Writer, said: &Said) {
    let mut put = |record: &Record<'_>| {
        writer.put(file, said.thread, said.ns, said.site, record);
    };
    match said.kind.clone() {
        EventKind::Create { arena, order, size, parent, name, nested } => put(&Record::Create {
            arena: arena.0,
            order,
            size,
            parent: parent.map(|parent| parent.0),
            name: name.as_ref().map(|name| name.as_bytes()),
            nested,
        }),
        EventKind::Alloc { arena, order, block, size, align } => {
            put(&Record::Alloc { arena: arena.0, order, block: block.0, size, align: align.unwrap_or(0) });
        }
        EventKind::Resize { arena, order, old, new, size } => {
            put(&Record::Resize { arena: arena.0, order, old: old.0, new: new.0, size });
        }
        EventKind::Free { arena, order, block } => put(&Record::Free { arena: arena.0, order, block: block.0 }),
        EventKind::Mark { arena, order, mark } => put(&Record::Mark { arena: arena.0, order, mark: mark.0 }),
        EventKind::Rewind { arena, order, mark } => put(&Record::Rewind { arena: arena.0, order, mark: mark.0 }),
        EventKind::Reset { arena, order } => put(&Record::Reset { arena: arena.0, order }),
        EventKind::Destroy { arena, order } => put(&Record::Destroy { arena: arena.0, order }),
        EventKind::ArenaSeen { arena, object } => put(&Record::ArenaSeen { arena: arena.0, object: object.0 }),
        EventKind::Capture { arena, reason, base, len, bytes: _ } => {
            put(&Record::CaptureInline { arena: arena.0, reason, base: base.0, len, bytes: &said.bytes });
        }
        EventKind::Map { address, len, protection, flags, observed } => {
            put(&Record::Map { address: address.0, len, protection, flags, observed });
        }
        EventKind::Unmap { address, len } => put(&Record::Unmap { address: address.0, len }),
        EventKind::Remap { old, old_len, new, new_len } => {
            put(&Record::Remap { old: old.0, old_len, new: new.0, new_len });
        }
        EventKind::HeapAlloc { address, size } => put(&Record::HeapAlloc { address: address.0, size }),
        EventKind::HeapFree { address } => put(&Record::HeapFree { address: address.0 }),
        EventKind::ThreadStart { tid, parent } => {
            put(&Record::ThreadStart { tid, parent: parent.map_or(0, |parent| parent.0) });
        }
        EventKind::ThreadExit => put(&Record::ThreadExit),
        EventKind::Fork { child, fork_id } => put(&Record::Fork { child, fork_id }),
        EventKind::Vfork => put(&Record::Vfork),
        EventKind::Exec { path } => put(&Record::Exec { path: path.as_bytes() }),
        EventKind::Exit { status } => put(&Record::Exit { status }),
        EventKind::Fault { signal, address, pc, synchronous, registers } => {
            put(&Record::Fault { signal, address: address.0, pc: pc.0, synchronous, registers: &registers });
        }
        EventKind::UserMark { name } => put(&Record::UserMark { name: name.as_bytes() }),
        EventKind::Damage { arena, block, size, zone, address, expected, found, end, since, ended } => {
            put(&Record::Damage {
                arena: arena.0,
                block: block.0,
                size,
                zone,
                address: address.0,
                expected,
                found: &found,
                end: end.0,
                since,
                ended,
            })
        }
        EventKind::Overlapped { arena, since } => put(&Record::Overlapped { arena: arena.0, since }),
        EventKind::ObjectChanged { arena, address, before, after } => {
            put(&Record::ObjectChanged { arena: arena.0, address: address.0, before: &before, after: &after });
        }
        EventKind::ScopeEnter { arena, order, cursor } => {
            put(&Record::ScopeEnter { arena: arena.0, order, cursor: cursor.0 });
        }
        EventKind::ScopeExit { arena, order, cursor } => {
            put(&Record::ScopeExit { arena: arena.0, order, cursor: cursor.0 });
        }
        EventKind::Bounds { arena, base, capacity, reserved, kind } => {
            put(&Record::Bounds { arena: arena.0, base: base.0, capacity, reserved, kind });
        }
        EventKind::Checked { arena, how } => put(&Record::Checked { arena: arena.0, how }),
        EventKind::Touched { arena, block, size, at, fate, ended } => {
            put(&Record::Touched { arena: arena.0, block: block.0, size, at, fate, ended });
        }
        EventKind::NoBlock { arena, address } => put(&Record::NoBlock { arena: arena.0, address: address.0 }),
        EventKind::CalledEnded { arena } => put(&Record::CalledEnded { arena: arena.0 }),
        EventKind::HeapSegment { arena, start, len, top } => {
            put(&Record::HeapSegment { arena: arena.0, start: start.0, len, top: top.0 });
        }
        EventKind::Sampling { bytes } => put(&Record::Sampling { bytes }),
        EventKind::ModuleLoaded { module } => put(&Record::Module {
            number: module,
            bias: 0x5555_0000,
            start: 0x5555_1000,
            end: 0x5556_0000,
            path: b"/usr/lib/libmodule.so",
            build_id: &[0xAB; 20],
        }),
    }
}

/// Numbers as they occur: small, near a power of two, or any.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..300,
        any::<u64>(),
        (0u32..64, -2i64..3).prop_map(|(bit, off)| (1u64 << bit).wrapping_add(off as u64))
    ]
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        Just(Address::NULL),
        (0u64..4096).prop_map(|offset| Address(0x7F00_0000_0000 + offset * 8)),
        number().prop_map(Address)
    ]
}

fn arena() -> impl Strategy<Value = ArenaKey> {
    prop_oneof![(0u32..20).prop_map(ArenaKey), any::<u32>().prop_map(ArenaKey)]
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé/]{0,40}"
}

fn found() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..=64)
}

fn kind() -> impl Strategy<Value = EventKind> {
    let own = || (arena(), number());
    let reason = (0usize..CaptureReason::ALL.len()).prop_map(|index| CaptureReason::ALL[index]);
    let thread = prop::option::of((1u32..9).prop_map(ThreadNumber));
    prop_oneof![
           8 => (own(), address(), number(), prop::option::of(1..=u64::MAX)).prop_map(|((arena, order), block, size, align)| {
               EventKind::Alloc { arena, order, block, size, align }
           }),
           1 => (own(), prop::option::of(number()), prop::option::of(arena()), prop::option::of(text()), number()).prop_map(
               |((arena, order), size, parent, name, nested)| EventKind::Create { arena, order, size, parent, name, nested }
           ),
           1 => (own(), address(), address(), number())
               .prop_map(|((arena, order), old, new, size)| EventKind::Resize { arena, order, old, new, size }),
           2 => (own(), address()).prop_map(|((arena, order), block)| EventKind::Free { arena, order, block }),
           1 => (own(), number()).prop_map(|((arena, order), mark)| EventKind::Mark { arena, order, mark: MarkValue(mark) }),
           1 => (own(), number())
               .prop_map(|((arena, order), mark)| EventKind::Rewind { arena, order, mark: MarkValue(mark) }),
           1 => own().prop_map(|(arena, order)| EventKind::Reset { arena, order }),
           1 => own().prop_map(|(arena, order)| EventKind::Destroy { arena, order }),
           1 => (arena(), address()).prop_map(|(arena, object)| EventKind::ArenaSeen { arena, object }),
           1 => (arena(), reason, address(), number())
               .prop_map(|(arena, reason, base, len)| EventKind::Capture { arena, reason, base, len, bytes: BlobId(0) }),
           1 => (address(), number(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
               |(address, len, protection, flags, observed)| EventKind::Map { address, len, protection, flags, observed }
           ),
           1 => (address(), number()).prop_map(|(address, len)| EventKind::Unmap { address, len }),
           1 => (address(), number(), address(), number())
               .prop_map(|(old, old_len, new, new_len)| EventKind::Remap { old, old_len, new, new_len }),
           2 => (address(), number()).prop_map(|(address, size)| EventKind::HeapAlloc { address, size }),
           2 => address().prop_map(|address| EventKind::HeapFree { address }),
           1 => (any::<u32>(), thread).prop_map(|(tid, parent)| EventKind::ThreadStart { tid, parent }),
           1 => Just(EventKind::ThreadExit),
           1 => (any::<u32>(), number()).prop_map(|(child, fork_id)| EventKind::Fork { child, fork_id }),
           1 => Just(EventKind::Vfork),
           1 => text().prop_map(|path| EventKind::Exec { path }),
           1 => any::<i32>().prop_map(|status| EventKind::Exit { status }),
           1 => (any::<u32>(), address(), address(), any::<bool>(), any::<[u64; 16]>()).prop_map(
               |(signal, address, pc, synchronous, registers)| EventKind::Fault {
    signal, address, pc, synchronous, registers: Box::new(registers) }
           ),
           1 => (0u32..3).prop_map(|module| EventKind::ModuleLoaded { module }),
           1 => text().prop_map(|name| EventKind::UserMark { name }),
           1 => (arena(), address(), number(), 0usize..3, address(), any::<u8>(), found(), (address(), number(), proptest::option::of(0..u64::MAX))).prop_map(
               |(arena, block, size, zone, address, expected, found, (end, since, ended))| {
                   let zone = Zone::ALL[zone];
                   EventKind::Damage { arena, block, size, zone, address, expected, found, end, since, ended }
               }
           ),
           1 => (arena(), number()).prop_map(|(arena, since)| EventKind::Overlapped { arena, since }),
           1 => (arena(), address(), found(), found()).prop_map(|(arena, address, before, after)| {
               EventKind::ObjectChanged { arena, address, before, after }
           }),
           1 => (arena(), address(), number(), address())
               .prop_map(|(arena, start, len, top)| EventKind::HeapSegment { arena, start, len, top }),
           1 => (own(), address(), any::<bool>()).prop_map(|((arena, order), cursor, ends)| match ends {
               false => EventKind::ScopeEnter { arena, order, cursor },
               true => EventKind::ScopeExit { arena, order, cursor },
           }),
           1 => (arena(), address(), number(), number(), 0..BoundsKind::ALL.len()).prop_map(
               |(arena, base, capacity, reserved, kind)| EventKind::Bounds {
                   arena, base, capacity, reserved, kind: BoundsKind::ALL[kind],
               }
           ),
           1 => (arena(), 0..Checking::ALL.len()).prop_map(|(arena, how)| EventKind::Checked { arena, how: Checking::ALL[how] }),
           1 => (arena(), address(), number(), any::<i64>(), 0..BlockFate::ALL.len(), prop::option::of(0..u64::MAX)).prop_map(
               |(arena, block, size, at, fate, ended)| EventKind::Touched {
                   arena, block, size, at, fate: BlockFate::ALL[fate], ended,
               }
           ),
           1 => (arena(), address()).prop_map(|(arena, address)| EventKind::NoBlock { arena, address }),
           1 => arena().prop_map(|arena| EventKind::CalledEnded { arena }),
           1 => number().prop_map(|bytes| EventKind::Sampling { bytes }),
       ]
}

/// What several threads say through one writer: time in steps of 8 ns (the unit of recorded time), never backwards.
pub fn said(count: usize) -> impl Strategy<Value = Vec<Said>> {
    let one = (1u32..4, 0u64..2000, prop::option::of(0u32..500), kind(), prop::collection::vec(any::<u8>(), 0..200));
    prop::collection::vec(one, 0..count).prop_map(|list| {
        let mut now = 0;
        let say = |(thread, step, site, kind, bytes)| {
            now += step * 8;
            Said { thread, ns: now, site, kind, bytes }
        };
        list.into_iter().map(say).collect()
    })
}

/// What should come back from one writer, apart from blob ids.
pub fn expected(said: &[Said]) -> Vec<Event> {
    let event = |(index, said): (usize, &Said)| Event {
        number: EventNumber(index as u64 + 1),
        time_ns: said.ns,
        thread: ThreadNumber(said.thread),
        site: said.site.map(SiteId),
        kind: said.kind.clone(),
    };
    said.iter().enumerate().map(event).collect()
}

/// The event with its blob id taken out, so that it can be compared with what was said.
pub fn without_blob(mut event: Event) -> Event {
    if let EventKind::Capture { bytes, .. } = &mut event.kind {
        *bytes = BlobId(0);
    }
    event
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn one_writer_comes_back_as_said(said in said(120), payload in 600usize..5000) {
        let mut file = File::new();
        let mut writer = Writer::with_payload(0, payload);
        for one in &said {
            write(&mut file, &mut writer, one);
        }
        file.seal(&Default::default(), 1_000_000);
        let trace = Trace::open(&file.bytes).unwrap();
        prop_assert_eq!(trace.damage(), &[]);
        let events: Vec<Event> = trace.events().collect();
        for (event, one) in events.iter().zip(&said) {
            if let EventKind::Capture { bytes, .. } = event.kind {
                let blob = trace.blob(bytes);
                prop_assert_eq!(blob.as_deref(), Some(&one.bytes[..]));
            }
        }
        let events: Vec<Event> = events.into_iter().map(without_blob).collect();
        prop_assert_eq!(events, expected(&said));
        prop_assert_eq!(trace.check(), vec![]);
    }
}
