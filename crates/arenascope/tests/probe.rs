//! Watching: what an observer is told, and that nothing is lost however and whenever the switch is turned.
#![allow(unsafe_code)] // Installs observers; stores into `limit` of this and another process.

use arenascope::{Arena, Event, EventKind, HugePages, Observer, OnReset};
use std::alloc::Layout;
use std::ffi::c_void;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Clone, PartialEq, Eq, Debug)]
struct Told {
    number: u64,
    kind: EventKind,
    arena: u64,
    block: usize,
    size: usize,
    file: String,
    line: u32,
}

type List = Mutex<Vec<Told>>;

unsafe extern "C" fn tell(context: *mut c_void, event: *const Event) {
    // SAFETY: the context of every observer here is a leaked List, and the event is valid during the call.
    let (list, event) = unsafe { (&*context.cast::<List>(), &*event) };
    let file = if event.file.is_null() {
        String::new()
    } else {
        // SAFETY: a file name lives forever.
        let bytes = unsafe { std::slice::from_raw_parts(event.file, event.file_bytes as usize) };
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    list.lock().unwrap().push(Told {
        number: event.number,
        kind: event.kind,
        arena: event.arena_id,
        block: event.block.addr(),
        size: event.size,
        file,
        line: event.line,
    });
}

fn observer(sample_bytes: usize) -> (&'static Observer, &'static List) {
    let list: &'static List = Box::leak(Box::default());
    let observer = Observer {
        version: arenascope::OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: (list as *const List).cast_mut().cast(),
        event: tell,
        sample_bytes,
        next_sample: None,
        check: None,
    };
    (Box::leak(Box::new(observer)), list)
}

fn kinds(list: &List) -> Vec<EventKind> {
    list.lock().unwrap().iter().map(|told| told.kind).collect()
}

fn limit_of(arena: &Arena) -> *mut usize {
    (&raw const *arena).cast_mut().cast::<u8>().wrapping_add(32).cast()
}

#[test]
fn every_kind_of_event_is_told_with_its_caller() {
    let (observer, list) = observer(0);
    let mut lines = Vec::new();
    // SAFETY: the observer locks its list.
    let builder = unsafe { Arena::builder().capacity(4096).observer(observer) };
    let mut arena = builder.build().unwrap();
    lines.push(line!() - 1);
    let layout = Layout::new::<[u8; 24]>();
    let block = arena.alloc_layout(layout);
    lines.push(line!() - 1);
    // SAFETY: a living block with its layout.
    let block = unsafe { arena.try_resize(block, layout, Layout::new::<[u8; 40]>()) }.unwrap();
    lines.push(line!() - 1);
    let place = arena.checkpoint();
    lines.push(line!() - 1);
    arena.alloc(7u8);
    lines.push(line!() - 1);
    assert!(arena.try_alloc([0u8; 4096]).is_err());
    lines.push(line!() - 1);
    arena.rewind(&place).unwrap();
    lines.push(line!() - 1);
    // SAFETY: as above.
    unsafe { arena.free(block, Layout::new::<[u8; 40]>()) };
    lines.push(line!() - 1);
    arena.reset();
    lines.push(line!() - 1);
    arena.destroy();
    lines.push(line!() - 1);
    use EventKind as K;
    let expected =
        [K::CREATE, K::ALLOC, K::RESIZE, K::CHECKPOINT, K::ALLOC, K::REFUSED, K::REWIND, K::FREE, K::RESET, K::DESTROY];
    assert_eq!(kinds(list), expected);
    for ((told, line), number) in list.lock().unwrap().iter().zip(lines).zip(1..) {
        assert!(told.file.ends_with("tests/probe.rs"), "{told:?}");
        assert_eq!((told.line, told.number), (line, number), "{told:?}");
    }
}

#[test]
fn an_observer_may_use_the_arena_it_is_told_about_and_hears_nothing_of_that() {
    unsafe extern "C" fn allocate(context: *mut c_void, event: *const Event) {
        // SAFETY: the event is valid during the call, on the arena's thread; the context is a leaked counter.
        let (arena, count) = unsafe { (&*(*event).arena, &*context.cast::<AtomicU64>()) };
        arena.alloc(count.fetch_add(1, Ordering::Relaxed));
    }
    let count: &'static AtomicU64 = Box::leak(Box::default());
    let observer: &'static Observer = Box::leak(Box::new(Observer {
        version: arenascope::OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: (count as *const AtomicU64).cast_mut().cast(),
        event: allocate,
        sample_bytes: 0,
        next_sample: None,
        check: None,
    }));
    let arena = Arena::init(4096).unwrap();
    // SAFETY: the observer allocates and counts.
    unsafe { arena.observe(Some(observer)) };
    for i in 0..10u64 {
        assert_eq!(*arena.alloc(i), i);
    }
    assert_eq!(count.load(Ordering::Relaxed), 10);
    assert_eq!(arena.offset(), 160);
}

#[test]
fn a_switch_without_an_observer_changes_nothing_but_speed() {
    let arena = Arena::init(4096).unwrap();
    // SAFETY: what anyone may do.
    unsafe { limit_of(&arena).write_volatile(0) };
    for i in 0..100u64 {
        assert_eq!(*arena.alloc(i), i);
        // SAFETY: as above.
        assert_eq!(unsafe { limit_of(&arena).read_volatile() }, 0, "the switch stays where the outsider put it");
    }
    // SAFETY: as above.
    unsafe { limit_of(&arena).write_volatile(1) };
    arena.alloc(1u64);
    // SAFETY: as above.
    assert_eq!(unsafe { limit_of(&arena).read_volatile() }, arena.base().addr() + 4096);
    assert_eq!(arena.offset(), 808);
}

