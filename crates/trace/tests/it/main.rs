//! The promises of the trace format, from the outside: what is written comes back; any damage stays where it is.

mod build;
mod facts;
mod follow;
mod goldens;
mod harm;
mod merge;
mod round_trip;
mod size;
