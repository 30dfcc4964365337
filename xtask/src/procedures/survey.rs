//! What the project holds at this moment, with git asked what it makes of each path. Everything that compares
//! or saves the project begins here. It comes before any database is opened (see `project/databases.rs`).

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::base::finding::Finding;
use crate::base::safe_path::SafePath;
use crate::project::git::{Classification, Opened};
use crate::project::root::Project;
use crate::project::scan::{self, Class, IsPlain, Scan};

/// Walks the project. `also` are paths that belong to it whatever the configuration leaves out; what `is_plain` says of
/// a file spares a look into it.
///
/// # Errors
/// When the project's folder can't be read, or the user asked to stop.
pub fn survey(
    project: &Project,
    store: &Path,
    opened: &Opened,
    also: &BTreeSet<SafePath>,
    is_plain: &IsPlain<'_>,
    findings: &mut Vec<Finding>,
) -> Result<Scan> {
    let classes = match opened {
        Opened::None => {
            findings.push(Finding::advice(
                "no-git",
                "there is no git repository here, so there is no history to save",
            ));
            None
        }
        Opened::Refused { reason, hint } => {
            findings.push(
                Finding::problem("git-refused", format!("the history is not saved: {reason}")).hint(hint),
            );
            None
        }
        Opened::Git(git) => match git.classify() {
            Ok(classes) => Some(classes),
            Err(error) => {
                let message = format!("git can't tell which files it ignores, so all are saved: {error:#}");
                findings.push(Finding::advice("git-classify", message));
                None
            }
        },
    };
    let class = |path: &[u8], is_folder: bool| match &classes {
        None => Class::Untracked,
        Some(classes) if classes.tracked.contains(path) => Class::Tracked,
        Some(classes) if classes.is_ignored(path, is_folder) => Class::Ignored,
        Some(_) => Class::Untracked,
    };
    let tracked_below = |folder: &[u8]| classes.as_ref().is_some_and(|classes| tracks_below(classes, folder));
    scan::scan(project, &class, &tracked_below, is_plain, &[store.to_path_buf()], also)
}

fn tracks_below(classes: &Classification, folder: &[u8]) -> bool {
    let start = [folder, b"/"].concat();
    classes.tracked.range(start.clone()..).next().is_some_and(|path| path.starts_with(&start))
}
