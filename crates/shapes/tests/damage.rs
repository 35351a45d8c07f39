//! Damaged, cut and foreign files: an answer or an error, never a panic, in bounded time.

use arenascope_shapes::{FindError, find};
use std::path::Path;
use std::process::Command;

fn program() -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory for the program");
    let out = directory.path().join("program");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/free_list.c");
    let status = Command::new("gcc")
        .args(["-g", "-O1", "-w"])
        .arg(source)
        .arg("-o")
        .arg(&out)
        .status()
        .expect("these tests need gcc");
    assert!(status.success());
    std::fs::read(out).expect("the program")
}

/// A small repeatable generator (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let whole = program();
    assert_eq!(find(&whole, None).expect("whole").readings.len(), 1, "the undamaged program has an arena");
    let mut dice = Dice(1);
    for _ in 0..3000 {
        let mut damaged = whole.clone();
        for _ in 0..1 + dice.roll() % 40 {
            let at = (dice.roll() % damaged.len() as u64) as usize;
            damaged[at] = dice.roll() as u8;
        }
        let _ = find(&damaged, None);
        let _ = find(&whole, Some(&damaged));
    }
}

#[test]
fn cut_files_never_panic() {
    let whole = program();
    for len in (0..whole.len()).step_by(97) {
        let _ = find(&whole[..len], None);
    }
}

#[test]
fn what_is_no_program_is_said() {
    for (bytes, what) in
        [(&b""[..], "empty"), (b"#!/bin/sh\necho", "script"), (&[0x7f, b'E', b'L', b'F'][..], "four bytes")]
    {
        let error = find(bytes, None).expect_err(what);
        assert!(matches!(error, FindError::WrongFormat(_)), "{what}: {error}");
        assert!(error.to_string().starts_with("not an x86-64 ELF file"), "{error}");
    }
}
