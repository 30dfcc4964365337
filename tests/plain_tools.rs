//! An archive opens with plain tools, and its documents are enough to recover without this program.
