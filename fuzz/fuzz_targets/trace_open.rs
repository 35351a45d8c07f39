//! Any bytes as a trace: opened, read, followed, sealed. Nothing may panic, and what is sealed must be readable again.
#![no_main]

use arenascope_event::EventKind;
use arenascope_trace::layout::ClockPair;
use arenascope_trace::{DamageKind, Follower, Trace, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut follower = Follower::new();
    // The file grows in two steps.
    for len in [bytes.len() / 2, bytes.len()] {
        let file = &bytes[..len];
        follower.update(file);
        while follower.next(file).is_some() {}
    }
    while follower.next_at_end(bytes).is_some() {}
    let Ok(trace) = Trace::open(bytes) else { return };
    let mut number = 0;
    for event in trace.events() {
        number += 1;
        assert_eq!(event.number.0, number);
        if let EventKind::Capture { bytes, .. } = event.kind {
            let _ = trace.blob(bytes);
        }
    }
    let _ = trace.check();
    let facts = trace.facts();
    let seal = seal(bytes, &facts, ClockPair { tsc: 5, ns: 5 }).expect("it opened");
    let mut sealed = bytes.to_vec();
    sealed.resize(seal.tail_offset as usize, 0);
    sealed.extend_from_slice(&seal.tail);
    for (at, word) in seal.words {
        sealed[at as usize..at as usize + 8].copy_from_slice(&word);
    }
    // The rest of a segment that is cut off becomes zeros, and its checksum fails; a tail beyond reason shrinks again.
    let cut = |damage: &arenascope_trace::Damage| {
        matches!(damage.what, DamageKind::Truncated | DamageKind::TailTooLarge)
    };
    if trace.damage().iter().any(cut) {
        return;
    }
    let again = Trace::open(&sealed).expect("sealed");
    assert_eq!(again.events().count() as u64, number);
    let mut expected = facts;
    expected.lost.damaged = again.facts().lost.damaged;
    assert_eq!(again.facts(), expected);
});
