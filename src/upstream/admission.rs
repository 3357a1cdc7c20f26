//! Whether a request may go to Monime now: pure state machines that are passed the time.
//!
//! Owns what was sent and how it came out. Refuses to send, to wait, or to read a clock.

mod breaker;
