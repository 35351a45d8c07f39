//! Everybody ours is compared with.

pub mod arenas;
pub mod c;
pub mod general;
pub mod limit;
pub mod shared;
