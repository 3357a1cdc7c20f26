//! Who may ask Monime, and when.
//!
//! Owns the state machines that decide it. Refuses to sleep, to count and to log: that is their layer's.

pub(super) mod budget;
