//! What one event costs when nothing stands between its maker and the recorder: no hook, no stub. Measured by `cargo xtask bench record`.
//!
//! Arguments: batches, events per batch, frames (0: `rdtsc` alone), and `sites` for 64 places instead of one. Prints nanoseconds per
//! event, a batch a line, and then bytes of trace per event. Frames are those of this program, which keeps no frame pointers: its
//! module and the others are told to the recorder with their rules, as the launcher would.
#![allow(unsafe_code, reason = "stands in for the agent")]

use arenascope_record::{
    CallFrame, CodeModule, DEEP_BYTES, RESERVE_BYTES, Recorder, Reserve, Space, Start, StubFrame, Thread,
};
use arenascope_trace::layout::{self, ClockPair, HeaderFields};
use arenascope_unwind::{Section, build};
use object::{Object, ObjectSection, ObjectSegment};
use std::os::fd::AsRawFd;
use std::time::Instant;

/// The place after the call of this function, seen from its caller.
macro_rules! here {
    () => {{
        let (at, stack, frame): (u64, u64, u64);
        // SAFETY: reads registers.
        unsafe {
            std::arch::asm!(
                "lea {0}, [rip]", "mov {1}, rsp", "mov {2}, rbp",
                out(reg) at, out(reg) stack, out(reg) frame, options(nomem, nostack, preserves_flags)
            );
        }
        CallFrame { return_address: at, stack_pointer: stack.wrapping_sub(8), frame_pointer: frame }
    }};
}

struct Load {
    recorder: &'static Recorder,
    thread: &'static mut Thread,
    next: u64,
    sites: bool,
}

impl Load {
    #[inline(always)]
    fn one(&mut self, call: CallFrame) {
        const ARENA: u64 = 0x7000_0000;
        let entered = self.recorder.entered(self.thread, ARENA);
        self.recorder.alloc(self.thread, ARENA, self.next, 16, 0, call, entered);
        self.next = 0x1_0000_0000 | (self.next + 16) & 0xf_ffff;
    }
}

#[inline(never)]
fn body(load: &mut Load, events: u64) {
    if !load.sites {
        for _ in 0..events {
            load.one(here!());
        }
        return;
    }
    for _ in 0..events / 64 {
        macro_rules! eight {
            ($e:expr) => {
                $e;
                $e;
                $e;
                $e;
                $e;
                $e;
                $e;
                $e;
            };
        }
        eight!({
            eight!(load.one(here!()));
        });
    }
}

fn frame<const LEFT: usize>(load: &mut Load, events: u64) {
    match LEFT {
        0 => body(load, events),
        1 => deeper::<0>(load, events),
        2 => deeper::<1>(load, events),
        3 => deeper::<2>(load, events),
        4 => deeper::<3>(load, events),
        5 => deeper::<4>(load, events),
        6 => deeper::<5>(load, events),
        _ => deeper::<6>(load, events),
    }
}

#[inline(never)]
fn deeper<const LEFT: usize>(load: &mut Load, events: u64) {
    // Something to keep, so that each frame has a size of its own.
    let kept = std::hint::black_box([LEFT as u64; 3]);
    frame::<LEFT>(load, events);
    std::hint::black_box(kept);
}

fn modules() -> Vec<CodeModule> {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a map");
    let mut all: Vec<CodeModule> = Vec::new();
    let mut bases: Vec<(String, u64)> = Vec::new();
    for line in maps.lines() {
        let (Some(slash), Some(dash)) = (line.find('/'), line.find('-')) else { continue };
        let path = line[slash..].to_owned();
        let start = u64::from_str_radix(&line[..dash], 16).expect("an address");
        if !bases.iter().any(|(known, _)| *known == path) {
            bases.push((path, start));
        }
    }
    for (path, base) in bases {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(file) = object::File::parse(&*bytes) else { continue };
        let Some(section) = file.section_by_name(".eh_frame") else { continue };
        let code = file
            .segments()
            .filter(|segment| segment.permissions().executable())
            .fold((u64::MAX, 0), |(low, high), s| (low.min(s.address()), high.max(s.address() + s.size())));
        let built = build(Section { address: section.address(), bytes: section.data().expect("bytes") }, code)
            .expect("a table");
        let words: Vec<u32> = built.starts.iter().chain(&built.rules).copied().collect();
        let (starts, rules) = Vec::leak(words).split_at(built.rules.len());
        // Position-independent files begin at address 0.
        all.push(CodeModule {
            start: base + code.0,
            end: base + code.1,
            table: arenascope_record::Table::new(starts, rules),
        });
    }
    all.sort_by_key(|module| module.start);
    all
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number = |index: usize, default: u64| words.get(index).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (batches, events, frames) = (number(1, 20), number(2, 100_000), number(3, 1));
    if frames == 0 {
        for _ in 0..batches {
            let start = Instant::now();
            let mut sum = 0u64;
            for _ in 0..events {
                sum = sum.wrapping_add(arenascope_record::ticks());
            }
            std::hint::black_box(sum);
            println!("{:.3}", start.elapsed().as_nanos() as f64 / events as f64);
        }
        return;
    }
    const BYTES: u64 = 1 << 30;
    let path = std::env::temp_dir().join(format!("arenascope-floor-{}", std::process::id()));
    let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("a file");
    std::fs::remove_file(&path).expect("removes");
    file.set_len(BYTES).expect("sparse");
    let pid = std::process::id();
    let start = ClockPair { tsc: arenascope_record::ticks(), ns: 0 };
    let fields = HeaderFields { pid, parent_pid: 0, fork_id: 0, start, start_unix_ns: 0, program: b"floor" };
    std::os::unix::fs::FileExt::write_all_at(&file, &layout::header(&fields), 0).expect("a header");
    let mut reserve = Reserve::new(RESERVE_BYTES + DEEP_BYTES + (1 << 20)).expect("memory");
    arenascope_record::prepare_stacks(&mut reserve);
    // SAFETY: `file` is open to the end.
    let borrowed = unsafe { rustix::fd::BorrowedFd::borrow_raw(file.as_raw_fd()) };
    let space = Space::map(borrowed, BYTES, false).expect("maps");
    let settings = Start { space: Some(space), pid, stub: StubFrame::default(), frames: frames as usize };
    let recorder = Recorder::new(&mut reserve, settings).expect("a recorder");
    let modules = modules();
    let thread = recorder.thread_begin(0).expect("a thread");
    for module in &modules {
        recorder.module(thread, 0, module.start, module.end, b"module", &[]);
    }
    recorder.modules(modules.into_iter());
    let sites = words.get(4).is_some_and(|word| word == "sites");
    let mut load = Load { recorder, thread, next: 0x1_0000_0000, sites };
    let segments = || space.word(layout::live::NEXT_SEGMENT).load(std::sync::atomic::Ordering::Relaxed);
    frame::<7>(&mut load, 64);
    for _ in 0..batches {
        let start = Instant::now();
        frame::<7>(&mut load, events);
        println!("{:.3}", start.elapsed().as_nanos() as f64 / events as f64);
    }
    println!("bytes {:.3}", segments() as f64 * layout::SEGMENT_BYTES as f64 / (batches * events) as f64);
    let lost = space.word(layout::live::LOST_NO_SPACE).load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!((lost, load.thread.events >= batches * events), (0, true), "no event is lost");
}
