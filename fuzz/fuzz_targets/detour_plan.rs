//! Any bytes: a refusal, or a plan whose relocated code decodes and ends with the jump back.
#![no_main]

use arenascope_code::detour::{Elsewhere, MAX_RELOCATED, Target, plan_with};
use iced_x86::{Code, Decoder, DecoderOptions};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Near an ordinary address, or anything.
    address: Result<u16, u64>,
    thunk: Result<i16, u64>,
    trampoline: Result<i16, u64>,
    size: u16,
    next: Option<i16>,
    code: &'a [u8],
    elsewhere: Option<(i16, &'a [u8])>,
}

fuzz_target!(|input: Input<'_>| {
    let address = input.address.map_or_else(|any| any, |near| 0x7f00_0000_0000 + u64::from(near));
    let near = |place: Result<i16, u64>| {
        place.map_or_else(|any| any, |pages| address.wrapping_add_signed(i64::from(pages) << 12))
    };
    let (thunk, trampoline) = (near(input.thunk), near(input.trampoline));
    let target = Target {
        address,
        code: input.code,
        size: u64::from(input.size),
        next_function: input.next.map(|ahead| address.wrapping_add_signed(ahead.into())),
    };
    let elsewhere: Vec<Elsewhere<'_>> = input
        .elsewhere
        .map(|(distance, code)| Elsewhere { address: address.wrapping_add_signed(distance.into()), code })
        .into_iter()
        .collect();
    match plan_with(&target, &elsewhere, thunk, trampoline) {
        Err(refusal) => assert!(!refusal.to_string().is_empty()),
        Ok(detour) => {
            let at = (detour.patch_at - address) as usize;
            assert_eq!(detour.original[..], input.code[at..at + 5]);
            let rel = i32::from_le_bytes(detour.patch[1..].try_into().unwrap());
            assert_eq!(detour.patch[0], 0xe9);
            assert_eq!(detour.patch_at.wrapping_add(5).wrapping_add_signed(rel.into()), thunk);
            assert!(detour.relocated.len() <= MAX_RELOCATED);
            let mut decoder = Decoder::with_ip(64, &detour.relocated, trampoline, DecoderOptions::NONE);
            let mut last = None;
            for instruction in &mut decoder {
                assert!(!instruction.is_invalid());
                last = Some(instruction);
            }
            let last = last.unwrap();
            assert!(matches!(last.code(), Code::Jmp_rel32_64 | Code::Jmp_rel8_64));
            assert_eq!(last.near_branch_target(), detour.patch_at + detour.moved as u64);
        }
    }
});
