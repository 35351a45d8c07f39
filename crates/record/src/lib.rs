//! In-process recorder.
