//! As the library, but a claim acquires nothing.
pub(crate) mod atomics {
    pub(crate) use loom::sync::atomic::AtomicU64;

    pub(crate) mod order {
        use loom::sync::atomic::Ordering;

        pub(crate) const TAKE: Ordering = Ordering::Relaxed;
        pub(crate) const CLAIM: Ordering = Ordering::Relaxed;
        pub(crate) const RELEASE: Ordering = Ordering::Release;
        pub(crate) const PUBLISH: Ordering = Ordering::Release;
        pub(crate) const FIND: Ordering = Ordering::Acquire;
        pub(crate) const LOOK: Ordering = Ordering::Relaxed;
    }
}

#[path = "../../src/leases.rs"]
#[allow(dead_code)] // Each model runs a part.
pub(crate) mod leases;
