//! The bugs that other arenas have had, one test each, under the name of what went wrong there.
//!
//! What the compiler refuses is tested in the library's `refused`; the rest of their kinds in `scopes`, `collections`, `oracle`.
#![allow(unsafe_code)] // Resizes and frees blocks by hand.

use arenascope::{Arena, ArenaBox, CStrError, Error, Heap, HugePages};
use std::alloc::Layout;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::rc::Rc;

fn layout(bytes: usize, align: usize) -> Layout {
    Layout::from_size_align(bytes, align).unwrap()
}

/// A block with so many bytes of a pattern.
fn block(arena: &Arena, bytes: usize) -> NonNull<u8> {
    let block = arena.alloc_layout(layout(bytes, 1));
    for i in 0..bytes {
        // SAFETY: i < bytes.
        unsafe { block.add(i).write(i as u8) };
    }
    block
}

fn holds(block: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the tests ask for bytes they wrote.
    (0..bytes).all(|i| unsafe { block.add(i).read() } == i as u8)
}

/// Counts drops.
struct Counted<'a>(&'a Cell<u32>);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn panics(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

/// bumpalo, RUSTSEC-2020-0006: read past the old block. The old block ends where the heap's allocation ends, so that a
/// sanitizer or Valgrind sees a read of one byte too many.
#[test]
fn realloc_copied_the_new_size_instead_of_the_old() {
    let small = Arena::builder().source(&Heap).capacity(64).build().unwrap();
    let large = Arena::init(4096).unwrap();
    for (from, to) in [(3, 5), (8, 60), (40, 3)] {
        let old = block(&large, from);
        large.alloc(0xFFu8); // in the way: the block moves
        // SAFETY: living, of that layout.
        let new = unsafe { large.try_resize(old, layout(from, 1), layout(to, 1)) }.unwrap();
        assert!(holds(new, from.min(to)));
    }
    let old = block(&small, 56);
    small.alloc(1u8);
    // SAFETY: as above.
    assert_eq!(unsafe { small.try_resize(old, layout(56, 1), layout(64, 1)) }, Err(Error::Full));
    assert!(holds(old, 56), "a failed resize leaves the block");
}

/// bumpalo #230: copied between overlapping ranges when shrinking by less than half.
#[test]
fn shrinking_copied_between_overlapping_ranges() {
    let arena = Arena::init(4096).unwrap();
    for (from, to) in [(5, 3), (100, 51), (100, 99)] {
        let old = block(&arena, from);
        // SAFETY: living, of that layout.
        let new = unsafe { arena.try_resize(old, layout(from, 1), layout(to, 1)) }.unwrap();
        assert_eq!(new, old, "in place");
        assert!(holds(new, to));
    }
    // A larger alignment moves it; source and target must not overlap either.
    let old = block(&arena, 24);
    // SAFETY: as above.
    let new = unsafe { arena.try_resize(old, layout(24, 1), layout(20, 256)) }.unwrap();
    assert!(new.addr().get() % 256 == 0 && holds(new, 20));
    assert!(new == old || new.addr().get() >= old.addr().get() + 24);
}

/// bumpalo #321, oxc #21739: `&mut [u8]` over bytes that were never written. Miri and Valgrind see it; here: that they are zero.
#[test]
fn zeroed_memory_was_a_slice_over_uninitialised_bytes() {
    let mut arena = Arena::init(1 << 16).unwrap();
    for round in 0..3 {
        arena.alloc_slice_fill_copy(100 * round, 0xFFu8);
        arena.reset();
        let zeroes = arena.alloc_zeroed_slice::<u8>(5000);
        assert!(zeroes.iter().all(|byte| *byte == 0), "round {round}");
        zeroes.fill(0xEE);
        let after = arena.alloc_zeroed::<[u32; 100]>();
        assert_eq!(after, &[0; 100]);
        after.fill(7);
        arena.reset();
    }
    arena.scope(|scope| scope.alloc_slice_fill_copy(40_000, 0xDDu8).len());
    assert!(arena.alloc_zeroed_slice::<u8>(50_000).iter().all(|byte| *byte == 0), "after a scope");
}

/// The same for memory that a region had in another arena's life, that a burst left, or that a resize gave up.
#[test]
fn zeroed_memory_showed_a_previous_owner() {
    for _ in 0..4 {
        let arena = Arena::init(16 << 10).unwrap();
        assert!(arena.alloc_zeroed_slice::<u8>(16 << 10).iter().all(|byte| *byte == 0));
    }
    for _ in 0..4 {
        let arena = Arena::init(16 << 10).unwrap();
        arena.alloc_slice_fill_copy(16 << 10, 0xCCu8);
    }
    for _ in 0..4 {
        let arena = Arena::init(16 << 10).unwrap();
        {
            let mut burst = arena.burst();
            burst.alloc_slice_copy(&[0xBBu8; 1000]);
        }
        let text = arena.alloc_iter((0..1000).filter(|_| true).map(|_| 0xAAu8));
        let (text, bytes) = (NonNull::from(text).cast::<u8>(), 1000);
        // SAFETY: living, of that layout.
        unsafe { arena.try_resize(text, layout(bytes, 1), layout(10, 1)) }.unwrap();
        assert!(arena.alloc_zeroed_slice::<u8>(8000).iter().all(|byte| *byte == 0));
    }
}

/// bumpalo #330: the size was taken from a length where it should have been the capacity: capacity ≠ length in every case here.
#[test]
fn capacity_was_taken_for_length() {
    for room in 0..20usize {
        for given in 0..20usize {
            let arena = Arena::init(2048).unwrap();
            let before = arena.alloc_slice_fill_copy(3, 0x11u8);
            /// Says `room`, gives `given`.
            struct Liar(usize, usize);
            impl Iterator for Liar {
                type Item = u32;
                fn next(&mut self) -> Option<u32> {
                    self.1 = self.1.checked_sub(1)?;
                    Some(self.1 as u32)
                }
                fn size_hint(&self) -> (usize, Option<usize>) {
                    (self.0, Some(self.0))
                }
            }
            impl ExactSizeIterator for Liar {}
            let exact = arena.alloc_slice_fill_iter(Liar(room, given));
            let between = arena.alloc(0x2222_2222u32);
            let any = arena.alloc_iter(Liar(room, given));
            let after = arena.alloc(0x3333_3333u32);
            let taken = room.min(given);
            assert!(exact.iter().copied().eq((0..given as u32).rev().take(taken)), "{room} {given}");
            assert!(any.iter().copied().eq((0..given as u32).rev()), "{room} {given}");
            assert_eq!((&*before, *between, *after), (&[0x11; 3][..], 0x2222_2222, 0x3333_3333));
        }
    }
}

/// bump-scope 0.8.0, bumpalo #314: a closure that allocates itself; and that fails.
#[test]
fn alloc_with_was_wrong_when_the_closure_allocates_itself() {
    let arena = Arena::init(4096).unwrap();
    let outer = arena.alloc_with(|| {
        let inner = arena.alloc([1u64; 4]);
        [inner[0], arena.alloc_with(|| *arena.alloc(2u64) + 1).to_owned()]
    });
    assert_eq!(outer, &[1, 3]);
    let failed: Result<&mut [u64; 2], u64> = arena.alloc_try_with(|| Err(*arena.alloc(5u64)));
    assert_eq!(failed, Err(5));
    let kept = Cell::new(None);
    let failed: Result<&mut u64, ()> = arena.alloc_try_with(|| {
        kept.set(Some(arena.alloc(0x77u64)));
        Err(())
    });
    assert!(failed.is_err());
    arena.alloc([0u64; 8]);
    assert_eq!(kept.take(), Some(&mut 0x77), "what the closure allocated and kept is not overwritten");
    let failed = arena.alloc_slice_try_fill_with(9, |i| if i < 5 { Ok(&*arena.alloc(i)) } else { Err(arena.alloc(i)) });
    assert_eq!(failed, Err(&mut 5), "the failed slice lies below what was allocated meanwhile, and is left there");
    let items = arena.alloc_slice_fill_with(10, |i| *arena.alloc(i) + 1);
    assert!(items.iter().copied().eq(1..=10));
    let growing = arena.alloc_iter((0..50u64).filter(|i| *arena.alloc(*i) == *i));
    assert!(growing.iter().copied().eq(0..50));
    struct Nested<'a>(&'a Arena);
    impl std::fmt::Display for Nested<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0.alloc_fmt(format_args!("<{}>", 1)))
        }
    }
    assert_eq!(arena.alloc_fmt(format_args!("{0}{0}{1}{0}", Nested(&arena), "x".repeat(200))).len(), 209);
}

