//! Backups under a writer: none torn, none late, and the project untouched.
