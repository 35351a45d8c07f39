//! Writes the golden traces of the current version into a folder: `write_goldens FOLDER`.
//!
//! Run once per version, when the version is final; files that exist are left as they are. Goldens are added, never
//! regenerated: they prove that old traces stay readable.

#[path = "../tests/it/build.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod build;

use arenascope_event::{
    Address, Argument, CaptureReason, Fate, FateKind, Frame, HookFact, HookStatus, NullUse, Result_, Role, RoleDecl,
    Watched,
};
use arenascope_trace::{Record, Trace, layout};
use build::{File, Writer};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Every record once at least; two threads on one arena whose clocks disagree; captures inline and in a run of segments;
/// a segment left empty; losses.
fn unsealed() -> File {
    let mut file = File::forked(31);
    let mut one = Writer::with_payload(0, 500);
    let mut two = Writer::new(1);
    one.put(&mut file, 1, 0, None, &Record::ThreadStart { tid: 4711, parent: 0 });
    one.put(
        &mut file,
        1,
        0,
        None,
        &Record::Module {
            number: 0,
            bias: 0x5555_5555_4000,
            start: 0x5555_5555_4000,
            end: 0x5555_5555_9000,
            path: b"/usr/bin/program",
            build_id: &[0xC0, 0xFF, 0xEE],
        },
    );
    one.put(
        &mut file,
        1,
        80,
        None,
        &Record::Site { id: 0, addresses: &[0x5555_5555_5123, 0x5555_5555_5400, 0x7FFF_F7DF_D1CA], place: None },
    );
    one.put(
        &mut file,
        1,
        80,
        None,
        &Record::Site { id: 1, addresses: &[0x5555_5555_5140, 0x5555_5555_5400, 0x7FFF_F7DF_D1CA], place: None },
    );
    one.put(
        &mut file,
        1,
        160,
        None,
        &Record::Map { address: 0x7FFF_F7FB_0000, len: 4096, protection: 3, flags: 34, observed: false },
    );
    one.put(&mut file, 1, 240, None, &Record::ArenaSeen { arena: 0, object: 0x7FFF_FFFF_E010 });
    one.put(
        &mut file,
        1,
        240,
        Some(0),
        &Record::Create {
            arena: 0,
            order: 0,
            size: Some(4096),
            parent: None,
            name: Some(b"main \xFF pool"),
            nested: 1,
        },
    );
    for block in 0..5u64 {
        let alloc =
            Record::Alloc { arena: 0, order: block + 1, block: 0x7FFF_F7FB_0000 + 64 * block, size: 64, align: 0 };
        one.put(&mut file, 1, 400 + 80 * block, Some(1), &alloc);
    }
    one.put(&mut file, 1, 1600, Some(1), &Record::Alloc { arena: 0, order: 6, block: 0, size: 1 << 40, align: 16 });
    one.put(
        &mut file,
        1,
        1680,
        Some(1),
        &Record::Alloc { arena: 0, order: 7, block: 0x7FFF_F7FB_0145, size: 3, align: 5 },
    );
    // Thread 2's clock is behind: its event is the arena's next all the same.
    two.put(&mut file, 2, 800, None, &Record::ThreadStart { tid: 4712, parent: 1 });
    two.put(&mut file, 2, 1200, None, &Record::Mark { arena: 0, order: 8, mark: 0x7FFF_F7FB_0148 });
    one.put(
        &mut file,
        1,
        2400,
        Some(0),
        &Record::Resize { arena: 0, order: 9, old: 0x7FFF_F7FB_0145, new: 0, size: 100 },
    );
    one.put(&mut file, 1, 2480, Some(0), &Record::Free { arena: 0, order: 10, block: 0x7FFF_F7FB_0100 });
    one.put(
        &mut file,
        1,
        2560,
        None,
        &Record::CaptureInline {
            arena: 0,
            reason: CaptureReason::Rewind,
            base: 0x7FFF_F7FB_0000,
            len: 64,
            bytes: b"First block ok",
        },
    );
    one.put(&mut file, 1, 2560, Some(0), &Record::Rewind { arena: 0, order: 11, mark: 0x7FFF_F7FB_0148 });
    let long: Vec<u8> = (0..70_000u32).map(|index| (index % 251) as u8).collect();
    let first_segment = file.blob(0, &long);
    one.put(
        &mut file,
        1,
        3200,
        None,
        &Record::CaptureBlob {
            arena: 0,
            reason: CaptureReason::Reset,
            base: 0x7FFF_F7FB_0000,
            len: 70_001,
            first_segment,
        },
    );
    one.put(&mut file, 1, 3200, Some(0), &Record::Reset { arena: 0, order: 12 });
    one.put(&mut file, 1, 3280, Some(0), &Record::ArenaSeen { arena: 1, object: 0 });
    one.put(
        &mut file,
        1,
        3280,
        Some(0),
        &Record::Create { arena: 1, order: 0, size: None, parent: Some(0), name: None, nested: 0 },
    );
    one.put(&mut file, 1, 3360, Some(0), &Record::Destroy { arena: 1, order: 1 });
    one.put(&mut file, 1, 3440, None, &Record::Unmap { address: 0x7FFF_F7FB_0000, len: 4096 });
    one.put(
        &mut file,
        1,
        3520,
        None,
        &Record::Remap { old: 0x7FFF_F7FA_0000, old_len: 4096, new: 0x7FFF_F000_0000, new_len: 8192 },
    );
    one.put(&mut file, 1, 3600, Some(1), &Record::HeapAlloc { address: 0x5555_5557_02A0, size: 1 << 20 });
    one.put(&mut file, 1, 3680, None, &Record::HeapFree { address: 0x5555_5557_02A0 });
    one.put(&mut file, 1, 3760, None, &Record::Fork { child: 4713, fork_id: 99 });
    one.put(&mut file, 1, 3840, None, &Record::Vfork);
    one.put(&mut file, 1, 3920, None, &Record::Exec { path: b"/bin/true" });
    // A slot that was taken and never begun.
    file.set_word(layout::live::NEXT_SEGMENT, file.word(layout::live::NEXT_SEGMENT) + 1);
    let mut three = Writer::new(2);
    three.put(&mut file, 3, 4000, None, &Record::ThreadExit);
    // A writer that a second thread took over.
    three.put(&mut file, 2, 4080, None, &Record::ThreadExit);
    one.put(&mut file, 1, 4160, None, &Record::Exit { status: -3 });
    let registers = core::array::from_fn(|index| 0x1111_1111_1111_1111u64.wrapping_mul(index as u64));
    one.put(
        &mut file,
        1,
        4240,
        Some(1),
        &Record::Fault { signal: 11, address: 0, pc: 0x5555_5555_5144, synchronous: true, registers: &registers },
    );
    file.set_word(layout::live::LOST_NO_SPACE, 1);
    file.set_word(layout::live::LOST_REENTERED, 2);
    file.set_word(layout::live::LOST_TABLE_FULL, 3);
    file.set_word(layout::live::LOST_HEAP_SKIPPED, 4);
    file.set_word(layout::live::LOST_CAPTURE_BYTES, 5);
    file
}

