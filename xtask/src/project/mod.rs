//! What is protected: where the project is, how it is configured, and what lies in it. Nothing here
//! changes anything on disk.

mod caches;
pub mod config;
mod databases;
mod left_out;
mod remarks;
pub mod root;
pub mod scan;
mod walk;
