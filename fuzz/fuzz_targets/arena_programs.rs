//! Any program of arena operations, on any memory source, watched or not: the arena agrees with the naive model.
#![no_main]

use arenascope::{Arena, FailAt, Heap, HugePages, OnReset, Stepwise};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/arenascope/tests/program/mod.rs"]
mod program;

use program::{Op, Refusals, run};

#[derive(Arbitrary, Debug)]
enum Action {
    Alloc { size: Result<u8, Result<u32, usize>>, align: u8 },
    Resize { block: u8, size: Result<u8, Result<u32, usize>>, align: u8 },
    Free { block: u8 },
    Checkpoint,
    Rewind { checkpoint: u8 },
    Reset,
    Enter,
    Exit,
    Watch,
    Release,
}

impl Action {
    fn op(&self) -> Op {
        let bytes = |size: &Result<u8, Result<u32, usize>>| match size {
            Ok(small) => usize::from(*small),
            Err(Ok(medium)) => *medium as usize % (1 << 20),
            Err(Err(any)) => *any,
        };
        let unit = |align: &u8| 1usize << (align % 22);
        match self {
            Action::Alloc { size, align } => Op::Alloc { size: bytes(size), align: unit(align) },
            Action::Resize { block, size, align } => {
                Op::Resize { block: usize::from(*block), size: bytes(size), align: unit(align) }
            }
            Action::Free { block } => Op::Free { block: usize::from(*block) },
            Action::Checkpoint => Op::Checkpoint,
            Action::Rewind { checkpoint } => Op::Rewind { checkpoint: usize::from(*checkpoint) },
            Action::Reset => Op::Reset,
            Action::Enter => Op::Enter,
            Action::Exit => Op::Exit,
            Action::Watch => Op::Watch,
            Action::Release => Op::Release,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    capacity: u32,
    source: u8,
    granted: u8,
    watched: bool,
    actions: Vec<Action>,
}

fuzz_target!(|input: Input| {
    let ops: Vec<Op> = input.actions.iter().take(200).map(Action::op).collect();
    let capacity = input.capacity as usize % (3 << 20);
    let small = capacity % 5000;
    let builder = match input.source % 7 {
        0 => Arena::builder().capacity(small),
        1 => Arena::builder().capacity(capacity),
        2 => Arena::builder().reserve(capacity + 1),
        3 => Arena::builder().capacity(capacity).source(&Heap),
        4 => Arena::builder().capacity(capacity).source(&Stepwise).huge_pages(HugePages::Never),
        5 => Arena::builder().capacity(capacity).on_reset(OnReset::Release),
        _ => {
            static SOURCE: FailAt = FailAt::new(&Heap, 0);
            SOURCE.grant(u64::from(input.granted % 8));
            let Ok(mut arena) = Arena::builder().capacity(capacity).source(&SOURCE).build() else { return };
            return run(&mut arena, &ops, Refusals::Possible, input.watched);
        }
    };
    run(&mut builder.build().expect("an arena"), &ops, Refusals::Never, input.watched);
});