/// bumpalo #314 (open there): failing at a high alignment took twice as much each time.
#[test]
fn a_failed_initialiser_at_high_alignment_grew_the_arena_without_end() {
    #[repr(align(1024))]
    struct Aligned(#[allow(dead_code)] u8);
    let arena = Arena::growing().unwrap();
    arena.alloc(1u8);
    let offset = arena.offset();
    for _ in 0..1000 {
        assert!(arena.alloc_try_with(|| Err::<Aligned, ()>(())).is_err());
        assert_eq!(arena.offset(), offset);
    }
}

/// bumpalo #261, #323, arenavec RUSTSEC-2021-0040: wrong after a panic in a closure.
#[test]
fn a_panic_in_a_closure_left_the_arena_wrong() {
    let arena = Arena::init(4096).unwrap();
    let kept = arena.alloc(0x5555u64);
    let at = |n: u64| move |i: u64| if i == n { panic!("on purpose") } else { i };
    assert!(panics(|| _ = arena.alloc_with(|| -> u64 { panic!("on purpose") })));
    assert!(panics(|| _ = arena.alloc_slice_fill_with(10, |i| at(5)(i as u64))));
    assert!(panics(|| _ = arena.alloc_slice_fill_iter([1u64, 2, 3].map(|i| i).into_iter().map(at(2)))));
    assert!(panics(|| _ = arena.burst().alloc_with(|| -> u64 { panic!("on purpose") })));
    struct Bad;
    impl Clone for Bad {
        fn clone(&self) -> Bad {
            panic!("on purpose")
        }
    }
    assert!(panics(|| _ = arena.alloc_slice_clone(&[Bad])));
    struct Worse;
    impl std::fmt::Display for Worse {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Err(std::fmt::Error)
        }
    }
    let offset = arena.offset();
    assert!(panics(|| _ = arena.alloc_fmt(format_args!("{}{}", "x".repeat(100), Worse))));
    assert!(panics(|| _ = arena.alloc_iter((0..100).map(at(50)))));
    assert!(panics(|| _ = arena.alloc_slice_try_fill_with(100, |i| Ok::<u64, ()>(at(50)(i as u64)))));
    assert_eq!(arena.offset(), offset, "growing blocks are given back");
    let next = arena.alloc_slice_fill_copy(100, 0xAAu8);
    assert_eq!((*kept, &*next), (0x5555, &[0xAA; 100][..]));
}

