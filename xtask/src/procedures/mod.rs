//! What several verbs share: take a backup, prove an archive, bring a project back into an empty folder.
//! Here the floors below meet; they do not know each other. Nothing here prints.

pub mod add_databases;
mod add_dump;
pub mod add_files;
pub mod add_frame;
pub mod add_git;
pub mod bring_back;
mod copy_databases;
pub mod download;
pub mod extract;
pub mod place;
pub mod prove;
mod room;
pub mod staging;
pub mod take;
pub mod upload;
