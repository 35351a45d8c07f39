//! What the last freed blocks of each arena hold, as the arena's last call left them.
//!
//! An allocator may keep its links in freed blocks, so nothing is written there. But between the return of one call of the
//! arena and the entry of the next its functions do not run: what changes then, the program changed. Numbers and bytes
//! only; reading the host, and what a change means, are elsewhere.

/// Blocks of one arena that are remembered.
pub(crate) const ROWS: usize = 4;
/// Arenas that have rows: those with the lowest keys.
pub(crate) const ARENAS: usize = 1 << 12;
/// Bytes of a block that are remembered, the first.
pub(crate) const BYTES: usize = 64;

/// One freed block.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Row {
    pub block: u64,
    pub size: u64,
    /// Order of the event that freed it.
    pub ended: u64,
    /// The arena's next order when `bytes` were read.
    pub since: u64,
    /// Bytes kept; 0: no row.
    pub len: u32,
    /// True when `bytes` are what lies there between two calls.
    pub known: u32,
    pub bytes: [u8; BYTES],
}

/// The rows of one arena.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct OfArena {
    pub rows: [Row; ROWS],
    next: u32,
}

// SAFETY: integers.
#[allow(unsafe_code, reason = "marks a table row as valid when zeroed")]
unsafe impl crate::reserve::Zeroed for OfArena {}

impl OfArena {
    /// A block was freed; what it holds is read when the call has returned.
    pub fn add(&mut self, block: u64, size: u64, ended: u64) {
        self.forget_inside(block, block.saturating_add(size));
        let index = self.next as usize % ROWS;
        self.next = self.next.wrapping_add(1);
        if let Some(row) = self.rows.get_mut(index) {
            let len = size.min(BYTES as u64) as u32;
            *row = Row { block, size, ended, since: 0, len, known: 0, bytes: [0; BYTES] };
        }
    }

    /// Somebody owns `start..end` now, or nobody has it any more.
    pub fn forget_inside(&mut self, start: u64, end: u64) {
        let inside = |row: &&mut Row| row.block < end && start < row.block.saturating_add(row.size);
        self.rows.iter_mut().filter(inside).for_each(|row| row.len = 0);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.rows.iter_mut().for_each(|row| row.len = 0);
    }
}
