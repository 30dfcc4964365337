//! An archive of every format number ever released verifies and restores.
