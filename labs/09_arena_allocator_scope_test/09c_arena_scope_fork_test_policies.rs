//! 09c, the cure: an arena of this library says by its type what becomes of it in a fork. Four policies side by side: what parent and
//! child see of each other's writes, which pages were copied, and whether both get the same block next.
#![allow(unsafe_code)] // Forks; reads and writes memory behind the compiler's back, as the other process does.

use arenascope::fork::ShareArena;
use arenascope::{Arena, Builder, Colouring, HugePages};
use std::alloc::Layout;
use std::error::Error;
use std::io::Write;
use std::os::unix::fs::FileExt;

const PAGE: usize = 4096;
const PAGES: usize = 16;
const WRITTEN: usize = 3;

unsafe extern "C" {
    safe fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    safe fn _exit(status: i32) -> !;
}

/// The block that both look at: whole pages.
fn pages() -> Layout {
    Layout::from_size_align(PAGES * PAGE, PAGE).expect("whole pages")
}

fn private() -> Builder<'static> {
    Arena::builder().capacity(64 * PAGE).huge_pages(HugePages::Never).colouring(Colouring::Never).keep(false)
}

/// Writes a word at the start of each of the first pages.
fn write(block: *mut u8, word: &[u8; 8], count: usize) {
    for page in 0..count {
        // SAFETY: inside the block.
        unsafe { block.add(page * PAGE).cast::<[u8; 8]>().write_volatile(*word) }
    }
}

/// The word at the start of the first page.
fn read(block: *mut u8) -> String {
    // SAFETY: inside the block.
    let word = unsafe { block.cast::<[u8; 8]>().read_volatile() };
    String::from_utf8_lossy(&word).trim_matches('\0').to_owned()
}

/// Each page of the block: is it there, and is it this process's alone? So the kernel says in /proc/self/pagemap, bits 63 and 56.
fn look(block: *mut u8) -> Vec<(bool, bool)> {
    let map = std::fs::File::open("/proc/self/pagemap").expect("the kernel has /proc/self/pagemap");
    let mut bytes = [0; 8 * PAGES];
    map.read_exact_at(&mut bytes, (block.addr() / PAGE * 8) as u64).expect("a word for each page");
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    words.map(|word| (word >> 63 == 1, word >> 56 & 1 == 1)).collect()
}

/// The child's part: reads, writes, and counts pages that it shared before and has for itself now.
fn child(block: *mut u8) {
    let before = look(block);
    let text = read(block);
    write(block, b"child\0\0\0", WRITTEN);
    let pairs = || before.iter().zip(look(block));
    let copied = pairs().filter(|(before, after)| before.0 && !before.1 && after.1).count();
    let fresh = pairs().filter(|(before, after)| !before.0 && after.1).count();
    println!(
        "✅ child:  reads {text:?}, writes to {WRITTEN} of {PAGES} pages: {copied} copied, {fresh} new and its own"
    );
}

/// Runs `work` in a child and waits for it.
fn in_a_child(work: impl FnOnce()) {
    let _ = std::io::stdout().flush();
    let pid = fork();
    if pid == 0 {
        work();
        let _ = std::io::stdout().flush();
        _exit(0);
    }
    // SAFETY: the status is not asked for, so there is no pointer to be valid.
    unsafe { waitpid(pid, std::ptr::null_mut(), 0) };
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("📦 copy: every Arena");
    let arena = private().build()?;
    let block = arena.try_alloc_layout(pages())?.as_ptr();
    write(block, b"parent\0\0", PAGES);
    let next =
        |arena: &Arena| arena.try_alloc_layout(Layout::new::<u64>()).map(|at| at.as_ptr().addr() - arena.base().addr());
    in_a_child(|| {
        child(block);
        println!("✅ child:  its next block is at +{}", next(&arena).unwrap_or(0));
    });
    println!("🧠 parent: reads {:?}, its next block is at +{}", read(block), next(&arena)?);

    println!("📦 share: ShareArena");
    let arena = ShareArena::init(64 * PAGE)?;
    let local = arena.local()?;
    let block = local.try_alloc_layout(pages())?.0.as_ptr();
    write(block, b"parent\0\0", PAGES);
    // The child leaves the offset of its next block behind the first page's word.
    // SAFETY: inside the block, and a multiple of 8.
    let told = unsafe { block.add(8) }.cast::<u64>();
    in_a_child(|| {
        child(block);
        let next = local.try_alloc_layout(Layout::new::<u64>()).map_or(0, |(_, offset)| offset.to_raw());
        // SAFETY: as above; the parent waits.
        unsafe { told.write_volatile(next) };
    });
    let next = local.try_alloc_layout(Layout::new::<u64>())?.1.to_raw();
    // SAFETY: as above.
    let childs = unsafe { told.read_volatile() };
    let same = if next == childs { "🤡 the child's" } else { "another one than the child's" };
    println!("🧠 parent: reads {:?}, its next block is {same}", read(block));

    println!("📦 wipe: WipeArena");
    // SAFETY: the child uses what the kernel left there, zeroes, as numbers.
    let arena = unsafe { private().build_wiped()? };
    let block = arena.get().try_alloc_layout(pages())?.as_ptr();
    write(block, b"parent\0\0", PAGES);
    in_a_child(|| {
        child(block);
        println!("✅ child:  its arena is new, offset {}, generation {}", arena.get().offset(), arena.generation());
    });
    println!("🧠 parent: reads {:?}, offset not 0: {}", read(block), arena.get().offset() != 0);

    println!("📦 absent: AbsentArena");
    // SAFETY: the child asks whether the arena is there, and touches nothing of it.
    let arena = unsafe { private().build_absent()? };
    let block = arena.get().ok_or("no child yet")?.try_alloc_layout(pages())?.as_ptr();
    write(block, b"parent\0\0", PAGES);
    in_a_child(|| {
        let there = look(block).iter().filter(|page| page.0).count();
        println!("✅ child:  has an arena: {}, pages that are there: {there}", arena.get().is_some());
    });
    println!("🧠 parent: reads {:?}", read(block));
    Ok(())
}
