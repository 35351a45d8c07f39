//! A word that outlives its arena. Does not compile: a block borrows its arena.

use arenascope::{Arena, Error};

fn main() -> Result<(), Error> {
    let arena = Arena::init(4096)?;
    let mut last_word = "";
    for word in "all blocks die together".split(' ') {
        last_word = arena.alloc_str(word);
    }
    drop(arena);
    println!("{last_word}");
    Ok(())
}
