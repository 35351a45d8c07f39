//! Event tables written as a story: `Table::new().map(0x1000, 4096).create(0, 256).alloc(0, 0x1000, 32)`.
//!
//! May be relied on: numbers from 1 without gaps, one microsecond apart; the order inside each arena key is counted;
//! a key's `ArenaSeen` comes before its first own event. Absent on purpose: checks; senseless stories are allowed.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use arenascope_event::{
    Address, ArenaKey, BlobId, BoundsKind, CaptureReason, Event, EventKind, EventNumber, MarkValue, SiteId,
    ThreadNumber,
};

/// PROT_READ | PROT_WRITE, and MAP_PRIVATE | MAP_ANONYMOUS, as in Linux.
const READ_WRITE: u32 = 3;
const PRIVATE_ANONYMOUS: u32 = 0x22;

/// A story under construction.
#[derive(Clone, Debug)]
pub struct Table {
    events: Vec<Event>,
    thread: ThreadNumber,
    site: Option<SiteId>,
    objects: BTreeMap<ArenaKey, Address>,
    orders: BTreeMap<ArenaKey, u64>,
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

impl Table {
    /// Nothing yet; thread 1, no site.
    pub fn new() -> Table {
        Table {
            events: Vec::new(),
            thread: ThreadNumber(1),
            site: None,
            objects: BTreeMap::new(),
            orders: BTreeMap::new(),
        }
    }

    /// The events so far.
    pub fn events(&self) -> Vec<Event> {
        self.events.clone()
    }

    /// The number of the last event.
    pub fn moment(&self) -> EventNumber {
        EventNumber(self.events.len() as u64)
    }

    /// Events from here on are of this thread.
    #[must_use]
    pub fn thread(mut self, thread: u32) -> Table {
        self.thread = ThreadNumber(thread);
        self
    }

    /// Events from here on have this site.
    #[must_use]
    pub fn at(mut self, site: u32) -> Table {
        self.site = Some(SiteId(site));
        self
    }

    /// Events from here on have no site.
    #[must_use]
    pub fn nowhere(mut self) -> Table {
        self.site = None;
        self
    }

    /// Any event.
    #[must_use]
    pub fn event(mut self, kind: EventKind) -> Table {
        let number = self.moment().0.saturating_add(1);
        self.events.push(Event {
            number: EventNumber(number),
            time_ns: number.saturating_mul(1000),
            thread: self.thread,
            site: self.site,
            kind,
        });
        self
    }

    /// The arena object of a key; without it the first own event puts it at 0x7000_0000 + 0x100 × key.
    #[must_use]
    pub fn seen(mut self, key: u32, object: u64) -> Table {
        let (arena, object) = (ArenaKey(key), Address(object));
        self.objects.insert(arena, object);
        self.event(EventKind::ArenaSeen { arena, object })
    }

    fn own(mut self, key: u32, kind: impl FnOnce(ArenaKey, u64) -> EventKind) -> Table {
        let arena = ArenaKey(key);
        if !self.objects.contains_key(&arena) {
            self = self.seen(key, 0x7000_0000_u64.saturating_add(u64::from(key).saturating_mul(0x100)));
        }
        let next = self.orders.entry(arena).or_default();
        let order = *next;
        *next = next.saturating_add(1);
        self.event(kind(arena, order))
    }

    /// An own event of this key is lost.
    #[must_use]
    pub fn lose(mut self, key: u32) -> Table {
        let next = self.orders.entry(ArenaKey(key)).or_default();
        *next = next.saturating_add(1);
        self
    }

    /// A create call with a size argument and nothing inside.
    #[must_use]
    pub fn create(self, key: u32, size: u64) -> Table {
        self.create_nested(key, size, 0)
    }

    /// A create call that contains the thread's last `nested` events.
    #[must_use]
    pub fn create_nested(self, key: u32, size: u64, nested: u64) -> Table {
        self.own(key, |arena, order| EventKind::Create {
            arena,
            order,
            size: Some(size),
            parent: None,
            name: None,
            nested,
        })
    }

    /// A create call with a name and a parent and no size.
    #[must_use]
    pub fn create_named(self, key: u32, name: &str, parent: Option<u32>) -> Table {
        let name = Some(name.to_owned());
        let parent = parent.map(ArenaKey);
        self.own(key, |arena, order| EventKind::Create { arena, order, size: None, parent, name, nested: 0 })
    }

    /// An alloc call.
    #[must_use]
    pub fn alloc(self, key: u32, block: u64, size: u64) -> Table {
        let block = Address(block);
        self.own(key, |arena, order| EventKind::Alloc { arena, order, block, size, align: None })
    }

    /// An alloc call that returned NULL.
    #[must_use]
    pub fn refuse(self, key: u32, size: u64) -> Table {
        self.alloc(key, 0, size)
    }

    /// A resize call.
    #[must_use]
    pub fn resize(self, key: u32, old: u64, new: u64, size: u64) -> Table {
        self.own(key, |arena, order| EventKind::Resize { arena, order, old: Address(old), new: Address(new), size })
    }

