//! What several verbs share: take a backup, prove an archive, bring a project back into an empty folder.
//! Here the floors below meet; they do not know each other. Nothing here prints.

pub mod add_databases;
mod add_dump;
pub mod add_files;
pub mod add_frame;
pub mod add_git;
pub mod bring_back;
mod copy_databases;
pub mod extract;
pub mod guard;
pub mod journal;
mod marks;
pub mod place;
pub mod present;
pub mod prove;
pub mod put_back;
pub mod recover;
mod rename;
pub mod scope;
pub mod stage_database;
pub mod staging;
pub mod survey;
pub mod take;
pub mod wanted;
mod workshop;
