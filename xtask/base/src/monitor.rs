//! How work that never prints tells somebody how far it is.

/// Receives progress; may be called from several threads.
pub trait Monitor: Sync {
    /// A step begins: what it is for the user ("copying databases"), and how many bytes, where known.
    fn step(&self, name: &str, bytes_total: Option<u64>);
    /// So many more bytes of the step are done.
    fn advance(&self, bytes: u64);
}

/// Tells nobody.
impl Monitor for () {
    fn step(&self, _name: &str, _bytes_total: Option<u64>) {}
    fn advance(&self, _bytes: u64) {}
}
