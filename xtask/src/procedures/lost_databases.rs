//! Databases of an earlier backup that are none any more: a destroyed header makes a database an ordinary file, and
//! a deleted one leaves nothing to stumble over. Only looking back shows that something is amiss.

use crate::archive::manifest::Manifest;
use crate::base::finding::Finding;
use crate::base::id::BackupId;
use crate::base::links;
use crate::base::safe_path::SafePath;
use crate::project::root::Project;
use crate::project::scan::Scan;

const DESTROYED: &str = "no-database-any-more";
const GONE: &str = "database-gone";

/// What to say of databases that a backup holds and that are none now. A file that is no database any more is a
/// problem, since what is saved of it can't be put to use, and is one again in each backup after that, unless the
/// configuration excludes it. A database that is gone may be meant, and is told once.
pub fn since(id: &BackupId, manifest: &Manifest, project: &Project, scan: &Scan) -> Vec<Finding> {
    let is_there =
        |path: &SafePath| path.below(&project.root).is_ok_and(|path| links::exists(&path).unwrap_or(false));
    // An empty file may be one or not, as the configuration says.
    let held = manifest.databases.iter().filter(|database| database.bytes > 0);
    let lost = held
        .map(|database| &database.path)
        .filter(|path| !is_database(scan, path) && !is_excluded(project, path));
    let mut findings: Vec<Finding> = lost
        .map(|path| {
            if is_there(path) {
                let text = format!(
                    "it was a database in backup {id}, and is none any more: only its bytes can be saved"
                );
                Finding::problem(DESTROYED, text)
                    .at(path)
                    .hint(format!(
                    "name it in `exclude` of Cargo.toml if it is meant to be none; or bring it back: cargo xtask \
                     restore {id} --only '{path}'"
                ))
            } else {
                let text = format!("it was a database in backup {id}, and is gone");
                Finding::advice(GONE, text)
                    .at(path)
                    .hint(format!("if that was not meant: cargo xtask restore {id} --only '{path}'"))
            }
        })
        .collect();
    let earlier = manifest.findings.iter().filter(|finding| {
        let still =
            |path: &SafePath| !is_database(scan, path) && !is_excluded(project, path) && is_there(path);
        finding.code == DESTROYED && finding.path.as_ref().is_some_and(still)
    });
    findings.extend(earlier.cloned());
    findings
}

/// Those that the configuration leaves out are databases all the same.
fn is_database(scan: &Scan, path: &SafePath) -> bool {
    let log = SafePath::new([path.bytes(), b"-wal"].concat());
    scan.databases.binary_search(path).is_ok() || log.is_ok_and(|log| scan.sidecars.contains(&log))
}

fn is_excluded(project: &Project, path: &SafePath) -> bool {
    project.config.exclude.iter().any(|pattern| pattern.covers(path, false))
}
