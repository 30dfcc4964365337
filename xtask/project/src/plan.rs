//! The plan of a restore: which paths change when a tree is put over the one on the disk, and how. Pure, so
//! that a dry run is nothing but the plan, printed.

use std::collections::BTreeSet;

use crate::base::safe_path::SafePath;
use crate::base::tree::{Leaf, Tree};

/// What happens to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing is there now.
    Create,
    /// Something else is there now.
    Replace,
    /// The content stays; the permissions change.
    Mode,
    /// It goes.
    Remove,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub path: SafePath,
    /// What happens.
    pub change: Change,
    /// What is there now.
    pub before: Option<Leaf>,
    /// What will be there.
    pub after: Option<Leaf>,
}

/// What would change, ordered by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes.
    pub steps: Vec<Step>,
    /// Files and links that are what they should be.
    pub kept: Vec<SafePath>,
    /// What is there now, in no way wanted, and stays.
    pub extra: Vec<SafePath>,
}

/// One rename of a plan, or two: what is there goes aside, what was staged takes its place. A folder moves
/// with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Where.
    pub path: SafePath,
    /// Whether something is there now, and goes aside.
    pub takes: bool,
    /// Whether something that was staged comes.
    pub puts: bool,
    /// A folder that goes only when nothing is left in it by then.
    pub if_empty: bool,
}

/// Plans to make the tree on the disk like the wanted one. What is on the disk and not wanted stays, unless
/// it is in the way or `removes` says that it goes. `open` are folders that only have to be there: their
/// permissions are nobody's wish; `others` is what stays and is in no tree: no folder goes that holds such.
pub fn plan(
    wanted: &Tree,
    open: &dyn Fn(&SafePath) -> bool,
    present: &Tree,
    removes: &dyn Fn(&SafePath) -> bool,
    others: &[SafePath],
) -> Plan {
    let mut plan = Plan::default();
    // A file or a link that comes where a folder is: everything below goes with it.
    let mut in_the_way = BTreeSet::new();
    for path in merged(wanted, present) {
        let below = is_in_one_of(path, &in_the_way);
        match (present.get(path), wanted.get(path)) {
            (None, Some(after)) => plan.push(path, Change::Create, None, Some(after)),
            (Some(before), Some(after)) => {
                if before.is_folder() && !after.is_folder() {
                    in_the_way.insert(path.clone());
                }
                if !before.same_content(after) {
                    plan.push(path, Change::Replace, Some(before), Some(after));
                } else if !before.same_mode(after) && !open(path) {
                    plan.push(path, Change::Mode, Some(before), Some(after));
                } else if !after.is_folder() {
                    plan.kept.push(path.clone());
                }
            }
            (Some(before), None) if below || removes(path) => {
                plan.push(path, Change::Remove, Some(before), None);
            }
            (Some(_), None) => plan.extra.push(path.clone()),
            (None, None) => {}
        }
    }
    plan.keep_what_is_needed(others);
    plan
}

fn merged<'a>(wanted: &'a Tree, present: &'a Tree) -> impl Iterator<Item = &'a SafePath> {
    let all: BTreeSet<&SafePath> = wanted.keys().chain(present.keys()).collect();
    all.into_iter()
}

/// Whether a path lies below one of these.
fn is_in_one_of(path: &SafePath, folders: &BTreeSet<SafePath>) -> bool {
    let mut above = path.parent();
    while let Some(folder) = above {
        if folders.contains(&folder) {
            return true;
        }
        above = folder.parent();
    }
    false
}

