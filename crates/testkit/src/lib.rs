//! For tests only: oracles and builders.
