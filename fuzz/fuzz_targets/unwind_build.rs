//! Any bytes as call frame information: an error or a table in order, in time that the bytes' length bounds; and any walk by it ends.
#![no_main]

use arenascope_unwind::{Cursor, Memory, Section, build, step};
use libfuzzer_sys::fuzz_target;

/// A stack that holds whatever the input says.
struct Words<'a>(&'a [u8]);

impl Memory for Words<'_> {
    fn word(&mut self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(0x7000)?).ok()?;
        (at % 8 == 0).then_some(())?;
        Some(u64::from_le_bytes(self.0.get(at..at + 8)?.try_into().ok()?))
    }
}

fuzz_target!(|input: (u32, &[u8], &[u8])| {
    let (address, bytes, stack) = input;
    let code = (0x1000, 0x10_0000);
    let Ok(built) = build(Section { address: u64::from(address), bytes }, code) else { return };
    assert!(built.starts.is_sorted_by(|a, b| a < b) && built.starts.len() == built.rules.len());
    let mut at = Cursor { address: 0x1001, stack: 0x7000, frame: 0x7010 };
    for _ in 0..=stack.len() / 8 {
        let rule = built.table().rule(at.place().wrapping_sub(code.0));
        let Some(next) = step(rule, at, &mut Words(stack)) else { return };
        assert!(next.stack > at.stack);
        at = next;
    }
    panic!("a walk over {} bytes that does not end", stack.len());
});