/// Whether a path lies below a folder.
pub fn is_below(path: &SafePath, folder: &SafePath) -> bool {
    path.bytes().strip_prefix(folder.bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
}

impl Plan {
    fn push(&mut self, path: &SafePath, change: Change, before: Option<&Leaf>, after: Option<&Leaf>) {
        self.steps.push(Step { path: path.clone(), change, before: before.cloned(), after: after.cloned() });
    }

    /// A folder does not go while something in it stays.
    fn keep_what_is_needed(&mut self, others: &[SafePath]) {
        let mut needed = BTreeSet::new();
        for path in self.extra.iter().chain(others) {
            let mut above = path.parent();
            while let Some(folder) = above {
                above = folder.parent();
                if !needed.insert(folder) {
                    break;
                }
            }
        }
        let (stay, go): (Vec<Step>, Vec<Step>) = std::mem::take(&mut self.steps)
            .into_iter()
            .partition(|step| step.change == Change::Remove && needed.contains(&step.path));
        self.steps = go;
        self.extra.extend(stay.into_iter().map(|step| step.path));
        self.extra.sort();
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many files, links and folders a change concerns.
    pub fn count(&self, change: Change) -> u64 {
        self.steps.iter().filter(|step| step.change == change).count() as u64
    }

    /// Folders that have to go and hold something that no backup holds (`untouched`). One that a file would
    /// replace is a conflict; any other stays when something is left in it.
    pub fn stuck<'a>(&'a self, untouched: &'a [SafePath]) -> impl Iterator<Item = &'a Step> {
        let holds = |step: &&Step| {
            let related = |path: &SafePath| {
                *path == step.path || is_below(path, &step.path) || is_below(&step.path, path)
            };
            step.before.as_ref().is_some_and(Leaf::is_folder)
                && matches!(step.change, Change::Remove | Change::Replace)
                && untouched.iter().any(related)
        };
        self.steps.iter().filter(holds)
    }

    /// The renames that carry it out, in their order.
    pub fn moves(&self, untouched: &[SafePath]) -> Vec<Move> {
        let stuck: BTreeSet<&SafePath> =
            self.stuck(untouched).filter(|s| s.change == Change::Remove).map(|s| &s.path).collect();
        let (mut moves, mut emptied, mut moved) = (Vec::new(), Vec::new(), BTreeSet::new());
        for step in &self.steps {
            // What is in a folder that comes or goes as a whole moves with it.
            if step.change == Change::Mode || is_in_one_of(&step.path, &moved) {
                continue;
            }
            let path = step.path.clone();
            if stuck.contains(&path) {
                emptied.push(Move { path, takes: true, puts: false, if_empty: true });
                continue;
            }
            moved.insert(path.clone());
            let (takes, puts) = (step.before.is_some(), step.after.is_some());
            moves.push(Move { path, takes, puts, if_empty: false });
        }
        // From the inside out, after everything in them.
        moves.extend(emptied.into_iter().rev());
        moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Digest;
    use crate::base::tree::Kind;

    fn path(text: &str) -> SafePath {
        SafePath::new(text).unwrap()
    }

    /// `a=1` a file with that content, `a=1:755` with that mode, `d/` a folder, `l>t` a link.
    fn tree(text: &str) -> Tree {
        let leaf = |word: &str| {
            let (word, mode) = word.split_once(':').unwrap_or((word, "644"));
            let mode = u32::from_str_radix(mode, 8).unwrap();
            let (name, kind) = if let Some(name) = word.strip_suffix('/') {
                (name, Kind::Folder)
            } else if let Some((name, target)) = word.split_once('>') {
                (name, Kind::Link { target: target.into() })
            } else {
                let (name, content) = word.split_once('=').unwrap();
                let digest = Some(Digest::of(content.as_bytes()));
                (name, Kind::File { size: content.len() as u64, digest })
            };
            (path(name), Leaf { kind, mode })
        };
        text.split_whitespace().map(leaf).collect()
    }

    fn shown(plan: &Plan) -> String {
        let sign = |change| match change {
            Change::Create => '+',
            Change::Replace => '~',
            Change::Mode => 'm',
            Change::Remove => '-',
        };
        let steps = plan.steps.iter().map(|step| format!("{}{}", sign(step.change), step.path));
        let extra = plan.extra.iter().map(|path| format!("?{path}"));
        steps.chain(extra).collect::<Vec<_>>().join(" ")
    }

    fn moved(plan: &Plan, untouched: &[SafePath]) -> String {
        let word = |m: &Move| match (m.takes, m.puts) {
            _ if m.if_empty => format!("({})", m.path),
            (true, true) => format!("~{}", m.path),
            (true, false) => format!("-{}", m.path),
            _ => format!("+{}", m.path),
        };
        plan.moves(untouched).iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_changes_and_how() {
        for (wanted, present, keeps_others, exact) in [
            ("a=1", "", "+a", "+a"),
            ("a=1", "a=1", "", ""),
            ("a=1", "a=2", "~a", "~a"),
            ("a=1:755", "a=1", "ma", "ma"),
            ("a=1", "b=1", "+a ?b", "+a -b"),
            ("a>x", "a>y", "~a", "~a"),
            ("a>x:777", "a>x:755", "", ""),
            ("a=1", "a>x", "~a", "~a"),
            ("d/ d/a=1", "d=1", "~d +d/a", "~d +d/a"),
            ("d=1", "d/ d/a=1 d/b=2 d2=3", "~d -d/a -d/b ?d2", "~d -d/a -d/b -d2"),
            ("", "d/ d/a=1", "?d ?d/a", "-d -d/a"),
            ("d/ d/a=1", "d/ d/b=1", "+d/a ?d/b", "+d/a -d/b"),
            ("d/:700", "d/:755", "md", "md"),
            ("d=1 d.x=1", "d/ d.x/ d.x/b=1 d/a=1", "~d ~d.x -d.x/b -d/a", "~d ~d.x -d.x/b -d/a"),
        ] {
            let open = |_: &SafePath| false;
            let stays = plan(&tree(wanted), &open, &tree(present), &|_| false, &[]);
            assert_eq!(shown(&stays), keeps_others, "{wanted} over {present}");
            let goes = plan(&tree(wanted), &open, &tree(present), &|_| true, &[]);
            assert_eq!(shown(&goes), exact, "{wanted} exactly over {present}");
        }
        let open = plan(&tree("d/:700 d/a=1"), &|p| *p == path("d"), &tree("d/:755 d/a=1"), &|_| false, &[]);
        assert!(open.is_empty() && open.kept == [path("d/a")]);
        let mine = plan(&tree(""), &|_| false, &tree("d/ d/a=1 d/new=2"), &|p| *p != path("d/new"), &[]);
        assert_eq!(shown(&mine), "-d/a ?d ?d/new");
        let database = [path("d/e/x.db")];
        let holds = plan(&tree(""), &|_| false, &tree("d/ d/a=1 d/e/ d/f/"), &|_| true, &database);
        assert_eq!(shown(&holds), "-d/a -d/f ?d ?d/e");
        // A digest that was not taken is no sign of being equal.
        let mut unknown = tree("a=1");
        unknown.get_mut(&path("a")).unwrap().kind = Kind::File { size: 1, digest: None };
        assert_eq!(shown(&plan(&tree("a=1"), &|_| false, &unknown, &|_| false, &[])), "~a");
    }

    #[test]
    fn a_folder_moves_as_a_whole_and_only_where_nothing_else_is_in_it() {
        let exact =
            |wanted: &str, present: &str| plan(&tree(wanted), &|_| false, &tree(present), &|_| true, &[]);
        let create = exact("d/ d/a=1 d/e/ d/e/b=2 d.x=1", "");
        assert_eq!(moved(&create, &[]), "+d +d.x");
        assert_eq!(moved(&exact("d=1", "d/ d/a=1"), &[]), "~d");
        let go = exact("k=1", "d/ d/a=1 d/e/ d/e/b=2");
        assert_eq!(moved(&go, &[]), "-d +k");
        let untouched = [path("d/e/node_modules")];
        assert_eq!(moved(&go, &untouched), "-d/a -d/e/b +k (d/e) (d)");
        assert_eq!(go.stuck(&untouched).count(), 2);
        assert_eq!(moved(&exact("a=1:755 b=1", "a=1 b=2"), &[]), "~b");
    }
}
