//! Check mode of our own arenas, in this process: correct programs run as if nobody checked, and planted faults are found.
mod checker;
mod correct;
mod planted;
