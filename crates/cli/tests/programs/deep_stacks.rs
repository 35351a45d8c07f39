//! Stacks of a release binary: generics, closures, sorting, threads, and panics that are caught.

use std::ffi::{CString, c_char, c_int, c_void};

unsafe extern "C" {
    fn told_begin(count: c_int, words: *mut *mut c_char);
    fn told_arena() -> *mut c_void;
    fn take(arena: *mut c_void, size: usize) -> *mut c_void;
}

#[inline(never)]
fn leaf(n: u64) -> u64 {
    // SAFETY: the arena is the C side's own, and its lock guards it.
    let block = unsafe { take(told_arena(), 16) };
    std::hint::black_box(block as u64 & 1) + n
}

#[inline(never)]
fn generic<T: Into<u64> + Copy>(value: T, depth: u32) -> u64 {
    let text = format!("{}{depth}", value.into());
    let deeper = if depth == 0 { leaf(value.into()) } else { generic(value, depth - 1) };
    deeper + text.len() as u64
}

#[inline(never)]
fn panics(n: u64) -> u64 {
    if leaf(n) >= n { panic!("as planned") }
    n
}

struct Guard(u64);
impl Drop for Guard {
    fn drop(&mut self) {
        leaf(self.0);
    }
}

fn main() {
    let words: Vec<CString> = std::env::args().map(|word| CString::new(word).unwrap()).collect();
    let mut pointers: Vec<*mut c_char> = words.iter().map(|word| word.as_ptr().cast_mut()).collect();
    // SAFETY: as many pointers as told, to strings that outlive the call.
    unsafe { told_begin(pointers.len() as c_int, pointers.as_mut_ptr()) };
    std::panic::set_hook(Box::new(|_| ()));
    for round in 0..20u64 {
        generic(round, 3);
        generic(round as u8, 2);
        let mut numbers = [5u64, 3, 9, 1, round];
        numbers.sort_by(|a, b| leaf(*a).cmp(&leaf(*b)));
        let _ = std::panic::catch_unwind(|| {
            let _guard = Guard(round);
            panics(round)
        });
    }
    let threads: Vec<_> = (0..3u16).map(|n| std::thread::spawn(move || (0..10).map(|_| generic(n, 1)).sum::<u64>())).collect();
    for thread in threads {
        thread.join().unwrap();
    }
    leaf(1);
    leaf(2);
}
