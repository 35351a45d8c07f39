//! Any bytes as code: answers come, bounded and without panics, and the same each time.

use arenascope_code::{CodeSource, NullFault, fate, fate_along, null_use};
use proptest::prelude::*;

struct Bytes {
    base: u64,
    bytes: Vec<u8>,
    bounds: Option<(u64, u64)>,
    name: Option<String>,
}

impl CodeSource for Bytes {
    fn code(&self, address: u64, len: usize) -> Option<&[u8]> {
        let offset = usize::try_from(address.checked_sub(self.base)?).ok()?;
        let rest = self.bytes.get(offset..)?;
        (!rest.is_empty()).then(|| &rest[..rest.len().min(len)])
    }

    fn name(&self, _: u64) -> Option<String> {
        self.name.clone()
    }

    fn function_bounds(&self, _: u64) -> Option<(u64, u64)> {
        self.bounds
    }

    fn slot_name(&self, _: u64) -> Option<String> {
        self.name.clone()
    }
}

/// Single bytes, and pieces of ordinary code so that walks get far.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let jump = |opcode: u8| any::<i8>().prop_map(move |to| vec![opcode, to.cast_unsigned()]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..4),
        jump(0xeb),
        jump(0x74),
        jump(0x75),
        (-60i32..60).prop_map(|to| [&[0xe8][..], &to.to_le_bytes()].concat()),
        (-60i32..60).prop_map(|to| [&[0xff, 0x15][..], &to.to_le_bytes()].concat()),
        prop::sample::select(vec![
            vec![0x90],
            vec![0x50],
            vec![0x58],
            vec![0xc3],
            vec![0x55, 0x48, 0x89, 0xe5],
            vec![0x48, 0x89, 0x45, 0xf8],
            vec![0x48, 0x8b, 0x45, 0xf8],
            vec![0x48, 0x89, 0xc3],
            vec![0x48, 0x85, 0xc0],
            vec![0x48, 0x83, 0xc3, 0x08],
            vec![0x31, 0xff],
            vec![0xc6, 0x03, 0x01],
            vec![0xff, 0x25, 0, 0, 0, 0],
        ]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_have_an_answer(
        pieces in prop::collection::vec(piece(), 0..60),
        base in prop_oneof![Just(0x1000u64), Just(0), Just(u64::MAX - 100), any::<u64>()],
        addresses in prop::collection::vec(0u64..150, 0..4),
        bounded in prop::option::of((0u64..150, 0u64..150)),
        name in prop::option::of(prop::sample::select(vec!["f", "f.cold", "abort", "mcount", "__x86_indirect_thunk_rax"])),
        pc in 0u64..150,
        fault in prop_oneof![Just(0u64), 0u64..64, any::<u64>()],
        registers in prop::array::uniform16(prop_oneof![Just(0u64), any::<u64>()]),
    ) {
        let bytes = Bytes {
            base,
            bytes: pieces.concat(),
            bounds: bounded.map(|(a, b)| (base.wrapping_add(a), base.wrapping_add(b))),
            name: name.map(str::to_string),
        };
        let addresses: Vec<u64> = addresses.iter().map(|a| base.wrapping_add(*a)).collect();
        let first = addresses.first().copied().unwrap_or(base);
        prop_assert_eq!(fate(&bytes, first), fate(&bytes, first));
        prop_assert_eq!(fate_along(&bytes, &addresses), fate_along(&bytes, &addresses));
        let fault = NullFault {
            returned_to: &addresses,
            pc: base.wrapping_add(pc),
            address: fault,
            registers: &registers,
            backtrace: &addresses,
        };
        prop_assert_eq!(null_use(&bytes, &fault), null_use(&bytes, &fault));
    }
}
