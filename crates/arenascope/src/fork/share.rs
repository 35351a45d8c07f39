//! Memory that parent, children and whoever gets its descriptor allocate from together: policy `share`.
//!
//! May be relied on: no two threads of any two processes get the same byte, however they came by the memory; a process that is killed at any
//! instant leaves memory that passes [`ShareArena::check`], and what it had leased and not used goes to others. Deliberately absent: reset and
//! free, for nobody can know who still looks at a block; the allocating handles (`share_local`).
//!
//! A `memfd`, mapped `MAP_SHARED`, sealed against shrinking, so that no process can take pages from under another. Cursor and leases lie inside it
//! (`share_header`); it holds no lock and no pointer. Pages are asked for before a lease is used: when the system has none, that is an error
//! and not a SIGBUS.
#![allow(unsafe_code)] // Maps, reads and hands out shared memory.

use crate::fork::offset::{self, Offset, Shareable, SliceOffset};
use crate::fork::share_header::{
    LARGEST, LEASES, LONGEST_SPAN, MAGIC_SHARE, NOTHING_LEFT, SHARE_HEADER_BYTES, SHARE_LAYOUT_VERSION, ShareHeader,
    ShareLease, pack, unpack,
};
use crate::lease_sizes::SHARE;
use crate::leases::{self, LEASE_GRAIN, NOBODY};
use crate::{Error, geometry, memory_file, pool, process};
use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::Ordering;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// A lease's first size, in bytes: less than a thread's in a `SharedArena`, for processes come and go.
pub(crate) const FIRST_LEASE_BYTES: u64 = 16 << 10;

/// Bit of an owner's thread number: its process is counted in another name space.
const ELSEWHERE: u32 = 1 << 31;

/// Why memory cannot be shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ShareError {
    /// The system gives no memory file (`memfd_create`, its size, or its seals): the operating system's error number.
    MemfdUnavailable(i32),
    /// The file cannot be mapped: the operating system's error number.
    MapRefused(i32),
    /// More than 8 TiB, or than the address space holds.
    TooLarge,
    /// The file is smaller than its header says, or than a header is.
    TooSmall {
        /// Bytes of the file.
        bytes: u64,
        /// Bytes that it should have.
        needed: u64,
    },
    /// The file does not begin as shared arena memory does.
    WrongMagic(u64),
    /// Written by another version of this library: its layout's number.
    OtherLayout(u32),
    /// Not sealed against shrinking: any process could take pages from under the others.
    NotSealed,
    /// The header contradicts itself: which rule is broken.
    Damaged(&'static str),
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShareError::MemfdUnavailable(number) => {
                write!(
                    f,
                    "the system gives no memory file to share (error number {number}): is memfd_create allowed here?"
                )
            }
            ShareError::MapRefused(number) => write!(f, "the memory file cannot be mapped (error number {number})"),
            ShareError::TooLarge => f.write_str("more memory than can be shared: 8 TiB at most"),
            ShareError::TooSmall { bytes, needed } => {
                write!(f, "the file has {bytes} bytes and should have {needed}: it was cut off, or is something else")
            }
            ShareError::WrongMagic(magic) => {
                write!(f, "the file does not begin as shared arena memory does (but with {magic:#018x})")
            }
            ShareError::OtherLayout(version) => {
                write!(
                    f,
                    "the memory has layout {version}, and this library knows layout {SHARE_LAYOUT_VERSION}: build both programs with one version"
                )
            }
            ShareError::NotSealed => f.write_str(
                "the file is not sealed against shrinking (F_SEAL_SHRINK): another process could take its pages away",
            ),
            ShareError::Damaged(rule) => write!(f, "the header contradicts itself: {rule}"),
        }
    }
}

impl core::error::Error for ShareError {}

/// An arena in memory that processes share: the policy `share`.
///
/// Made before a fork, it is the same memory in parent and children; in an unrelated process it is mapped by its descriptor. Each
/// thread of each process allocates through a handle of its own, [`local`](Self::local); what it allocates is named by an [`Offset`].
///
/// ```
/// use arenascope::fork::{AtomicOffset, Offset, ShareArena};
/// let arena = ShareArena::init(1 << 20)?;
/// let local = arena.local()?;
/// let mailbox = local.alloc(AtomicOffset::<u64>::new(Offset::NULL))?;
/// // SAFETY: the child allocates, publishes and ends: it takes no lock and runs no destructor.
/// match unsafe { libc::fork() } {
///     0 => {
///         let letter = local.alloc(42).unwrap(); // the child's handle notices that it is a child's
///         arena.get(mailbox).unwrap().publish(letter);
///         // SAFETY: ends the child; no destructor of the parent's runs.
///         unsafe { libc::_exit(0) }
///     }
///     // SAFETY: waits for the child made above; a null status is not written.
///     child => unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) },
/// };
/// let letter = arena.get(mailbox).unwrap().find();
/// assert_eq!(arena.get(letter), Some(&42));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ShareArena {
    header: NonNull<ShareHeader>,
    mapping_bytes: usize,
    file: OwnedFd,
    /// What its offsets have in their upper bits.
    pub(crate) mark: u64,
}

