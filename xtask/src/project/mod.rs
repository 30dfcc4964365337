//! What is protected: the project's working copy and its git repository.

pub mod git;
