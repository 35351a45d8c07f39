//! Events of the arena library where one allocation in so many bytes is told: what becomes of them.
//!
//! May be relied on: an arena is told of with its first sample, as its header says it was made; a record of an end concerns a living sample, or
//! was the arena's. Bytes by which a block grew are a sample of their own, and end with the block. Absent on purpose: which
//! allocations are told (the library decides, `arenascope::sampling`), and captures.

use crate::observed::{Header, LibraryEvent, header, kind, place};
use crate::recorder::Recorder;
use crate::sites::CallFrame;
use crate::thread::Thread;
use arenascope_event::BoundsKind;
use arenascope_trace::Record;
use core::sync::atomic::Ordering::Relaxed;

impl Recorder {
    /// As [`Recorder::observed`], where the library tells of samples.
    #[cold]
    pub(crate) fn observed_sample(
        &self,
        thread: &mut Thread,
        event: &LibraryEvent,
        call: CallFrame,
        wanted: impl FnOnce(&[u8]) -> bool,
    ) {
        let header = header(event);
        let is_first = event.number == 1;
        if is_first && header.is_some_and(|header| !header.name.is_empty() && !wanted(header.name)) {
            header.iter().for_each(Header::release);
            return;
        }
        let tells = matches!(
            event.kind,
            kind::ALLOC
                | kind::GROWN
                | kind::RESIZE
                | kind::FREE
                | kind::SCOPE_EXIT
                | kind::REWIND
                | kind::RESET
                | kind::DESTROY
        );
        let Some(entry) = self.arena(thread, event.arena).filter(|_| tells) else { return };
        let arena = entry.key.load(Relaxed);
        let order = || entry.order.fetch_add(1, Relaxed);
        let site = self.site_at(thread, call, place(event));
        if is_first && event.kind != kind::DESTROY {
            entry.clear_spans();
            let size = header.filter(|header| header.bounds() == BoundsKind::Bounded).map(|header| header.capacity);
            let name = header.map(|header| header.name).filter(|name| !name.is_empty());
            let made = header.and_then(|header| header.made_at());
            let made = made.map_or(site, |made| self.site_of_place(thread, made));
            let record = Record::Create { arena, order: order(), size, parent: None, name, nested: 0 };
            self.note_of(thread, made, &record);
        }
        match event.kind {
            kind::ALLOC | kind::GROWN => {
                let leased = |header: &Header<'_>| header.bounds() == BoundsKind::Lease;
                if let Some(header) = header.filter(|header| header.capacity > 0 && (is_first || leased(header))) {
                    self.note_bounds(thread, arena, &header);
                }
                let whole = if event.kind == kind::GROWN { event.old_block } else { event.block };
                if !self.heap().insert(whole, event.block) {
                    // Its end will not be seen.
                    self.skipped_heap();
                }
                self.note_block(entry, event.block, event.size);
                self.alloc_here(thread, arena, order(), site, [event.block, event.size, event.align]);
            }
            kind::FREE | kind::RESIZE => {
                let old = if event.kind == kind::FREE { event.block } else { event.old_block };
                if event.kind == kind::RESIZE && event.old_block == event.block {
                    return;
                }
                while let Some(block) = self.heap().remove(old) {
                    self.note_of(thread, site, &Record::Free { arena, order: order(), block });
                }
            }
            kind::SCOPE_EXIT | kind::REWIND => {
                for (_, high) in entry.spans().filter(|(low, high)| (*low..*high).contains(&event.block)) {
                    self.heap().forget(event.block, high);
                }
                let (order, cursor) = (order(), event.block);
                let record = match event.kind {
                    kind::REWIND => Record::Rewind { arena, order, mark: cursor },
                    _ => Record::ScopeExit { arena, order, cursor },
                };
                self.note_of(thread, site, &record);
            }
            _ => {
                for (low, high) in entry.spans() {
                    self.heap().forget(low, high);
                }
                let order = order();
                let ends = event.kind == kind::DESTROY;
                let record = if ends { Record::Destroy { arena, order } } else { Record::Reset { arena, order } };
                self.note_of(thread, site, &record);
                entry.clear_spans();
            }
        }
    }
}
