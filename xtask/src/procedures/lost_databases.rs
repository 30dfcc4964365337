//! Databases of an earlier backup that are none any more: a destroyed header makes a database an ordinary file, and
//! a deleted one leaves nothing to stumble over. Only looking back shows that something is amiss.

use std::path::Path;

use super::prove;
use crate::base::finding::Finding;
use crate::base::links;
use crate::base::safe_path::SafePath;
use crate::store::Store;
use crate::store::catalog::StoreEntry;

/// What to say of databases that the newest good backup holds and that are none now. A file that is no
/// database any more is a problem: what is saved of it can't be put to use. One that is gone may be meant.
pub fn findings(store: &Store, root: &Path, is_present: &dyn Fn(&SafePath) -> bool) -> Vec<Finding> {
    // What can't be read here is told by verify and status; a backup must not fail for it.
    let Ok(listing) = store.list() else { return Vec::new() };
    let good = |entry: &&StoreEntry| !entry.safety && !entry.is_damaged();
    let Some(newest) = listing.entries.iter().rev().find(good) else { return Vec::new() };
    let Ok((_, manifest)) = prove::open(&newest.archive) else { return Vec::new() };
    let mut findings = Vec::new();
    // An empty file may be one or not, as the configuration says.
    let held = manifest.databases.iter().filter(|database| database.bytes > 0);
    for path in held.map(|database| &database.path) {
        if is_present(path) {
            continue;
        }
        let is_there = path.below(root).is_ok_and(|place| links::exists(&place).unwrap_or(false));
        let id = &newest.id;
        findings.push(if is_there {
            let text = format!(
                "it was a database in backup {id}, and is none any more; its bytes are saved as a file"
            );
            Finding::problem("no-database-any-more", text)
                .at(path)
                .hint(format!("bring it back: cargo xtask restore {id} --only '{path}'"))
        } else {
            let text = format!("it was a database in backup {id}, and is gone");
            Finding::advice("database-gone", text)
                .at(path)
                .hint(format!("if that was not meant: cargo xtask restore {id} --only '{path}'"))
        });
    }
    findings
}
