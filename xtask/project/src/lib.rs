//! What is protected: where the project is, how it is configured, what lies in it, and its git repository.
//! Nothing here changes anything in the project.

use xtask_base as base;

mod caches;
pub mod config;
pub mod databases;
pub mod git;
mod left_out;
pub mod plan;
mod remarks;
pub mod root;
pub mod scan;
mod walk;
