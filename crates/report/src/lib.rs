//! View models and texts.
