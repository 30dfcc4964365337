//! Databases: pin them at one instant, copy their pages, check a copy, state its facts, write it as SQL and
//! load that again. The only floor that knows rusqlite.
//!
//! A live database is only ever opened by `pin`, which reads it, and by `overwrite`, which puts an image into
//! it. Everything else works on private copies, which are opened as immutable and therefore neither locked
//! nor changed.

use xtask_base as base;

mod catalog;
pub mod check;
pub mod compare;
pub mod dump;
pub mod facts;
pub mod fold;
pub mod header;
pub mod image;
mod literal;
pub mod load;
mod locks;
mod open;
pub mod overwrite;
pub mod pin;
pub mod question;
mod real;
pub mod salvage;
mod statement;
mod table_hash;
mod tokens;

#[cfg(test)]
mod tests;