// SAFETY: all that is reached through a shared borrow is atomic, or blocks that `Shareable` lets all threads and processes see.
unsafe impl Sync for ShareArena {}
// SAFETY: nothing in it depends on a thread.
unsafe impl Send for ShareArena {}

/// A lease in shared memory, as it is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Process and thread that hold it; None: it waits for somebody.
    pub owner: Option<(u32, u32)>,
    /// Whether that process is there, as far as this one can tell.
    pub alive: bool,
    /// Where it begins, in bytes from the header.
    pub start: u64,
    /// Where what is left of it begins.
    pub used: u64,
    /// Where it ends.
    pub end: u64,
}

/// What a walk over the whole header found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Walk {
    /// Leased, in bytes.
    pub leased_bytes: u64,
    /// Of these, in leases and not handed out.
    pub unused_bytes: u64,
    /// Of these, lost at the ends of leases that were used up.
    pub lost_bytes: u64,
    /// Leases that somebody holds.
    pub held: usize,
    /// Of these, whose process is gone: the next one who needs a lease takes theirs.
    pub orphaned: usize,
    /// Requests refused, by all processes.
    pub refusals: u32,
}

impl ShareArena {
    /// New memory of `capacity` bytes, rounded up to a multiple of 128, beside a header of two pages. Some system calls; pages
    /// are taken as they are used.
    ///
    /// # Errors
    /// [`ShareError::MemfdUnavailable`], [`ShareError::MapRefused`], [`ShareError::TooLarge`].
    pub fn init(capacity: usize) -> Result<ShareArena, ShareError> {
        let bound = (capacity as u64)
            .checked_next_multiple_of(LEASE_GRAIN)
            .and_then(|bytes| bytes.checked_add(SHARE_HEADER_BYTES))
            .filter(|bytes| *bytes <= LARGEST && *bytes <= isize::MAX as u64 - (1 << 20))
            .ok_or(ShareError::TooLarge)?;
        let bytes = geometry::up(bound, 64 << 10);
        let file = memory_file::create(bytes).map_err(ShareError::MemfdUnavailable)?;
        let start = memory_file::map(memory_file::borrow(&file), bytes as usize).map_err(ShareError::MapRefused)?;
        let number = offset::next_number();
        let mark = offset::marked(number);
        let arena = ShareArena { header: start.cast(), mapping_bytes: bytes as usize, file, mark };
        let header = arena.header();
        header.number.store(number, Ordering::Relaxed);
        header.layout_version.store(SHARE_LAYOUT_VERSION, Ordering::Relaxed);
        header.header_bytes.store(SHARE_HEADER_BYTES as u32, Ordering::Relaxed);
        header.cursor.store(SHARE_HEADER_BYTES, Ordering::Relaxed);
        header.bound.store(bound, Ordering::Relaxed);
        header.mapping_bytes.store(bytes, Ordering::Relaxed);
        header.pid_space.store(process::pid_space(), Ordering::Relaxed);
        header.pid.store(pool::who().0, Ordering::Relaxed);
        for lease in &header.leases {
            lease.used.store(NOTHING_LEFT, Ordering::Relaxed);
        }
        header.magic.store(MAGIC_SHARE, Ordering::Release);
        Ok(arena)
    }