/// The items that a boxed iterator gave before it panicked or memory ended are dropped, once.
#[test]
fn items_leaked_or_dropped_twice_after_a_panic_in_an_iterator() {
    let drops = Cell::new(0);
    let arena = Arena::init(1024).unwrap();
    assert!(panics(|| {
        arena.alloc_box_iter((0..10).map(|i| if i == 7 { panic!("on purpose") } else { Counted(&drops) }));
    }));
    assert_eq!((drops.take(), arena.offset()), (7, 0));
    let refused = arena.try_alloc_box_iter((0..1000).map(|_| Counted(&drops)).filter(|_| true));
    assert!(refused.is_err());
    drop(refused);
    assert_eq!((drops.take(), arena.offset()), (1024 / size_of::<Counted>() as u32 + 1, 0));
    /// The first one's drop panics.
    struct Bomb<'a>(usize, #[allow(dead_code)] Counted<'a>);
    impl Drop for Bomb<'_> {
        fn drop(&mut self) {
            assert!(self.0 != 0, "on purpose");
        }
    }
    let tiny = Arena::init(10 * size_of::<Bomb>()).unwrap();
    assert!(panics(|| _ = tiny.try_alloc_box_iter((0..100).filter(|_| true).map(|i| Bomb(i, Counted(&drops))))));
    assert_eq!((drops.take(), tiny.offset()), (11, 0), "the refused one, and the ten that fit");
}

