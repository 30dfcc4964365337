//! Backups of other days: real archives of the tool with another date in them, so that rotation meets them as
//! if time had passed.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::forge::{Forge, sha256};
use super::{Output, Sandbox};

/// One archive to make others of.
pub struct Mould {
    forge: Forge,
    summary: Value,
    state: Value,
    store: PathBuf,
}

/// `2025-12-01T12:00:00Z` of `20251201_120000`.
pub fn moment(id: &str) -> String {
    let digits = id.replace('_', "");
    let part = |from: usize, to: usize| &digits[from..to];
    format!("{}-{}-{}T{}:{}:{}Z", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14))
}

/// What belongs to an archive of the store, in the order in which it is written.
pub const ENDS: [&str; 4] = [".tar.gz.sha256", ".json", ".state.json", ".tar.gz"];

impl Mould {
    /// Takes the only backup of a store as the mould, and removes it.
    pub fn cast(store: &Path) -> Mould {
        let archives = super::archives(store);
        assert_eq!(archives.len(), 1);
        let id = archives[0].file_name().unwrap().to_str().unwrap().replace(".tar.gz", "");
        let read = |end: &str| {
            let text = std::fs::read(store.join(format!("{id}{end}"))).unwrap();
            serde_json::from_slice(&text).unwrap()
        };
        let forge = Forge::open(&archives[0]);
        let mould =
            Mould { forge, summary: read(".json"), state: read(".state.json"), store: store.to_owned() };
        for end in ENDS {
            std::fs::remove_file(store.join(format!("{id}{end}"))).unwrap();
        }
        mould
    }

    /// Puts a backup of that id into the store, verified when it was taken; `change` may change its manifest.
    pub fn plant_changed(&self, id: &str, kind: &str, change: &dyn Fn(&mut Value)) {
        let mut forge = self.forge.clone();
        let (mut label, mut commit) = (Value::Null, Value::Null);
        forge.manifest(|manifest| {
            manifest["id"] = json!(id);
            manifest["kind"] = json!(kind);
            manifest["created"] = json!(moment(id));
            change(manifest);
            label = manifest["label"].clone();
            commit = manifest["git"]["commit"].clone();
        });
        let bytes = forge.bytes();
        let folder = if kind == "safety" { self.store.join("safety") } else { self.store.clone() };
        std::fs::create_dir_all(&folder).unwrap();
        let write = |end: &str, content: &[u8]| {
            std::fs::write(folder.join(format!("{id}{end}")), content).unwrap();
        };
        let mut summary = self.summary.clone();
        summary["id"] = json!(id);
        summary["kind"] = json!(kind);
        summary["label"] = label;
        summary["commit"] = commit;
        summary["created"] = json!(moment(id));
        summary["archive_bytes"] = json!(bytes.len());
        summary["archive_sha256"] = json!(sha256(&bytes));
        let mut state = self.state.clone();
        state["verifications"][0]["at"] = json!(moment(id));
        write(".tar.gz.sha256", format!("{}  {id}.tar.gz\n", sha256(&bytes)).as_bytes());
        write(".json", summary.to_string().as_bytes());
        write(".state.json", state.to_string().as_bytes());
        write(".tar.gz", &bytes);
    }

    /// The same without a change.
    pub fn plant(&self, id: &str, kind: &str) {
        self.plant_changed(id, kind, &|_| {});
    }
}

/// A project with one database and a store with a mould.
pub fn project() -> (Sandbox, Mould) {
    let sandbox = Sandbox::new();
    let connection = rusqlite::Connection::open(sandbox.project().join("index.db")).unwrap();
    connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)").unwrap();
    drop(connection);
    std::fs::write(sandbox.project().join("note.md"), "a note\n").unwrap();
    run(&sandbox, &["backup"]).ok();
    let mould = Mould::cast(&store(&sandbox));
    (sandbox, mould)
}

/// Its store.
pub fn store(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("store")
}

/// Runs the tool with that store.
pub fn run(sandbox: &Sandbox, words: &[&str]) -> Output {
    let store = store(sandbox);
    sandbox.run(&[words, &["--store", store.to_str().unwrap()]].concat())
}
