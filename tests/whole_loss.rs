//! After a complete loss everything comes back: rows, files, modes, refs, reflogs, stash entries.