/// bump-scope 0.11.1 and 0.16.1, allocator-api2 #5 and dedb0ed: dropped twice, or never.
#[test]
fn a_box_dropped_its_value_twice_or_never() {
    let drops = Cell::new(0);
    let arena = Arena::init(4096).unwrap();
    drop(arena.alloc_box(Counted(&drops)));
    assert_eq!(drops.take(), 1, "dropped");
    let moved = ArenaBox::into_inner(arena.alloc_box(Counted(&drops)));
    assert_eq!(drops.get(), 0, "moved out");
    drop(moved);
    assert_eq!(drops.take(), 1);
    let _: &mut Counted = ArenaBox::leak(arena.alloc_box(Counted(&drops)));
    assert_eq!(drops.get(), 0, "leaked");
    drop(arena.alloc_box_iter((0..9).map(|_| Counted(&drops))));
    assert_eq!(drops.take(), 9, "a slice");
    let raw = ArenaBox::into_raw(arena.alloc_box(Counted(&drops)));
    // SAFETY: taken over a line above.
    drop(unsafe { ArenaBox::from_raw(raw) });
    assert_eq!(drops.take(), 1, "there and back");
    let tiny = Arena::init(3).unwrap();
    assert!(tiny.try_alloc_box(Counted(&drops)).is_err());
    assert_eq!(drops.take(), 1, "refused");
    let shared = Rc::new(());
    let boxed = arena.alloc_box(Rc::clone(&shared));
    assert_eq!(Rc::strong_count(&boxed), 2);
    drop(boxed);
    assert_eq!(Rc::strong_count(&shared), 1);
}

/// bump-scope #6 and later: zero-sized values dropped at once, or at a wrong alignment.
#[test]
fn zero_sized_values_were_dropped_at_once_or_misaligned() {
    #[repr(align(256))]
    struct Nothing<'a>(std::marker::PhantomData<&'a ()>);
    thread_local!(static DROPS: Cell<u32> = const { Cell::new(0) });
    impl Drop for Nothing<'_> {
        fn drop(&mut self) {
            DROPS.set(DROPS.get() + 1);
        }
    }
    let arena = Arena::init(4096).unwrap();
    arena.alloc(1u8);
    let nothing = arena.alloc_box(Nothing(std::marker::PhantomData));
    assert_eq!((DROPS.get(), (&raw const *nothing).addr() % 256), (0, 0));
    drop(nothing);
    assert_eq!(DROPS.take(), 1);
    let many = arena.alloc_box_iter((0..1000).map(|_| Nothing(std::marker::PhantomData)));
    assert_eq!((DROPS.get(), many.as_ptr().addr() % 256, many.len()), (0, 0, 1000));
    drop(many);
    assert_eq!(DROPS.take(), 1000);
    let mut arena = arena;
    arena.scope(|scope| {
        let held = scope.alloc_drop(Nothing(std::marker::PhantomData));
        assert_eq!((DROPS.get(), (&raw const *held).addr() % 256), (0, 0));
    });
    assert_eq!(DROPS.take(), 1);
}

