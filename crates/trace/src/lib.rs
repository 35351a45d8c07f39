//! Trace bytes to events and back.
