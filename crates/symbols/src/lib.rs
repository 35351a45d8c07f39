//! Names and lines of addresses.