    /// Maps memory that another process made, by its descriptor ([`as_fd`](AsFd::as_fd) there).
    ///
    /// # Errors
    /// [`ShareError::WrongMagic`], [`OtherLayout`](ShareError::OtherLayout), [`TooSmall`](ShareError::TooSmall), [`NotSealed`](ShareError::NotSealed) or
    /// [`Damaged`](ShareError::Damaged) when it is not what it should be; [`ShareError::MapRefused`].
    ///
    /// # Safety
    /// Whoever else maps the file keeps to the rules of this library: it writes only what it allocated, and only atomically what others may read.
    pub unsafe fn attach(file: OwnedFd) -> Result<ShareArena, ShareError> {
        let (bytes, sealed) = memory_file::size_and_seal(memory_file::borrow(&file)).map_err(ShareError::MapRefused)?;
        if bytes < SHARE_HEADER_BYTES {
            return Err(ShareError::TooSmall { bytes, needed: SHARE_HEADER_BYTES });
        }
        if bytes > LARGEST || bytes > isize::MAX as u64 {
            return Err(ShareError::TooLarge);
        }
        if !sealed {
            return Err(ShareError::NotSealed);
        }
        let start = memory_file::map(memory_file::borrow(&file), bytes as usize).map_err(ShareError::MapRefused)?;
        let mut arena = ShareArena { header: start.cast(), mapping_bytes: bytes as usize, file, mark: 0 };
        arena.check()?;
        arena.mark = offset::marked(arena.header().number.load(Ordering::Relaxed));
        Ok(arena)
    }

    pub(crate) fn header(&self) -> &ShareHeader {
        // SAFETY: mapped until `drop`, at least a header long; all its fields are atomic.
        unsafe { self.header.as_ref() }
    }

    /// Bytes that can be leased, all in all.
    pub fn capacity(&self) -> usize {
        self.header().bound.load(Ordering::Relaxed).saturating_sub(SHARE_HEADER_BYTES) as usize
    }

    /// Where the memory is mapped in this process.
    pub fn base(&self) -> *mut u8 {
        self.header.as_ptr().cast()
    }

    /// What lies at `offset`; None for [`Offset::NULL`], an offset of other memory, outside of what was leased, or not aligned. O(1).
    #[inline]
    pub fn get<T: Shareable>(&self, offset: Offset<T>) -> Option<&T> {
        let place = self.place(offset.bits(), 1, size_of::<T>(), align_of::<T>())?;
        // SAFETY: inside the mapping, aligned, a T's place (the offset is this memory's), of which any bits are a T; others change it only through atomics (`Shareable`).
        Some(unsafe { place.cast::<T>().as_ref() })
    }

    /// The items that lie there; None as with [`get`](Self::get). O(1).
    #[inline]
    pub fn get_slice<T: Shareable>(&self, slice: SliceOffset<T>) -> Option<&[T]> {
        let place = self.place(slice.first.bits(), slice.count, size_of::<T>(), align_of::<T>())?;
        // SAFETY: as in `get`, for so many.
        Some(unsafe { NonNull::slice_from_raw_parts(place.cast::<T>(), slice.count as usize).as_ref() })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.header.cast()
    }

    /// Whether the first `end` bytes are in the mapping.
    pub(crate) fn holds(&self, end: u64) -> bool {
        end <= self.mapping_bytes as u64
    }

    pub(crate) fn place(&self, bits: u64, count: u64, size: usize, align: usize) -> Option<NonNull<u8>> {
        let at = offset::place_in(self.mark, bits)?;
        let end = count.checked_mul(size as u64)?.checked_add(at)?;
        let leased = self.header().cursor.load(Ordering::Relaxed).min(self.mapping_bytes as u64);
        let fits = SHARE_HEADER_BYTES <= at && end <= leased && at.is_multiple_of(align as u64);
        // SAFETY: at < mapping_bytes: inside the mapping.
        fits.then(|| unsafe { self.header.cast::<u8>().add(at as usize) })
    }

