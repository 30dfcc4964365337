//! The format: one backup as one plain `tar.gz` that needs nothing of ours to be opened, and an index in it
//! with which one entry is read without the rest. `xtask/FORMAT.md` is its description for others.

use xtask_base as base;

pub mod audit;
mod copier;
pub mod footer;
pub mod header;
pub mod index;
pub mod layout;
pub mod manifest;
pub mod member;
mod pipeline;
pub mod reader;
pub mod reuse;
pub mod stream;
pub mod sums;
pub mod writer;

#[cfg(test)]
mod tests;
