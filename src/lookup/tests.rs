//! What lookups promise, proved on a paused clock with a scripted Monime.
