//! What the statements of a damaged schema may do, in the new database and nowhere else. They are untrusted, as is all
//! that a damaged file holds.

use rusqlite::hooks::{AuthAction, AuthContext, Authorization, TransactionOperation};

/// Answers SQLite's question whether it may do something.
pub fn allowed(context: AuthContext<'_>) -> Authorization {
    let is_fine = match context.action {
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Delete { .. }
        | AuthAction::CreateTable { .. }
        | AuthAction::CreateIndex { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::Reindex { .. }
        | AuthAction::Analyze { .. } => true,
        // Through this table, pages could be written raw.
        AuthAction::Insert { table_name } | AuthAction::Update { table_name, .. } => {
            !table_name.eq_ignore_ascii_case("sqlite_dbpage")
        }
        AuthAction::Transaction { operation } => !matches!(operation, TransactionOperation::Rollback),
        AuthAction::Function { function_name } => {
            !["load_extension", "fts3_tokenizer"].iter().any(|name| function_name.eq_ignore_ascii_case(name))
        }
        AuthAction::Pragma { pragma_name, pragma_value } => is_allowed_pragma(pragma_name, pragma_value),
        _ => false,
    };
    if is_fine { Authorization::Allow } else { Authorization::Deny }
}

fn is_allowed_pragma(name: &str, value: Option<&str>) -> bool {
    match name.to_ascii_lowercase().as_str() {
        "page_size"
        | "encoding"
        | "auto_vacuum"
        | "ignore_check_constraints"
        | "writable_schema"
        | "user_version"
        | "application_id" => true,
        "foreign_keys" => value.is_some_and(|v| v.eq_ignore_ascii_case("off") || v == "0"),
        "journal_mode" => {
            value.is_some_and(|v| v.eq_ignore_ascii_case("wal") || v.eq_ignore_ascii_case("delete"))
        }
        _ => false,
    }
}
