//! Bad input gets a clear error, the right exit code, and nothing is lost.
