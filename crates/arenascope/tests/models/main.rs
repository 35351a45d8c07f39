//! Every order of the steps by which leases are taken, returned and reset, and places published: run by loom under the rules of C11
//! memory, which are weaker than this machine's. The library's own file is compiled once with its orderings, where all must be well, and
//! once for each ordering with that one weakened, where loom has to find the fault: so the models can fail.

#![allow(clippy::duplicate_mod)] // The same file once for each way of compiling it: that is the point.
#![allow(unsafe_code)] // The contents of berths and spans are plain memory to the models.
mod strong;
mod torn;
mod torn_atomic;
mod weak_claim;
mod weak_find;
mod weak_publish;
mod weak_release;

/// The models, for one way of compiling `leases`.
macro_rules! models {
    ($variant:ident) => {
        pub mod $variant {
            use crate::$variant::atomics::AtomicU64;
            use crate::$variant::leases::{
                LEASE_GRAIN, Span, claim, extend, find, holder, inherit, publish, release, take, undo,
            };
            use loom::cell::UnsafeCell;
            use loom::sync::Arc;
            use loom::thread;

            fn disjoint(spans: &[Option<Span>], bound: u64) {
                let mut taken: Vec<Span> = spans.iter().flatten().copied().collect();
                taken.sort_by_key(|span| span.start);
                assert!(taken.iter().all(|span| span.start < span.end && span.end <= bound));
                assert!(taken.windows(2).all(|pair| pair[0].end <= pair[1].start), "{taken:?}");
            }

            /// Leases, one that grows in place, one that is given back: whoever gets one has it alone.
            pub fn leases_are_disjoint() {
                loom::model(|| {
                    const BOUND: u64 = 5 * LEASE_GRAIN;
                    let cursor = Arc::new(AtomicU64::new(LEASE_GRAIN));
                    let (other, third) = (cursor.clone(), cursor.clone());
                    let one = thread::spawn(move || {
                        let first = take(&other, BOUND, LEASE_GRAIN, 2 * LEASE_GRAIN);
                        let more = first.and_then(|span| extend(&other, BOUND, span.end, LEASE_GRAIN));
                        [first, more]
                    });
                    let two = thread::spawn(move || {
                        let span = take(&third, BOUND, LEASE_GRAIN, LEASE_GRAIN);
                        // Given back: it is not this thread's any more.
                        span.filter(|span| !undo(&third, *span))
                    });
                    let mine = extend(&cursor, BOUND, LEASE_GRAIN, LEASE_GRAIN);
                    let [first, more] = one.join().unwrap();
                    let last = two.join().unwrap();
                    disjoint(&[mine, first, more, last], BOUND);
                });
            }

            /// A berth goes from holder to holder, and its plain fields with it.
            pub fn a_slot_is_handed_on_with_what_is_in_it() {
                loom::model(|| {
                    let berth = Arc::new((AtomicU64::new(0), UnsafeCell::new(0u64)));
                    let threads: Vec<_> = (1..=2)
                        .map(|tid| {
                            let berth = berth.clone();
                            thread::spawn(move || {
                                if claim(&berth.0, holder(1, tid)) {
                                    // SAFETY: held; loom checks that nobody else is here.
                                    berth.1.with_mut(|fields| unsafe { *fields += 1 });
                                    release(&berth.0);
                                    return 1;
                                }
                                0
                            })
                        })
                        .collect();
                    let held: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
                    assert!(held >= 1);
                    assert!(claim(&berth.0, holder(1, 3)), "free in the end");
                    // SAFETY: held.
                    berth.1.with(|fields| assert_eq!(unsafe { *fields }, held));
                });
            }

            /// Two take over the place of one that is gone, at once: one of them gets it, with what was in it; then it is handed on as ever.
            pub fn one_inherits_from_the_dead() {
                loom::model(|| {
                    let dead = holder(7, 7);
                    let lease = Arc::new((AtomicU64::new(0), UnsafeCell::new(0u64)));
                    let theirs = lease.clone();
                    // Killed with the place held: nothing of it is released, but what it did before it had released once.
                    let gone = thread::spawn(move || {
                        assert!(claim(&theirs.0, dead));
                        // SAFETY: held; loom checks that nobody else is here.
                        theirs.1.with_mut(|fields| unsafe { *fields = 10 });
                    });
                    gone.join().unwrap();
                    let heirs: Vec<_> = (1..=2)
                        .map(|pid| {
                            let lease = lease.clone();
                            thread::spawn(move || {
                                let me = holder(pid, pid);
                                if inherit(&lease.0, dead, me) || claim(&lease.0, me) {
                                    // SAFETY: held.
                                    lease.1.with_mut(|fields| unsafe { *fields += 1 });
                                    release(&lease.0);
                                    return 1;
                                }
                                0
                            })
                        })
                        .collect();
                    let held: u64 = heirs.into_iter().map(|heir| heir.join().unwrap()).sum();
                    assert!(held >= 1, "somebody has it");
                    assert!(!inherit(&lease.0, dead, holder(3, 3)), "the dead one holds it no more");
                    assert!(!inherit(&lease.0, 0, holder(3, 3)), "nobody is no holder that is gone");
                    // SAFETY: the heirs have ended.
                    lease.1.with(|fields| assert_eq!(unsafe { *fields }, 10 + held));
                });
            }

            /// A reset by who has the arena exclusively: the same bytes go out again, with what was there.
            pub fn after_a_reset_all_is_handed_out_again() {
                loom::model(|| {
                    const BOUND: u64 = 2 * LEASE_GRAIN;
                    let arena = Arc::new((AtomicU64::new(0), [UnsafeCell::new(0u64), UnsafeCell::new(0u64)]));
                    let allocate = |arena: &(AtomicU64, [UnsafeCell<u64>; 2])| {
                        let span = take(&arena.0, BOUND, LEASE_GRAIN, LEASE_GRAIN)?;
                        // SAFETY: the span is ours; loom checks that it is nobody else's.
                        arena.1[(span.start / LEASE_GRAIN) as usize].with_mut(|bytes| unsafe { *bytes += 1 });
                        Some(span)
                    };
                    for round in 1..=2 {
                        let other = arena.clone();
                        let thread = thread::spawn(move || allocate(&other));
                        let mine = allocate(&arena);
                        disjoint(&[mine, thread.join().unwrap()], BOUND);
                        // SAFETY: the thread has ended.
                        arena.1.iter().for_each(|bytes| bytes.with(|bytes| assert_eq!(unsafe { *bytes }, round)));
                        arena.0.store(0, loom::sync::atomic::Ordering::Relaxed);
                    }
                });
            }

            /// Memory between processes: the cursor lies in it, and so does what is published.
            pub fn what_is_found_was_written_before() {
                loom::model(|| {
                    const BOUND: u64 = 3 * LEASE_GRAIN;
                    let memory = Arc::new((
                        AtomicU64::new(LEASE_GRAIN),
                        AtomicU64::new(0),
                        [UnsafeCell::new(0u64), UnsafeCell::new(0u64), UnsafeCell::new(0u64)],
                    ));
                    let other = memory.clone();
                    let writer = thread::spawn(move || {
                        let span = take(&other.0, BOUND, LEASE_GRAIN, LEASE_GRAIN).expect("room for both");
                        // SAFETY: the span is ours.
                        other.2[(span.start / LEASE_GRAIN) as usize].with_mut(|bytes| unsafe { *bytes = 7 });
                        publish(&other.1, span.start);
                    });
                    let mine = take(&memory.0, BOUND, LEASE_GRAIN, LEASE_GRAIN).expect("room for both");
                    // SAFETY: the span is ours.
                    memory.2[(mine.start / LEASE_GRAIN) as usize].with_mut(|bytes| unsafe { *bytes = 1 });
                    match find(&memory.1) {
                        0 => {}
                        // SAFETY: published after it was written; loom checks that the write comes before.
                        at => memory.2[(at / LEASE_GRAIN) as usize].with(|bytes| assert_eq!(unsafe { *bytes }, 7)),
                    }
                    writer.join().unwrap();
                });
            }
        }
    };
}

