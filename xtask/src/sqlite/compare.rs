//! stub
use anyhow::Result;
use std::path::Path;
pub struct TableChange {
    pub name: String,
    pub appear: u64,
    pub vanish: u64,
    pub change: u64,
}
pub struct SchemaChange {
    pub kind: String,
    pub name: String,
    pub before: Option<String>,
    pub after: Option<String>,
}
pub struct DatabaseChange {
    pub tables: Vec<TableChange>,
    pub schema: Vec<SchemaChange>,
}
pub fn compare(_before: &Path, _after: &Path) -> Result<DatabaseChange> {
    anyhow::bail!("stub")
}
impl DatabaseChange {
    pub fn totals(&self) -> (u64, u64, u64) {
        (0, 0, 0)
    }
}
