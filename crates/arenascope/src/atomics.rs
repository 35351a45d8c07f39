//! The atomics of `leases`, and what each ordering is for. The models bring others of the same names.
#![forbid(unsafe_code)]

pub(crate) use core::sync::atomic::AtomicU64;

/// Orderings by what they are for.
pub(crate) mod order {
    use core::sync::atomic::Ordering;

    /// The cursor: that exchanges are one after the other makes spans disjoint; nothing is published by it. What lies in a span was never
    /// written, or before a reset, which has the arena exclusively.
    pub(crate) const TAKE: Ordering = Ordering::Relaxed;
    /// A new holder sees what the last one left in the place: pairs with `RELEASE`.
    pub(crate) const CLAIM: Ordering = Ordering::Acquire;
    /// The last holder's writes are done when the place is free: pairs with `CLAIM`.
    pub(crate) const RELEASE: Ordering = Ordering::Release;
    /// What lies at a published place was written before. Pairs with `FIND`.
    pub(crate) const PUBLISH: Ordering = Ordering::Release;
    /// Pairs with `PUBLISH`.
    pub(crate) const FIND: Ordering = Ordering::Acquire;
    /// Asking who holds a place, before trying.
    pub(crate) const LOOK: Ordering = Ordering::Relaxed;
}
