//! Backup and disaster recovery for a git repository and the SQLite databases that live in it.

#![allow(dead_code)] // until every floor is built
mod base;
mod project;
mod store;

fn main() {
    let _ = base::clock::Instant::now();
}
