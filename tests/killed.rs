//! Killed anywhere, the store holds whole archives only, and the next run sweeps the rest.
