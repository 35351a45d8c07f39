//! Rules: events and state to findings.
