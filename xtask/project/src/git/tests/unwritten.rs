//! What need not be written out: exactly what lies in the working copy already and is converted by nothing.

use super::write_out::{Beside, Unwritten, write_out};
use super::*;
use crate::base::safe_path::SafePath;

fn same(sandbox: &Sandbox, wants: &dyn Fn(&SafePath, bool) -> bool) -> (Vec<String>, Vec<String>) {
    let git = opened(&sandbox.root, Program::find());
    let folder = in_memory::tempdir().unwrap();
    let beside = Beside { root: &sandbox.root, wants };
    let id = revision::resolve(&git, "HEAD").unwrap();
    let written = write_out(&git, &id, &folder.path().join("to"), Some(&beside)).unwrap();
    let named = |asked: bool| {
        let matches = |why: &Unwritten| (*why == Unwritten::Unasked) != asked;
        written.unwritten.iter().filter(|(_, why)| matches(why)).map(|(path, _)| path.to_string()).collect()
    };
    (named(true), named(false))
}

#[test]
fn files_that_are_there_already_are_not_written_again() {
    let sandbox = Sandbox::new(&[]);
    let attributes = "crlf eol=crlf\nlf text eol=lf\nauto text=auto\nbinary -text\nident ident\nwide working-tree-encoding=UTF-16LE\n";
    sandbox.write(".gitattributes", attributes);
    for name in ["plain", "crlf", "lf", "auto", "binary", "ident", "changed", "gone", "folder/deep", "run"] {
        sandbox.write(name, "a\nb\n");
    }
    sandbox.write("wide", "a\0\n\0");
    sandbox.write("memory/index.db", "SQLite format 3\0 and more");
    sandbox.write("memory/index.db-wal", "log");
    std::os::unix::fs::symlink("plain", sandbox.root.join("link")).unwrap();
    sandbox.git(&["add", "-A"]);
    sandbox.git(&["commit", "-q", "-m", "all"]);
    sandbox.write("changed", "b\na\n");
    fs::remove_file(sandbox.root.join("gone")).unwrap();
    // One behind a link is another file.
    fs::rename(sandbox.root.join("folder"), sandbox.root.join("other")).unwrap();
    std::os::unix::fs::symlink("other", sandbox.root.join("folder")).unwrap();
    let expected = [".gitattributes", "auto", "binary", "lf", "plain", "run"].map(str::to_owned);
    assert_eq!(same(&sandbox, &|_, _| true), (expected.to_vec(), Vec::new()));
    let (asked, unasked) = same(&sandbox, &|path, _| path.bytes() == b"plain" || path.bytes() == b"crlf");
    assert_eq!((asked, unasked.len()), (vec!["plain".to_owned()], 13));
    // Settings that convert whatever no attribute names.
    sandbox.git(&["config", "core.autocrlf", "true"]);
    assert_eq!(same(&sandbox, &|_, _| true), (Vec::new(), Vec::new()));
}