    /// The leases as they are now. O(leases).
    pub fn leases(&self) -> impl Iterator<Item = Held> + '_ {
        let onlooker = self.onlooker();
        self.header().leases.iter().filter_map(move |lease| {
            let owner = lease.owner.load(Ordering::Relaxed);
            let (start, bytes) = unpack(lease.span.load(Ordering::Relaxed));
            let used = lease.used.load(Ordering::Relaxed).min(start + bytes);
            (owner != NOBODY || bytes > 0).then(|| Held {
                owner: (owner != NOBODY).then_some(((owner >> 32) as u32, owner as u32 & !ELSEWHERE)),
                alive: !onlooker.sees_gone(owner),
                start,
                used,
                end: start + bytes,
            })
        })
    }

    /// Whether the header keeps its rules: magic, layout, sizes, cursor, and every lease apart from the others and below the cursor. Others may
    /// be allocating meanwhile. O(leases²), of 252 leases at most.
    ///
    /// # Errors
    /// What [`attach`](Self::attach) says, and [`ShareError::Damaged`] with the rule that is broken.
    pub fn check(&self) -> Result<Walk, ShareError> {
        let header = self.header();
        let magic = header.magic.load(Ordering::Acquire);
        if magic != MAGIC_SHARE {
            return Err(ShareError::WrongMagic(magic));
        }
        let version = header.layout_version.load(Ordering::Relaxed);
        if version != SHARE_LAYOUT_VERSION {
            return Err(ShareError::OtherLayout(version));
        }
        let needed = header.mapping_bytes.load(Ordering::Relaxed);
        if needed > self.mapping_bytes as u64 {
            return Err(ShareError::TooSmall { bytes: self.mapping_bytes as u64, needed });
        }
        let damaged = |rule| Err(ShareError::Damaged(rule));
        let bound = header.bound.load(Ordering::Relaxed);
        if u64::from(header.header_bytes.load(Ordering::Relaxed)) != SHARE_HEADER_BYTES {
            return damaged("the header has another size than its layout says");
        }
        if !(SHARE_HEADER_BYTES..=needed).contains(&bound) {
            return damaged("the capacity reaches past the memory");
        }
        // Spans first: the cursor only grows, so what was leased when they were read is below what it is afterwards.
        let mut walk = Walk { leased_bytes: 0, unused_bytes: 0, lost_bytes: 0, held: 0, orphaned: 0, refusals: 0 };
        let onlooker = self.onlooker();
        let mut spans = [(0, 0); LEASES];
        let mut count = 0;
        for lease in &header.leases {
            let owner = lease.owner.load(Ordering::Relaxed);
            walk.held += usize::from(owner != NOBODY);
            walk.orphaned += usize::from(onlooker.sees_gone(owner));
            let (start, bytes) = unpack(lease.span.load(Ordering::Acquire));
            let used = lease.used.load(Ordering::Relaxed);
            if bytes == 0 {
                continue;
            }
            let end = start + bytes;
            // A span that changes just now: `used` is of the new one, or says that nothing is left.
            let still = unpack(lease.span.load(Ordering::Acquire)) == (start, bytes);
            if still && used != NOTHING_LEFT {
                if used < start || end < used {
                    return damaged("what is left of a lease lies outside of it");
                }
                walk.unused_bytes += end - used;
            }
            if start < SHARE_HEADER_BYTES {
                return damaged("a lease begins inside the header");
            }
            if let Some(place) = spans.get_mut(count) {
                *place = (start, end);
                count += 1;
            }
        }
        let cursor = header.cursor.load(Ordering::Acquire);
        if cursor < SHARE_HEADER_BYTES || cursor > bound || !cursor.is_multiple_of(LEASE_GRAIN) {
            return damaged("the cursor lies outside of the memory");
        }
        let spans = spans.get(..count).unwrap_or_default();
        if spans.iter().any(|(_, end)| *end > cursor) {
            return damaged("a lease reaches past the cursor");
        }
        // Each with each: sorting would bring code that can panic into the C library, and they are few.
        let meets =
            |at: usize, one: &(u64, u64)| spans.iter().skip(at + 1).any(|other| one.0 < other.1 && other.0 < one.1);
        if spans.iter().enumerate().any(|(at, span)| meets(at, span)) {
            return damaged("two leases overlap");
        }
        walk.leased_bytes = cursor - SHARE_HEADER_BYTES;
        walk.lost_bytes = header.lost.load(Ordering::Relaxed);
        walk.refusals = header.refusals.load(Ordering::Relaxed);
        Ok(walk)
    }

    /// Who the calling thread is, and whether it can tell of others that they are gone: numbers of processes mean something within their
    /// name space only.
    fn onlooker(&self) -> Onlooker {
        let (pid, tid) = pool::who();
        let space = self.header().pid_space.load(Ordering::Relaxed);
        let here = space != 0 && space == process::pid_space();
        let elsewhere = if here { 0 } else { ELSEWHERE };
        Onlooker { me: leases::holder(pid, tid & !ELSEWHERE | elsewhere), here }
    }

    /// A lease for this thread with room for `needed` bytes, or any when that is 0: one that waits, or one whose process is gone.
    pub(crate) fn hold(&self, needed: u64) -> Option<&ShareLease> {
        let onlooker = self.onlooker();
        let me = onlooker.me;
        let leases = &self.header().leases;
        let fits = |lease: &&ShareLease| {
            let (start, bytes) = unpack(lease.span.load(Ordering::Relaxed));
            let used = lease.used.load(Ordering::Relaxed).min(start + bytes);
            start + bytes - used >= needed
        };
        let waiting = leases.iter().filter(fits).find(|lease| leases::claim(&lease.owner, me));
        waiting.or_else(|| {
            leases.iter().filter(fits).find(|lease| {
                let owner = lease.owner.load(Ordering::Relaxed);
                onlooker.sees_gone(owner) && leases::inherit(&lease.owner, owner, me)
            })
        })
    }

    /// Takes a span of at least `needed` bytes for a block apart; its begin.
    pub(crate) fn take_apart(&self, needed: u64) -> Result<u64, Error> {
        let header = self.header();
        let bound = header.bound.load(Ordering::Relaxed).min(self.mapping_bytes as u64);
        let span = leases::take(&header.cursor, bound, needed, needed).ok_or(Error::Full)?;
        self.populate(span).map(|()| span.start)
    }

    /// Gives the lease room for `needed` bytes: longer in place, or elsewhere. P2, P3.
    ///
    /// The calling thread owns the lease.
    pub(crate) fn renew(&self, lease: &ShareLease, needed: u64, suggested: u64) -> Result<(), Error> {
        let header = self.header();
        let bound = header.bound.load(Ordering::Relaxed).min(self.mapping_bytes as u64);
        let (start, bytes) = unpack(lease.span.load(Ordering::Relaxed));
        let end = start + bytes;
        let left = bound.saturating_sub(header.cursor.load(Ordering::Relaxed));
        let want = needed.max(suggested.min(left / SHARE / LEASE_GRAIN * LEASE_GRAIN));
        if bytes > 0
            && (start..=end).contains(&lease.used.load(Ordering::Relaxed))
            && bytes + want <= LONGEST_SPAN
            && let Some(span) = leases::extend(&header.cursor, bound, end, want)
        {
            self.populate(span)?;
            lease.span.store(pack(start, bytes + want), Ordering::Release);
            return Ok(());
        }
        let span = leases::take(&header.cursor, bound, needed, want).ok_or(Error::Full)?;
        self.populate(span)?;
        let used = lease.used.swap(NOTHING_LEFT, Ordering::Release);
        if used != NOTHING_LEFT {
            // Not more than there was, also where somebody wrote over the header.
            header.lost.fetch_add(end.saturating_sub(used).min(bytes), Ordering::Relaxed);
        }
        lease.span.store(pack(span.start, span.end - span.start), Ordering::Release);
        lease.used.store(span.start, Ordering::Release);
        Ok(())
    }

    /// Asks for the pages of a span, or gives it back.
    fn populate(&self, span: leases::Span) -> Result<(), Error> {
        // SAFETY: P1 — inside the mapping.
        let done = unsafe {
            memory_file::populate(
                memory_file::borrow(&self.file),
                self.header.cast(),
                span.start as usize,
                span.end as usize,
            )
        };
        if done.is_err() && !leases::undo(&self.header().cursor, span) {
            self.header().lost.fetch_add(span.end - span.start, Ordering::Relaxed);
        }
        done
    }

    /// Counts a refusal: whether others hold what would do.
    pub(crate) fn refuse(&self, needed: u64) -> Error {
        self.header().refusals.fetch_add(1, Ordering::Relaxed);
        let held = self.leases().any(|lease| lease.end - lease.used >= needed);
        if held { Error::LeasesHeld } else { Error::Full }
    }
}

