//! Events to state at any moment.
