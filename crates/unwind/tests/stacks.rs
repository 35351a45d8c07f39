//! Real stacks of this process, unwound by our tables and by framehop: the same callers.
#![allow(unsafe_code, reason = "copies this thread's own stack")]

use arenascope_unwind::{Built, Cursor, Memory, Section, build, step};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, MayAllocateDuringUnwind, Module, Unwinder};
use object::{Object, ObjectSection, ObjectSegment};
use std::cell::RefCell;

/// A moment of a thread: three registers and the stack above them.
struct Moment {
    pc: u64,
    sp: u64,
    bp: u64,
    words: Vec<u64>,
}

impl Moment {
    fn word_at(&self, address: u64) -> Option<u64> {
        let above = address.checked_sub(self.sp)?;
        if above % 8 != 0 {
            return None;
        }
        self.words.get((above / 8) as usize).copied()
    }
}

struct Copy<'a>(&'a Moment);

impl Memory for Copy<'_> {
    fn word(&mut self, address: u64) -> Option<u64> {
        self.0.word_at(address)
    }
}

thread_local! {
    static MOMENTS: RefCell<Vec<Moment>> = const { RefCell::new(Vec::new()) };
}

/// Takes down where this thread is.
#[inline(never)]
fn note() {
    let (pc, sp, bp): (u64, u64, u64);
    // SAFETY: reads registers.
    unsafe {
        std::arch::asm!("lea {0}, [rip]", "mov {1}, rsp", "mov {2}, rbp",
            out(reg) pc, out(reg) sp, out(reg) bp, options(nomem, nostack, preserves_flags));
    }
    let words = 4096;
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a map");
    let high = maps.lines().find_map(|line| {
        let (low, high) = line.split(' ').next()?.split_once('-')?;
        let (low, high) = (u64::from_str_radix(low, 16).ok()?, u64::from_str_radix(high, 16).ok()?);
        (low <= sp && sp < high).then_some(high)
    });
    let room = (high.expect("a stack") - sp) / 8;
    // SAFETY: from the stack pointer to the mapping's end all is readable.
    let words = (0..room.min(words)).map(|index| unsafe { ((sp + 8 * index) as *const u64).read_volatile() }).collect();
    MOMENTS.with_borrow_mut(|moments| moments.push(Moment { pc, sp, bp, words }));
}

struct Mapped {
    base: u64,
    code: (u64, u64),
    built: Built,
}

fn modules() -> (Vec<Mapped>, UnwinderX86_64<Vec<u8>>) {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("a map");
    let mut seen: Vec<(String, u64)> = Vec::new();
    for line in maps.lines() {
        let (Some(slash), Some((low, _))) = (line.find('/'), line.split_once('-')) else { continue };
        if !seen.iter().any(|(path, _)| path == &line[slash..]) {
            seen.push((line[slash..].to_owned(), u64::from_str_radix(low, 16).expect("an address")));
        }
    }
    let mut unwinder = UnwinderX86_64::new();
    let mut ours = Vec::new();
    for (path, base) in seen {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(file) = object::File::parse(&*bytes) else { continue };
        let part = |name: &str| {
            file.section_by_name(name)
                .map(|s| (s.address()..s.address() + s.size(), s.data().unwrap_or_default().to_vec()))
        };
        let Some((range, frames)) = part(".eh_frame") else { continue };
        let code = file
            .segments()
            .filter(|s| s.permissions().executable())
            .fold((u64::MAX, 0), |(low, high), s| (low.min(s.address()), high.max(s.address() + s.size())));
        ours.push(Mapped {
            base,
            code,
            built: build(Section { address: range.start, bytes: &frames }, code).expect("a table"),
        });
        let (header_range, header) = part(".eh_frame_hdr").map_or((None, None), |(a, b)| (Some(a), Some(b)));
        let (text_range, text) = part(".text").map_or((None, None), |(a, b)| (Some(a), Some(b)));
        let info = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: text_range,
            text,
            eh_frame_svma: Some(range),
            eh_frame: Some(frames),
            eh_frame_hdr_svma: header_range,
            eh_frame_hdr: header,
            ..Default::default()
        };
        unwinder.add_module(Module::new(path, base + code.0..base + code.1, base, info));
    }
    (ours, unwinder)
}

fn by_us(modules: &[Mapped], moment: &Moment) -> Vec<u64> {
    // One byte behind the place, as an interrupted instruction.
    let mut at = Cursor { address: moment.pc + 1, stack: moment.sp, frame: moment.bp };
    let mut callers = Vec::new();
    loop {
        let module = modules
            .iter()
            .find(|module| (module.base + module.code.0..module.base + module.code.1).contains(&at.place()));
        let Some(module) = module else { break };
        let rule = module.built.table().rule(at.place() - module.base - module.code.0);
        let Some(next) = step(rule, at, &mut Copy(moment)) else { break };
        callers.push(next.address);
        at = next;
    }
    callers
}

fn by_framehop(unwinder: &UnwinderX86_64<Vec<u8>>, moment: &Moment) -> Vec<u64> {
    let mut cache = CacheX86_64::<MayAllocateDuringUnwind>::new_in();
    let mut read = |address: u64| moment.word_at(address).ok_or(());
    let registers = UnwindRegsX86_64::new(moment.pc, moment.sp, moment.bp);
    let mut frames = unwinder.iter_frames(moment.pc, registers, &mut cache, &mut read);
    let mut callers = Vec::new();
    let _ = frames.next();
    while let Ok(Some(frame)) = frames.next() {
        callers.push(frame.address());
    }
    callers
}

#[inline(never)]
fn recursive(depth: u32, kind: u32) -> u64 {
    let kept = vec![u64::from(depth); 1 + kind as usize];
    let deeper = match (depth, kind % 4) {
        (0, _) => {
            note();
            1
        }
        (_, 0) => recursive(depth - 1, kind + 1) + recursive(depth - 1, kind + 2),
        (_, 1) => {
            let mut numbers = [3, 1, 2];
            numbers.sort_by(|a: &u32, b| {
                if *a == 1 && *b == 3 {
                    recursive(depth - 1, kind + 2);
                }
                a.cmp(b)
            });
            u64::from(numbers[0])
        }
        (_, 2) => (0..3u64).map(|n| recursive(depth - 1, kind + 3) + n).sum(),
        _ => format!("{}", recursive(depth - 1, kind + 1)).len() as u64,
    };
    std::hint::black_box(&kept);
    deeper + kept.iter().sum::<u64>()
}

#[test]
fn thousands_of_stacks_have_the_callers_that_framehop_finds() {
    let (ours, unwinder) = modules();
    let moments: Vec<Moment> = std::thread::Builder::new()
        .spawn(|| {
            for depth in 0..13 {
                for kind in 0..4 {
                    recursive(depth, kind);
                }
            }
            MOMENTS.take()
        })
        .and_then(|thread| thread.join().map_err(|_| std::io::Error::other("panicked")))
        .expect("a thread");
    assert!(moments.len() >= 1000, "{} stacks", moments.len());
    let (mut frames, mut longest) = (0, 0);
    for moment in &moments {
        let (ours, theirs) = (by_us(&ours, moment), by_framehop(&unwinder, moment));
        assert_eq!(ours, theirs);
        frames += ours.len();
        longest = longest.max(ours.len());
    }
    assert!(frames >= 5 * moments.len() && longest >= 20, "{frames} callers of {} stacks", moments.len());
}