/// obstack RUSTSEC-2020-0040, bump-scope #32: types aligned to more than the usual, in every place that values go.
#[test]
fn over_aligned_types_were_misaligned() {
    #[derive(Clone, Copy, Default)]
    #[repr(align(128))]
    struct Line(u8);
    for source in 0..2 {
        let builder = Arena::builder().capacity(1 << 16);
        let mut arena = if source == 0 { builder } else { builder.source(&Heap) }.build().unwrap();
        let line = |line: *const Line| assert_eq!(line.addr() % 128, 0);
        arena.alloc(1u8);
        line(arena.alloc(Line(1)));
        arena.alloc(1u8);
        line(arena.alloc_slice_copy(&[Line(1); 3]).as_ptr());
        line(arena.alloc_slice_fill_default::<Line>(2).as_ptr());
        line(&raw const *arena.alloc_box(Line(1)));
        arena.alloc(1u8);
        line(arena.alloc_iter((0..9).map(Line).filter(|l| l.0 % 2 == 0)).as_ptr());
        arena.alloc(1u8);
        line(arena.burst().alloc(Line(1)));
        arena.alloc(1u8);
        arena.scope(|scope| {
            scope.alloc(1u8);
            struct Loud(Line);
            impl Drop for Loud {
                fn drop(&mut self) {
                    assert_eq!((self as *const Loud).addr() % 128, 0);
                }
            }
            line(&scope.alloc_drop(Loud(Line(1))).0);
        });
    }
}

/// bump-scope 0.12.2: a C string with a NUL inside.
#[test]
fn a_c_string_with_an_interior_nul_was_made() {
    let arena = Arena::init(4096).unwrap();
    assert_eq!(arena.try_alloc_cstr_from_str("a\0b"), Err(CStrError::Nul(1)));
    assert_eq!(arena.try_alloc_cstr_from_str("\0"), Err(CStrError::Nul(0)));
    assert_eq!(arena.offset(), 0);
    assert!(panics(|| _ = arena.alloc_cstr_from_str("a\0")));
    for length in 0..80 {
        let text = "y".repeat(length);
        let c = arena.alloc_cstr_from_str(&text);
        assert_eq!((c.to_str(), c.count_bytes()), (Ok(&*text), length));
    }
}

/// bump-scope 1.0.0: freeing a block of an outer scope inside an inner one left the cursor misaligned or below the scope.
#[test]
fn an_outer_block_freed_in_an_inner_scope_moved_the_cursor_wrongly() {
    let mut arena = Arena::init(4096).unwrap();
    for bytes in 1..40 {
        arena.scope(|outer| {
            let old = block(outer, bytes);
            let kept = outer.scope(|inner| {
                // SAFETY: living, of that layout, never used again.
                unsafe { inner.free(old, layout(bytes, 1)) };
                let one = inner.alloc(u64::MAX);
                assert_eq!((one as *const u64).addr() % 8, 0);
                let two = inner.alloc_slice_fill_copy(bytes, 1u8);
                assert_eq!((*one, two.len()), (u64::MAX, bytes));
                7
            });
            let after = outer.alloc(kept);
            assert_eq!((after as *const i32).addr() % 8, 0);
        });
        assert_eq!(arena.offset(), 0);
    }
}

/// bumpalo #247: the block's pointer was made from the caller's, which covers less than the region: Miri sees it.
#[test]
fn a_freed_block_left_the_cursor_with_its_own_provenance() {
    let arena = Arena::builder().source(&Heap).capacity(4096).build().unwrap();
    for _ in 0..3 {
        let narrow = NonNull::from(arena.alloc(1u64)).cast::<u8>();
        // SAFETY: living, of that layout, never used again.
        unsafe { arena.free(narrow, Layout::new::<u64>()) };
        arena.alloc_slice_fill_copy(100, 3u8);
        let narrow = NonNull::from(arena.alloc(1u64)).cast::<u8>();
        // SAFETY: as above; the new block is written where the old reference did not reach.
        unsafe {
            let wide = arena.try_resize(narrow, Layout::new::<u64>(), layout(500, 8)).unwrap();
            wide.add(8).write_bytes(1, 492);
        }
    }
}

