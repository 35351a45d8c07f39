//! Allocators found by shape in debug information.
