//! A block given back twice. Does not compile: the first time takes the box away.

use arenascope::{Arena, ArenaBox, Error};

fn give_back<T: ?Sized>(block: ArenaBox<'_, T>) {
    drop(block);
}

fn main() -> Result<(), Error> {
    let arena = Arena::init(4096)?;
    let a = arena.alloc_box(String::from("First block ok."));
    let b = arena.alloc_box(String::from("Second block too."));
    give_back(a);
    println!("{b}");
    give_back(a);
    Ok(())
}