fn sealed() -> File {
    let mut file = unsealed();
    let mut facts = Trace::open(&file.bytes).expect("a trace").facts();
    facts.arguments = vec!["program".into(), "-v".into()];
    facts.wait_status = Some(11);
    facts.watched = Watched::FoundByShape;
    facts.hooks.push(HookFact {
        decl: RoleDecl {
            role: Role::Alloc,
            function: "arena_alloc".into(),
            arguments: vec![Argument::Arena, Argument::Size],
            result: Result_::Block,
        },
        module: "/usr/bin/program".into(),
        address: Address(0x5555_5555_5200),
        status: HookStatus::Partly("1 inlined copy is not seen".into()),
        synchronises: Default::default(),
        markers: None,
    });
    facts.sites[1].frames = vec![
        Frame {
            address: Address(0x5555_5555_5140),
            function: "push".into(),
            file: "program.c".into(),
            line: 70,
            module: "program".into(),
            inlined: true,
        },
        Frame {
            address: Address(0x5555_5555_5140),
            function: "main".into(),
            file: "program.c".into(),
            line: 71,
            module: "program".into(),
            inlined: false,
        },
    ];
    facts.sites[1].source = "arena_alloc(&arena, 64);".into();
    facts.sites[1].fate = Fate {
        kind: FateKind::Dropped,
        depth: 0,
        because: "the result is overwritten before anything reads it".into(),
    };
    facts.null_use = NullUse::Proven;
    facts.null_use_because = "the address was the result of the refused call".into();
    file.seal(&facts, 5_000);
    file
}

fn main() -> std::io::Result<()> {
    let folder: PathBuf = std::env::args_os().nth(1).expect("usage: write_goldens FOLDER").into();
    write_new(&folder.join("killed.trace"), &unsealed().bytes)?;
    write_new(&folder.join("sealed.trace"), &sealed().bytes)
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    match std::fs::File::create_new(path) {
        Ok(mut file) => file.write_all(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            eprintln!("{} exists; goldens are never regenerated", path.display());
            Ok(())
        }
        Err(error) => Err(error),
    }
}