    /// A free call.
    #[must_use]
    pub fn free(self, key: u32, block: u64) -> Table {
        self.own(key, |arena, order| EventKind::Free { arena, order, block: Address(block) })
    }

    /// A mark call.
    #[must_use]
    pub fn mark(self, key: u32, value: u64) -> Table {
        self.own(key, |arena, order| EventKind::Mark { arena, order, mark: MarkValue(value) })
    }

    /// A rewind call.
    #[must_use]
    pub fn rewind(self, key: u32, value: u64) -> Table {
        self.own(key, |arena, order| EventKind::Rewind { arena, order, mark: MarkValue(value) })
    }

    /// A scope of our library's arena begins.
    #[must_use]
    pub fn scope_enter(self, key: u32, cursor: u64) -> Table {
        self.own(key, |arena, order| EventKind::ScopeEnter { arena, order, cursor: Address(cursor) })
    }

    /// It ends.
    #[must_use]
    pub fn scope_exit(self, key: u32, cursor: u64) -> Table {
        self.own(key, |arena, order| EventKind::ScopeExit { arena, order, cursor: Address(cursor) })
    }

    /// What the header of our library's arena says of its payload.
    #[must_use]
    pub fn bounds(self, key: u32, kind: BoundsKind, base: u64, capacity: u64) -> Table {
        let (arena, base) = (ArenaKey(key), Address(base));
        self.event(EventKind::Bounds { arena, base, capacity, reserved: capacity, kind })
    }

    /// A reset call.
    #[must_use]
    pub fn reset(self, key: u32) -> Table {
        self.own(key, |arena, order| EventKind::Reset { arena, order })
    }

    /// A destroy call.
    #[must_use]
    pub fn destroy(self, key: u32) -> Table {
        self.own(key, |arena, order| EventKind::Destroy { arena, order })
    }

    /// The thread's next own event of this key will have been entered when the key's next order was `since`.
    #[must_use]
    pub fn overlapped(self, key: u32, since: u64) -> Table {
        self.event(EventKind::Overlapped { arena: ArenaKey(key), since })
    }

    /// A capture before the next event.
    #[must_use]
    pub fn capture(self, key: u32, reason: CaptureReason, base: u64, len: u64) -> Table {
        self.event(EventKind::Capture { arena: ArenaKey(key), reason, base: Address(base), len, bytes: BlobId(0) })
    }

    /// An mmap call.
    #[must_use]
    pub fn map(self, address: u64, len: u64) -> Table {
        self.event(EventKind::Map {
            address: Address(address),
            len,
            protection: READ_WRITE,
            flags: PRIVATE_ANONYMOUS,
            observed: false,
        })
    }

    /// A mapping found in the memory map.
    #[must_use]
    pub fn observe(self, address: u64, len: u64) -> Table {
        self.event(EventKind::Map {
            address: Address(address),
            len,
            protection: READ_WRITE,
            flags: PRIVATE_ANONYMOUS,
            observed: true,
        })
    }

    /// An munmap call.
    #[must_use]
    pub fn unmap(self, address: u64, len: u64) -> Table {
        self.event(EventKind::Unmap { address: Address(address), len })
    }

    /// An mremap call.
    #[must_use]
    pub fn remap(self, old: u64, old_len: u64, new: u64, new_len: u64) -> Table {
        self.event(EventKind::Remap { old: Address(old), old_len, new: Address(new), new_len })
    }

    /// A malloc call.
    #[must_use]
    pub fn malloc(self, address: u64, size: u64) -> Table {
        self.event(EventKind::HeapAlloc { address: Address(address), size })
    }

    /// A free call of the C library.
    #[must_use]
    pub fn heap_free(self, address: u64) -> Table {
        self.event(EventKind::HeapFree { address: Address(address) })
    }

    /// A realloc call at `site`, as the recorder sees it: a free and an alloc.
    #[must_use]
    pub fn realloc(mut self, site: u32, old: u64, new: u64, size: u64) -> Table {
        let before = self.site.replace(SiteId(site));
        self = self.heap_free(old).malloc(new, size);
        self.site = before;
        self
    }

    /// The process exits.
    #[must_use]
    pub fn exit(self, status: i32) -> Table {
        self.event(EventKind::Exit { status })
    }

    /// The process executes another program.
    #[must_use]
    pub fn exec(self, path: &str) -> Table {
        self.event(EventKind::Exec { path: path.to_owned() })
    }

    /// A fault of this thread's own making.
    #[must_use]
    pub fn fault(self, signal: u32, address: u64) -> Table {
        self.event(EventKind::Fault {
            signal,
            address: Address(address),
            pc: Address(0x40_1000),
            synchronous: true,
            registers: Default::default(),
        })
    }

    /// A fatal signal that somebody sent.
    #[must_use]
    pub fn killed(self, signal: u32) -> Table {
        self.event(EventKind::Fault {
            signal,
            address: Address(0),
            pc: Address(0x40_1000),
            synchronous: false,
            registers: Default::default(),
        })
    }
}
