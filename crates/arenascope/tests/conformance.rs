//! One suite for every kind of arena, scope, burst and memory source: what each call promises, whoever answers it.
#![allow(unsafe_code)] // Reads blocks by address; a buffer and an observer are lent.

use arenascope::{
    AllocOrInitError, Arena, CStrError, Error, Event, FailAt, Heap, HugePages, OBSERVER_VERSION, Observer, Stepwise,
    System,
};
use std::alloc::Layout;
use std::ffi::c_void;
use std::mem::MaybeUninit;

const CAPACITY: usize = 1 << 20;

/// Addresses of living blocks: none may overlap another.
#[derive(Default)]
struct Blocks(Vec<(usize, usize)>);

impl Blocks {
    fn add<T: ?Sized>(&mut self, block: &T) {
        let (start, bytes) = ((block as *const T).cast::<u8>().addr(), size_of_val(block));
        assert_eq!(start % align_of_val(block), 0, "aligned");
        if bytes > 0 {
            let apart = |&(s, b): &(usize, usize)| start + bytes <= s || s + b <= start;
            assert!(self.0.iter().all(apart), "{start:#x} + {bytes} overlaps a living block");
            self.0.push((start, bytes));
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(align(64))]
struct Wide(u8);

#[derive(Clone, Copy, PartialEq, Debug)]
#[repr(align(4096))]
struct Nothing;

/// What everything that allocates can do: arenas, scopes, bursts.
macro_rules! promises_of_all {
    ($arena:ident, $blocks:ident) => {
        let one = $arena.alloc(7u64);
        let three = $arena.alloc([1u8, 2, 3]);
        let wide = $arena.alloc(Wide(9));
        let nothing = $arena.alloc(Nothing);
        let tried = $arena.try_alloc(5u16).unwrap();
        let made = $arena.alloc_with(|| [3u32; 100]);
        let made_too = $arena.try_alloc_with(|| 'x').unwrap();
        let items = $arena.alloc_slice_copy(&[Wide(1), Wide(2)]);
        let none = $arena.alloc_slice_copy::<u64>(&[]);
        let items_too = $arena.try_alloc_slice_copy(&[1u8; 1000]).unwrap();
        let filled = $arena.alloc_slice_fill_with(5, |i| i * 2);
        let filled_too = $arena.try_alloc_slice_fill_with(3, |i| i as u8).unwrap();
        let copies = $arena.alloc_slice_fill_copy(3, 'c');
        let copies_too = $arena.try_alloc_slice_fill_copy(1000, Wide(6)).unwrap();
        let room = $arena.alloc_uninit_slice::<u64>(9);
        let room_too = $arena.try_alloc_uninit_slice::<Wide>(2).unwrap();
        let place = $arena.alloc_uninit::<Wide>();
        let place_too = $arena.try_alloc_uninit::<u16>().unwrap();
        let text = $arena.alloc_str("héllo");
        let empty = $arena.alloc_str("");
        let text_too = $arena.try_alloc_str(&"long ".repeat(100)).unwrap();
        for bytes in [0, 1, 7, 8, 9, 100] {
            for align in [1, 2, 16, 512] {
                let layout = Layout::from_size_align(bytes, align).unwrap();
                for block in [$arena.alloc_layout(layout), $arena.try_alloc_layout(layout).unwrap()] {
                    assert_eq!(block.addr().get() % align, 0);
                    // SAFETY: a block of so many bytes, written at once.
                    let block = unsafe {
                        block.write_bytes(0xEE, bytes);
                        std::slice::from_raw_parts(block.as_ptr(), bytes)
                    };
                    $blocks.add(block);
                }
            }
        }
        $blocks.add(one);
        $blocks.add(three);
        $blocks.add(wide);
        $blocks.add(nothing);
        $blocks.add(tried);
        $blocks.add(made);
        $blocks.add(made_too);
        $blocks.add(items);
        $blocks.add(none);
        $blocks.add(items_too);
        place.write(Wide(4));
        place_too.write(0xEEEE);
        room.iter_mut().for_each(|item| _ = item.write(u64::MAX));
        room_too.iter_mut().for_each(|item| _ = item.write(Wide(3)));
        $blocks.add(filled);
        $blocks.add(filled_too);
        $blocks.add(copies);
        $blocks.add(copies_too);
        $blocks.add(room);
        $blocks.add(room_too);
        $blocks.add(place);
        $blocks.add(place_too);
        assert_eq!((&*filled, &*filled_too, &*copies), (&[0, 2, 4, 6, 8][..], &[0, 1, 2][..], &['c'; 3][..]));
        assert_eq!(copies_too, [Wide(6); 1000]);
        $blocks.add(text);
        $blocks.add(empty);
        $blocks.add(text_too);
        assert_eq!((*one, *three, *wide, *nothing, *tried), (7, [1, 2, 3], Wide(9), Nothing, 5));
        assert_eq!((&made[..], *made_too), (&[3u32; 100][..], 'x'));
        assert_eq!((&items[..], none.len(), &items_too[..]), (&[Wide(1), Wide(2)][..], 0, &[1u8; 1000][..]));
        assert_eq!((&*text, &*empty, &*text_too), ("héllo", "", &*"long ".repeat(100)));
        for size in [isize::MAX as usize, isize::MAX as usize - 7] {
            let layout = Layout::from_size_align(size, 1).unwrap();
            assert!(matches!($arena.try_alloc_layout(layout), Err(Error::Full)), "nothing is that large");
        }
    };
}

/// What arenas and scopes can do beyond that.
macro_rules! promises {
    ($arena:ident, $blocks:ident) => {
        let cloned = $arena.alloc_slice_clone(&[Some(1), None]);
        let clones = $arena.alloc_slice_fill_clone(3, &[1u8; 3]);
        let defaults = $arena.alloc_slice_fill_default::<u128>(4);
        let known = $arena.alloc_slice_fill_iter([1i8, -2, 3]);
        let perhaps = $arena.alloc_slice_try_fill_with(3, |i| u8::try_from(i)).expect("small numbers");
        let perhaps_too = $arena.try_alloc_slice_try_fill_iter(["1", "2"].map(str::parse::<u16>)).expect("numbers");
        let maybe = $arena.try_alloc_try_with(|| "7".parse::<u64>()).expect("a number");
        let unknown = $arena.alloc_iter((0u32..1000).filter(|n| n % 3 == 0));
        let endless_nothing = $arena.alloc_iter((0..300).map(|_| ()));
        let words = $arena.alloc_fmt(format_args!("{}{:>300}", 1, "x"));
        let constant = $arena.alloc_fmt(format_args!("constant"));
        let c = $arena.alloc_cstr(c"see");
        let c_too = $arena.alloc_cstr_from_str("sea");
        let zero = $arena.alloc_zeroed::<[u64; 8]>();
        let zeroes = $arena.alloc_zeroed_slice::<u16>(1000);
        let boxed = $arena.alloc_box(String::from("boxed"));
        let boxes = $arena.alloc_box_iter(["a", "b"].map(String::from));
        $blocks.add(cloned);
        $blocks.add(clones);
        $blocks.add(defaults);
        $blocks.add(known);
        $blocks.add(perhaps);
        $blocks.add(perhaps_too);
        $blocks.add(maybe);
        $blocks.add(unknown);
        $blocks.add(endless_nothing);
        $blocks.add(words);
        $blocks.add(constant);
        $blocks.add(c.to_bytes_with_nul());
        $blocks.add(c_too.to_bytes_with_nul());
        $blocks.add(zero);
        $blocks.add(zeroes);
        $blocks.add(&*boxed);
        $blocks.add(&*boxes);
        assert_eq!(cloned, [Some(1), None]);
        assert_eq!(clones, [[1; 3]; 3]);
        assert_eq!(defaults, [0; 4]);
        assert_eq!(known, [1, -2, 3]);
        assert_eq!((&*perhaps, &*perhaps_too, *maybe), (&[0, 1, 2][..], &[1, 2][..], 7));
        assert!(unknown.iter().copied().eq((0..1000).filter(|n| n % 3 == 0)));
        assert_eq!(endless_nothing.len(), 300);
        assert_eq!((words.len(), &words[..2], &words[300..]), (301, "1 ", "x"));
        assert_eq!((&*constant, c, c_too), ("constant", c"see", c"sea"));
        assert_eq!(($arena.try_alloc_cstr_from_str("a\0b"), zero), (Err(CStrError::Nul(1)), &mut [0; 8]));
        assert!(zeroes.iter().all(|z| *z == 0));
        assert_eq!((&**boxed, &boxes[1][..]), ("boxed", "b"));

        let before = $arena.offset();
        assert_eq!($arena.alloc_try_with(|| Err::<[u64; 9], _>(1)), Err(1));
        assert_eq!($arena.try_alloc_try_with(|| Err::<[u64; 9], _>(2)), Err(AllocOrInitError::Init(2)));
        assert_eq!($arena.alloc_slice_try_fill_with(9, |i| if i < 5 { Ok(i) } else { Err(i) }), Err(5));
        assert_eq!($arena.alloc_slice_try_fill_iter([Ok(1u8), Err("no"), Ok(2)]), Err("no"));
        assert_eq!($arena.alloc_slice_try_fill_iter([Ok::<u8, ()>(0); 0]), Ok(&mut [][..]));
        assert_eq!(
            $arena.try_alloc_slice_try_fill_with(usize::MAX, |i| Err::<u64, _>(i)),
            Err(AllocOrInitError::Alloc(Error::TooLarge))
        );
        assert_eq!(
            $arena.try_alloc_slice_try_fill_iter((0..isize::MAX as usize).map(|_| Err::<u8, _>("asked for an item"))),
            Err(AllocOrInitError::Alloc(Error::Full))
        );
        assert_eq!($arena.try_alloc_slice_fill_copy(usize::MAX, 1u64), Err(Error::TooLarge));
        assert_eq!($arena.try_alloc_slice_fill_copy(isize::MAX as usize, 1u8), Err(Error::Full));
        assert_eq!($arena.try_alloc_slice_fill_with(usize::MAX / 8, |_| 0u64).unwrap_err(), Error::TooLarge);
        assert_eq!($arena.try_alloc_slice_fill_default::<u32>(usize::MAX).unwrap_err(), Error::TooLarge);
        assert_eq!($arena.try_alloc_slice_fill_clone(usize::MAX, &1u32).unwrap_err(), Error::TooLarge);
        assert_eq!($arena.try_alloc_uninit_slice::<u32>(usize::MAX).unwrap_err(), Error::TooLarge);
        assert_eq!($arena.try_alloc_zeroed_slice::<u32>(usize::MAX).unwrap_err(), Error::TooLarge);
        assert_eq!($arena.try_alloc_iter(0..u64::MAX).unwrap_err(), Error::TooLarge);
        assert_eq!($arena.offset(), before, "refusals change nothing");
    };
}

/// The suite on an arena, through it, in scopes and in bursts.
fn conforms(arena: arenascope::Owned<'_>) {
    let mut arena = arena;
    {
        let mut blocks = Blocks::default();
        let arena = &*arena;
        promises_of_all!(arena, blocks);
        promises!(arena, blocks);
        let mut burst = arena.burst();
        promises_of_all!(burst, blocks);
        drop(burst);
        promises_of_all!(arena, blocks);
    }
    arena.reset();
    assert_eq!(arena.offset(), 0);
    arena.scope(|scope| {
        let mut blocks = Blocks::default();
        promises_of_all!(scope, blocks);
        promises!(scope, blocks);
        let outer = scope.alloc_str("outer");
        {
            let mut burst = scope.burst();
            promises_of_all!(burst, blocks);
        }
        scope.scope(|inner| {
            promises!(inner, blocks);
            outer.make_ascii_uppercase();
        });
        assert_eq!(outer, "OUTER");
    });
    assert_eq!((arena.offset(), arena.stats().depth), (0, 0));
    let mut guard = arena.scope_guard();
    {
        let scope = guard.scope();
        let mut blocks = Blocks::default();
        promises_of_all!(scope, blocks);
        promises!(scope, blocks);
    }
    drop(guard);
    assert_eq!(arena.offset(), 0);
}

#[test]
fn a_bounded_arena() {
    conforms(Arena::init(CAPACITY).unwrap());
}

#[test]
fn a_growing_arena() {
    conforms(Arena::growing().unwrap());
}

#[test]
fn one_of_huge_pages() {
    conforms(Arena::builder().huge_pages(HugePages::Always).capacity(4 << 20).build().unwrap());
}

#[test]
fn one_that_is_not_kept_and_takes_pages_one_by_one() {
    conforms(Arena::builder().keep(false).populate(false).capacity(CAPACITY).build().unwrap());
}

#[test]
fn one_on_the_heap() {
    conforms(Arena::builder().source(&Heap).capacity(CAPACITY).build().unwrap());
    conforms(Arena::builder().source(&Heap).build().unwrap());
}

#[test]
fn one_that_commits_step_by_step() {
    conforms(Arena::builder().source(&Stepwise).capacity(CAPACITY).build().unwrap());
}

#[test]
fn one_behind_a_source_that_counts() {
    let source = Box::leak(Box::new(FailAt::new(&System, u64::MAX)));
    conforms(Arena::builder().source(source).capacity(CAPACITY).build().unwrap());
}

#[test]
fn one_in_a_buffer() {
    let mut buffer = vec![MaybeUninit::new(0xAA); CAPACITY];
    conforms(Arena::in_buffer(&mut buffer).unwrap());
}

#[test]
fn one_in_a_buffer_at_any_address() {
    let mut buffer = vec![MaybeUninit::new(0xAA); CAPACITY];
    for skip in [1, 3, 64, 127] {
        conforms(Arena::in_buffer(&mut buffer[skip..]).unwrap());
    }
}

#[test]
fn one_whose_capacity_is_no_multiple_of_anything() {
    conforms(Arena::init(CAPACITY - 3).unwrap());
}

unsafe extern "C" fn count(context: *mut c_void, _: *const Event) {
    // SAFETY: the context is the counter below; the arena is on this thread.
    unsafe { *context.cast::<u64>() += 1 };
}

fn observer(sample_bytes: usize) -> &'static Observer {
    Box::leak(Box::new(Observer {
        version: OBSERVER_VERSION,
        table_bytes: size_of::<Observer>() as u32,
        context: (Box::leak(Box::new(0u64)) as *mut u64).cast(),
        event: count,
        sample_bytes,
        next_sample: None,
        check: None,
    }))
}

#[test]
fn a_watched_one() {
    // SAFETY: the arena stays on this thread.
    conforms(unsafe { Arena::builder().capacity(CAPACITY).observer(observer(0)) }.build().unwrap());
}

#[test]
fn a_sampled_one() {
    for bytes in [1, 100, 10_000] {
        // SAFETY: the arena stays on this thread.
        conforms(unsafe { Arena::builder().capacity(CAPACITY).observer(observer(bytes)) }.build().unwrap());
    }
}

#[test]
fn one_on_another_thread() {
    let arena = Arena::init(CAPACITY).unwrap();
    std::thread::spawn(|| conforms(arena)).join().unwrap();
}

#[test]
fn every_call_that_may_fail_does_so_cleanly_at_every_size() {
    // Each capacity on its own: where a request ends exactly at the bound, or one byte past it.
    for capacity in 0..200 {
        let arena = Arena::init(capacity).unwrap();
        let start = arena.checkpoint();
        for bytes in 0..=capacity + 1 {
            let fits = bytes <= capacity;
            let text = "x".repeat(bytes);
            let check = |what: &str, ok: bool, fits: bool| {
                assert_eq!(ok, fits, "{what}: {bytes} of {capacity}");
                if !ok {
                    assert_eq!(arena.offset(), 0, "{what}: {bytes} of {capacity}");
                }
                // SAFETY: nothing allocated here is used any more.
                unsafe { arena.rewind_unchecked(&start) }.unwrap();
            };
            check("copy", arena.try_alloc_slice_copy(text.as_bytes()).is_ok(), fits);
            check("str", arena.try_alloc_str(&text).is_ok(), fits);
            check("fmt", arena.try_alloc_fmt(format_args!("{}", text)).is_ok(), fits);
            let halves = text.split_at(bytes / 2);
            check("fmt in parts", arena.try_alloc_fmt(format_args!("{}{}", halves.0, halves.1)).is_ok(), fits);
            check("iter", arena.try_alloc_iter(text.bytes().filter(|_| true)).is_ok(), fits);
            check("fill", arena.try_alloc_slice_fill_copy(bytes, 1u8).is_ok(), fits);
            check("uninit", arena.try_alloc_uninit_slice::<u8>(bytes).is_ok(), fits);
            check("zeroed", arena.try_alloc_zeroed_slice::<u8>(bytes).is_ok(), fits);
            check("box", arena.try_alloc_box_iter(text.bytes()).is_ok(), fits);
            check("cstr", arena.try_alloc_cstr_from_str(&text).is_ok(), bytes < capacity);
            let in_burst = {
                let mut burst = arena.burst();
                burst.try_alloc_str(&text).is_ok()
            };
            check("burst", in_burst, fits);
        }
    }
}
