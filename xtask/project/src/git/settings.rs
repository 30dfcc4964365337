//! Which settings of a repository are data, and which can make git run something or look elsewhere. Only
//! data comes back by itself; a list of what is allowed, so that a setting nobody thought of stays out.

use super::config::{self, Setting};

/// What becomes of a setting when a repository is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is data: applied.
    Apply,
    /// Says how a repository is stored, which the new one says for itself.
    Drop,
    /// It can run code or lead elsewhere: named, applied on request only.
    Ask,
}

/// Settings without a subsection that are data.
const DATA: [&str; 30] = [
    "core.filemode",
    "core.symlinks",
    "core.ignorecase",
    "core.autocrlf",
    "core.eol",
    "core.safecrlf",
    "core.precomposeunicode",
    "core.quotepath",
    "core.longpaths",
    "core.logallrefupdates",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
    "core.abbrev",
    "core.bigfilethreshold",
    "index.sparse",
    "index.version",
    "extensions.partialclone",
    "pull.rebase",
    "pull.ff",
    "push.default",
    "push.autosetupremote",
    "push.followtags",
    "fetch.prune",
    "fetch.prunetags",
    "merge.ff",
    "merge.conflictstyle",
    "rebase.autostash",
    "rebase.autosquash",
    "submodule.recurse",
    "status.submodulesummary",
];

const STORAGE: [&str; 6] = [
    "core.repositoryformatversion",
    "core.bare",
    "extensions.objectformat",
    "extensions.refstorage",
    "extensions.worktreeconfig",
    "extensions.preciousobjects",
];

const REMOTE: [&str; 12] = [
    "url",
    "pushurl",
    "fetch",
    "push",
    "tagopt",
    "mirror",
    "prune",
    "prunetags",
    "skipdefaultupdate",
    "skipfetchall",
    "promisor",
    "partialclonefilter",
];

const BRANCH: [&str; 5] = ["remote", "merge", "rebase", "pushremote", "description"];

/// What becomes of a setting of an untrusted repository.
pub(super) fn fate(setting: &Setting) -> Fate {
    let name = setting.name();
    if setting.subsection.is_empty() && STORAGE.contains(&name.as_str()) {
        return Fate::Drop;
    }
    let key = setting.key.as_str();
    let data = match (setting.section.as_str(), setting.subsection.is_empty()) {
        ("user", true) => matches!(key, "name" | "email" | "signingkey" | "useconfigonly"),
        ("remote", false) => REMOTE.contains(&key),
        ("branch", false) => BRANCH.contains(&key),
        ("submodule", false) => matches!(key, "url" | "active"),
        (_, true) => DATA.contains(&name.as_str()),
        _ => false,
    };
    let place = matches!(key, "url" | "pushurl" | "remote" | "pushremote");
    if data && config::writable(setting) && !(place && runs_something(&setting.value)) {
        Fate::Apply
    } else {
        Fate::Ask
    }
}

/// Whether git would start a helper for a place (`ext::sh -c …`), or take it for an option.
fn runs_something(place: &str) -> bool {
    let host = place.split_once("://").map_or(place, |(_, rest)| rest);
    place.starts_with('-') || host.starts_with('-') || host.contains("@-") || place.contains("::")
}

/// Whether these are the settings of a partial clone: its objects are fetched when they are needed.
pub(super) fn is_partial(settings: &[Setting]) -> bool {
    settings.iter().any(|setting| {
        let promised = setting.section == "remote" && setting.key == "promisor";
        setting.name() == "extensions.partialclone" || (promised && config::is_true(Some(&setting.value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_comes_back_by_itself() {
        let cases = [
            ("remote", "origin", "url", "https://host/x.git", Fate::Apply),
            ("remote", "origin", "url", "git@host:x.git", Fate::Apply),
            ("remote", "origin", "url", "ext::sh -c id", Fate::Ask),
            ("remote", "origin", "url", "--upload-pack=id", Fate::Ask),
            ("remote", "origin", "url", "ssh://-oProxyCommand=id/x", Fate::Ask),
            ("remote", "origin", "pushurl", "a\nb", Fate::Ask),
            ("remote", "origin", "uploadpack", "id", Fate::Ask),
            ("remote", "o\nx", "url", "https://host", Fate::Ask),
            ("branch", "main", "remote", "ext::id", Fate::Ask),
            ("branch", "main", "merge", "refs/heads/main", Fate::Apply),
            ("core", "", "worktree", "/", Fate::Ask),
            ("core", "", "hookspath", "x", Fate::Ask),
            ("core", "", "fsmonitor", "x", Fate::Ask),
            ("core", "", "sshcommand", "x", Fate::Ask),
            ("core", "", "autocrlf", "input", Fate::Apply),
            ("core", "", "bare", "true", Fate::Drop),
            ("alias", "", "x", "!id", Fate::Ask),
            ("filter", "x", "clean", "id", Fate::Ask),
            ("include", "", "path", "x", Fate::Ask),
            ("url", "x", "insteadof", "y", Fate::Ask),
            ("submodule", "m", "update", "!id", Fate::Ask),
            ("user", "", "name", "Me", Fate::Apply),
        ];
        for (section, subsection, key, value, expected) in cases {
            let [section, subsection, key, value] = [section, subsection, key, value].map(str::to_owned);
            let setting = Setting { section, subsection, key, value };
            assert_eq!(fate(&setting), expected, "{setting:?}");
        }
    }
}