/// A thread that looks at owners.
struct Onlooker {
    /// Itself in owners' words.
    me: u64,
    /// It counts processes as the memory's creator does.
    here: bool,
}

impl Onlooker {
    /// Whether the owner's process is certainly not there any more. One that has ended and was not waited for yet counts as there, and so
    /// does one whose number another process has now.
    fn sees_gone(&self, owner: u64) -> bool {
        owner != NOBODY && self.here && owner as u32 & ELSEWHERE == 0 && process::is_gone((owner >> 32) as u32)
    }
}

impl AsFd for ShareArena {
    /// The memory file, for handing to another process. It is closed on `exec`. Bytes written into it by file calls change values behind Rust's back, as
    /// those written into `/proc/self/mem` do: no memory file can forbid the one and allow the other.
    fn as_fd(&self) -> BorrowedFd<'_> {
        memory_file::borrow(&self.file)
    }
}

impl Drop for ShareArena {
    /// Unmaps the memory in this process; it lives as long as some process maps it, or has its descriptor open.
    fn drop(&mut self) {
        // SAFETY: the whole mapping; handles and references borrow `self`.
        unsafe { memory_file::unmap(self.header.cast(), self.mapping_bytes) }
    }
}

impl fmt::Debug for ShareArena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShareArena")
            .field("base", &self.base())
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}
