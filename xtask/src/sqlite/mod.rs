//! Databases: pin them at one instant, copy their pages, check a copy, state its facts, write it as SQL and
//! load that again. The only floor that knows rusqlite.
//!
//! A live database is only ever opened by `pin`, which reads it, and by `overwrite`, which puts an image into
//! it. Everything else works on private copies, which are opened as immutable and therefore neither locked
//! nor changed.

mod catalog;
pub mod check;
#[cfg_attr(not(test), expect(dead_code, reason = "the plan of a restore tells with it what changes next"))]
pub mod compare;
pub mod dump;
pub mod facts;
pub mod header;
pub mod image;
mod literal;
pub mod load;
mod locks;
mod open;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "the restore in place is built on it next"))]
pub mod overwrite;
pub mod pin;
mod real;
mod statement;

#[cfg(test)]
mod tests;
