//! What a repository is at this moment, for the manifest.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::refs::Value;
use super::run::{Input, output};
use super::twin::Twin;
use super::{Git, reftable};
use crate::base::facts::GitFacts;
use crate::base::interrupt;

impl Git {
    /// All but what costs a walk: `dirty` and `root_commits`.
    pub(super) fn facts_of(&self, twin: &Twin) -> GitFacts {
        GitFacts {
            object_format: twin.format.clone(),
            commit: twin.commit(),
            branch: match &twin.head {
                Value::Symbolic(name) => Some(name.strip_prefix("refs/heads/").unwrap_or(name).to_owned()),
                Value::Id(_) => None,
            },
            operation: operation(&[&self.own, &twin.dir.join(reftable::ROOT_REFS)]).map(str::to_owned),
            shallow: twin.dir.join("shallow").metadata().is_ok_and(|meta| meta.len() > 0),
            refs: u64::try_from(twin.refs.len()).unwrap_or(u64::MAX),
            remotes: self.remotes(),
            ..GitFacts::default()
        }
    }

    /// URLs of the remotes without secrets, sorted.
    pub fn remotes(&self) -> Vec<String> {
        let urls = self.settings.iter().filter(|s| s.section == "remote" && s.key == "url");
        let found: BTreeSet<String> = urls.map(|setting| without_secrets(&setting.value)).collect();
        found.into_iter().collect()
    }

    /// The commits without parents that HEAD comes from, sorted; in a shallow clone those where it was cut
    /// off. Walks the whole history. Empty before the first commit, and where the history is damaged.
    ///
    /// # Errors
    /// When git can't be asked, or the user asked to stop.
    pub fn root_commits(&self) -> Result<Vec<String>> {
        let mut roots = Vec::new();
        if let Some(program) = &self.program {
            let mut command = program.at(&self.root);
            command.args(["rev-list", "--max-parents=0", "HEAD", "--"]);
            match output(command, Input::Nothing) {
                Ok(told) => roots.extend(String::from_utf8_lossy(&told).lines().map(str::to_owned)),
                // An unborn HEAD or a damaged history: what can be said of it is said elsewhere.
                Err(_) => interrupt::check()?,
            }
        } else if let Some(library) = &self.library
            && let Ok(mut walk) = library.revwalk()
            && walk.push_head().is_ok()
        {
            for (count, id) in walk.enumerate() {
                if count % 1024 == 0 {
                    interrupt::check()?;
                }
                let Ok(commit) = id.and_then(|id| library.find_commit(id)) else { break };
                if commit.parent_count() == 0 {
                    roots.push(commit.id().to_string());
                }
            }
        }
        roots.sort();
        Ok(roots)
    }
}

/// What is under way in a working copy, whose files and refs of its own lie in these folders.
pub(super) fn operation(own: &[&Path]) -> Option<&'static str> {
    let there = |name: &str| own.iter().any(|folder| folder.join(name).exists());
    match () {
        () if there("rebase-apply/applying") => Some("apply"),
        () if there("rebase-merge") || there("rebase-apply") => Some("rebase"),
        () if there("MERGE_HEAD") => Some("merge"),
        () if there("CHERRY_PICK_HEAD") => Some("cherry-pick"),
        () if there("REVERT_HEAD") => Some("revert"),
        () if there("BISECT_LOG") => Some("bisect"),
        () => None,
    }
}

/// A URL without its password; over HTTP without the user's name too, which may be a token.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let Some((user, host)) = host.rsplit_once('@') else { return url.to_owned() };
    let user = user.split(':').next().unwrap_or_default();
    if scheme.starts_with("http") || user.is_empty() {
        format!("{scheme}://{host}{path}")
    } else {
        format!("{scheme}://{user}@{host}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::without_secrets;

    #[test]
    fn no_secret_is_shown() {
        for (url, shown) in [
            ("https://me:secret@host/x@y.git", "https://host/x@y.git"),
            ("https://token@host/x", "https://host/x"),
            ("ssh://git:pw@host:22/x", "ssh://git@host:22/x"),
            ("https://me:p@ss@host/x", "https://host/x"),
            ("git@host:x.git", "git@host:x.git"),
            ("/srv/x.git", "/srv/x.git"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
