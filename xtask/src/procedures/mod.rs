//! What several verbs share: take a backup, prove an archive, bring a project back into an empty folder.
//! Here the floors below meet; they do not know each other. Nothing here prints.

pub mod add_databases;
mod add_dump;
pub mod add_files;
pub mod add_frame;
pub mod add_git;
pub mod bring_back;
pub mod check_backup;
mod copy_databases;
pub mod differences;
pub mod download;
pub mod earlier;
pub mod extract;
pub mod guard;
pub mod journal;
pub mod lost_databases;
pub mod mail;
mod marks;
pub mod place;
pub mod present;
pub mod prove;
pub mod put_back;
pub mod readings;
pub mod recover;
mod rename;
mod room;
pub mod rotate;
pub mod salvage;
pub mod scope;
pub mod since;
pub mod stage_database;
pub mod staging;
pub mod survey;
pub mod take;
pub mod upload;
pub mod wanted;
mod workshop;