/// bumpalo #205, oxc #21745 and #21777: sizes near the largest possible wrapped.
#[test]
fn sizes_near_the_largest_wrapped() {
    let arena = Arena::growing().unwrap();
    arena.alloc(1u8);
    let offset = arena.offset();
    let max = isize::MAX as usize;
    for bytes in [max, max - 1, max - 7, max - 8, max / 2, max / 3] {
        assert!(arena.try_alloc_slice_fill_copy(bytes, 0u8).is_err());
        assert!(arena.try_alloc_slice_fill_copy(bytes / 8, 0u64).is_err());
        assert!(arena.try_alloc_slice_fill_copy(bytes, 0u64).is_err());
        assert!(arena.burst().try_alloc_layout(layout(bytes, 1)).is_err());
        assert!(arena.try_alloc_iter(std::iter::repeat_n(1u8, bytes)).is_err());
    }
    assert_eq!(arena.offset(), offset);
    // Zero-sized items have no bytes: any number of them fits.
    assert_eq!(arena.alloc_slice_copy(&[(); 1 << 20]).len(), 1 << 20);
    assert_eq!(arena.try_alloc_uninit_slice::<()>(usize::MAX).map(|units| units.len()), Ok(usize::MAX));
}

/// bumpalo #152: one small block after a large one took twice the large one.
#[test]
fn growth_doubled_what_was_taken_last() {
    let arena = Arena::builder().reserve(1 << 24).keep(false).huge_pages(HugePages::Never).build().unwrap();
    arena.alloc([0u8; 10]);
    arena.alloc_uninit_slice::<u8>(1_000_000);
    arena.alloc([0u8; 10]);
    // Miri has the heap source, whose memory is all there from the start.
    assert!(cfg!(miri) || arena.raw_parts().committed < 1_300_000, "{}", arena.raw_parts().committed);
}

/// bumpalo #265, #235: a growing slice copied itself again and again, or left its old places behind.
#[test]
fn a_growing_slice_left_its_old_places_behind() {
    let arena = Arena::growing().unwrap();
    let many = if cfg!(miri) { 1000 } else { 100_000 };
    let items = arena.alloc_iter((0..many as u64).filter(|_| true));
    assert_eq!(items.len(), many);
    assert_eq!(arena.offset(), many * 8, "grown in place, and no more kept than used");
    let text = arena.alloc_fmt(format_args!("{:>9999}{:>9999}", 1, 2));
    assert_eq!((text.len(), arena.offset()), (19_998, many * 8 + 20_000));
}

/// falcosecurity/plugin-sdk-rs #72: dropping a collection rewound the cursor under a pointer that was still used. A box does not.
#[test]
fn dropping_a_box_gave_its_memory_to_the_next_block() {
    let arena = Arena::init(4096).unwrap();
    let boxed = arena.alloc_box(1u64);
    let address = (&raw const *boxed).addr();
    drop(boxed);
    assert_ne!((arena.alloc(2u64) as *const u64).addr(), address);
}

#[test]
fn an_arena_in_memory_that_was_never_written() {
    // Found by Miri in a review: setting a field reads what was there before.
    let mut memory = [std::mem::MaybeUninit::uninit(); 2048];
    let arena = Arena::in_buffer(&mut memory).expect("the buffer holds a header");
    assert_eq!(*arena.alloc(7), 7);
}

#[test]
fn a_burst_on_a_nearly_full_arena_leaves_room_for_others() {
    let arena = Arena::init(1000).expect("a small arena");
    let mut burst = arena.burst();
    assert!(arena.try_alloc(1u64).is_ok() && burst.try_alloc(2u64).is_ok());
}

#[test]
fn looking_at_an_arena_read_memory_that_somebody_else_had() {
    // Through a shared borrow it can only be done behind the compiler's back; with the arena in hand it can be done properly.
    let mut arena = Arena::init(1000).expect("a small arena");
    arena.alloc_slice_copy(b"12345678");
    arena.alloc_uninit::<[u64; 4]>();
    *arena.alloc(0u16) = 0x4142;
    let bytes = arena.bytes();
    assert_eq!(bytes.len(), 8 + 32 + 8);
    // SAFETY: the first eight bytes and the last grain's first two were written above.
    let written =
        |range: std::ops::Range<usize>| bytes[range].iter().map(|b| unsafe { b.assume_init() }).collect::<Vec<u8>>();
    assert_eq!((written(0..8), written(40..42)), (b"12345678".to_vec(), 0x4142u16.to_ne_bytes().to_vec()));
    arena.reset();
    assert!(arena.bytes().is_empty());
}
