//! Folders that may not be read or written, seen as somebody else than root.
