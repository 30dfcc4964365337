//! Vocabulary that every floor shares: ids and times, safe paths, digests, durable writes, failures and
//! findings, and what differs between Unix and Windows, one file per concern. Nothing here knows what a
//! backup is, and nothing here prints.

pub mod change_times;
pub mod clock;
pub mod digest;
pub mod durable;
pub mod escape;
pub mod facts;
pub mod failure;
pub mod file_facts;
pub mod finding;
pub mod id;
pub mod interrupt;
pub mod keep;
pub mod kind;
pub mod links;
pub mod mail_address;
pub mod monitor;
pub mod origin;
pub mod os_name;
pub mod parallel;
pub mod pattern;
pub mod raw_path;
pub mod safe_path;
pub mod seen;
pub mod tree;
pub mod usage;
pub mod write_lock;