mod run {
    #![allow(dead_code)] // Of a weakened variant only the model that must fail is run.
    models!(strong);
    models!(torn);
    models!(weak_claim);
    models!(weak_find);
    models!(weak_publish);
    models!(weak_release);
}

#[test]
fn leases_are_disjoint() {
    run::strong::leases_are_disjoint();
}

#[test]
fn a_slot_is_handed_on_with_what_is_in_it() {
    run::strong::a_slot_is_handed_on_with_what_is_in_it();
}

#[test]
fn one_inherits_from_the_dead() {
    run::strong::one_inherits_from_the_dead();
}

#[test]
fn after_a_reset_all_is_handed_out_again() {
    run::strong::after_a_reset_all_is_handed_out_again();
}

#[test]
fn what_is_found_was_written_before() {
    run::strong::what_is_found_was_written_before();
}

#[test]
#[should_panic]
fn a_cursor_that_is_read_and_written_apart_is_caught() {
    run::torn::leases_are_disjoint();
}

#[test]
#[should_panic]
fn a_torn_cursor_is_caught_after_a_reset_too() {
    run::torn::after_a_reset_all_is_handed_out_again();
}

#[test]
#[should_panic]
fn a_torn_inheritance_is_caught() {
    run::torn::one_inherits_from_the_dead();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_inheritance_that_acquires_nothing_is_caught() {
    run::weak_claim::one_inherits_from_the_dead();
}

/// The models bring atomics of their own; their orderings are the library's.
#[test]
fn the_strong_model_has_the_library_s_orderings() {
    let orders = |text: &str| -> Vec<String> {
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("pub(crate) const "));
        lines.map(str::to_owned).collect()
    };
    let library = orders(include_str!("../../src/atomics.rs"));
    assert_eq!(library.len(), 6, "{library:?}");
    assert_eq!(library, orders(include_str!("strong.rs")));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_claim_that_acquires_nothing_is_caught() {
    run::weak_claim::a_slot_is_handed_on_with_what_is_in_it();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_release_that_releases_nothing_is_caught() {
    run::weak_release::a_slot_is_handed_on_with_what_is_in_it();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn publishing_that_releases_nothing_is_caught() {
    run::weak_publish::what_is_found_was_written_before();
}

#[test]
#[should_panic(expected = "Causality violation")]
fn finding_that_acquires_nothing_is_caught() {
    run::weak_find::what_is_found_was_written_before();
}
