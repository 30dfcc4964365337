//! Verify notices every damage.