#[test]
fn sampling_tells_of_one_allocation_in_so_many_bytes() {
    let (observer, list) = observer(1 << 10);
    let mut arena = Arena::growing().unwrap();
    // SAFETY: the observer locks its list.
    unsafe { arena.observe(Some(observer)) };
    for i in 0..64_000u64 {
        arena.alloc(i);
    }
    let count = list.lock().unwrap().len();
    // 512,000 bytes; a sample ends with the block that crosses 1,024.
    assert!((480..=510).contains(&count), "{count}");
    list.lock().unwrap().clear();
    arena.reset();
    assert_eq!(kinds(list), [EventKind::RESET], "all other events are told");
    // SAFETY: as above.
    unsafe { arena.observe(None) };
    for i in 0..64_000u64 {
        arena.alloc(i);
    }
    assert_eq!(list.lock().unwrap().len(), 1);
}

/// Set for the process that plays the outsider: pid, address of the header, how often to switch.
const OUTSIDER: &str = "ARENASCOPE_TEST_OUTSIDER";

fn peek(pid: i32, address: usize) -> u64 {
    let mut value = 0u64;
    let local = libc::iovec { iov_base: (&raw mut value).cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: 8 };
    // SAFETY: both descriptors are valid during the call.
    assert_eq!(unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) }, 8);
    value
}

fn poke(pid: i32, address: usize, mut value: u64) {
    let local = libc::iovec { iov_base: (&raw mut value).cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(address), iov_len: 8 };
    // SAFETY: both descriptors are valid during the call.
    assert_eq!(unsafe { libc::process_vm_writev(pid, &local, 1, &remote, 1, 0) }, 8);
}

/// Waits until what is read satisfies; a switch that was undone never does.
fn wait_for(what: &str, mut satisfied: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !satisfied() {
        assert!(Instant::now() < end, "waited for {what}");
        std::thread::yield_now();
    }
}

/// The outsider's part; does nothing when run as a test.
#[test]
fn outsider() {
    let Ok(what) = std::env::var(OUTSIDER) else { return };
    let mut numbers = what.split(' ').map(|number| number.parse::<usize>().unwrap());
    let (pid, header, times) = (numbers.next().unwrap() as i32, numbers.next().unwrap(), numbers.next().unwrap());
    let (limit, events) = (header + 32, header + 120);
    let mut random = 12345u64;
    for _ in 0..times {
        let before = peek(pid, events);
        poke(pid, limit, 0);
        wait_for("the first event", || peek(pid, events) > before);
        for _ in 0..2 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            for _ in 0..random >> 52 {
                std::hint::spin_loop();
            }
            // Again, in the middle of whatever the owner does with the limit: changes nothing.
            poke(pid, limit, 0);
        }
        poke(pid, limit, 1);
        wait_for("the end of watching", || peek(pid, limit) > 1);
    }
    poke(pid, header + 160, 1);
}

#[test]
fn no_switch_from_another_process_is_lost_and_no_event_while_it_is_on() {
    const TIMES: usize = 300;
    static SEEN: AtomicU64 = AtomicU64::new(0);
    unsafe extern "C" fn count(_: *mut c_void, _: *const Event) {
        SEEN.fetch_add(1, Ordering::Relaxed);
    }
    static OBSERVER_OF_ONE: Observer = Observer {
        version: arenascope::OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: std::ptr::null_mut(),
        event: count,
        sample_bytes: 0,
        next_sample: None,
        check: None,
    };
    // The owner raises and lowers the limit all the time: small steps, given back at each reset.
    let builder =
        Arena::builder().name("busy").reserve(1 << 20).huge_pages(HugePages::Never).on_reset(OnReset::Release);
    let mut arena = builder.build().unwrap();
    // SAFETY: the observer counts.
    unsafe {
        arena.observe(Some(&OBSERVER_OF_ONE));
        limit_of(&arena).write_volatile(1);
        // Where Yama forbids it otherwise.
        libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY);
    }
    arena.alloc(0u64);
    let header = (&raw const *arena).addr();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "outsider", "--test-threads", "1"])
        .env(OUTSIDER, format!("{} {header} {TIMES}", std::process::id()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut windows, mut on, mut allocations, mut full) = (0usize, false, 0u64, false);
    let mut seen = SEEN.load(Ordering::Relaxed);
    while child.try_wait().unwrap().is_none() {
        for _ in 0..1000 {
            // Every call heeds the switch, and is one event while it is on: a block, a refusal, the reset after it.
            if !full {
                full = arena.try_alloc([1u64; 16]).is_err();
                allocations += 1;
            } else {
                arena.reset();
                full = false;
            }
            let now = SEEN.load(Ordering::Relaxed);
            assert!(now - seen <= 1, "one call, one event");
            // A call inside a window that is not told of would end the window, and begin another.
            windows += usize::from(!on && now > seen);
            on = now > seen;
            seen = now;
        }
    }
    assert!(child.wait().unwrap().success(), "the outsider saw a switch without effect");
    assert_eq!(windows, TIMES, "{allocations} allocations, {seen} events");
    assert!(seen >= TIMES as u64 && seen < allocations);
}
