//! What reaches stdout and what reaches stderr.

use super::*;
use crate::base::failure::Failure;
use crate::base::safe_path::SafePath;
use std::sync::Mutex;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ui(json: bool, quiet: bool, color: Color) -> (Ui, Sink, Sink) {
    let (out, err) = (Sink::default(), Sink::default());
    let ui = Ui {
        talk: Arc::new(Talk::new(Box::new(err.clone()))),
        results: RefCell::new(Results::Open(Box::new(out.clone()))),
        color_results: color == Color::Always,
        color_talk: color == Color::Always,
        ..Ui::new(json, quiet, color)
    };
    (ui, out, err)
}

fn some_error() -> anyhow::Error {
    let cause = anyhow::anyhow!("No space left\non \x1b[31mdevice");
    let failure = Failure::wrap(Kind::NotFound, cause.context("can't write x"));
    failure.hint("make room").hint("usage: xtask y").into()
}

#[test]
fn results_and_talk_are_apart() {
    let (ui, out, err) = ui(false, false, Color::Never);
    ui.line("a result\nof \x1b[2J two lines");
    ui.note("a note");
    ui.document(&1).unwrap();
    let path = SafePath::new("memory/a\nb").unwrap();
    ui.finding(&Finding::problem("x", "it changed").at(&path).hint("try again"));
    ui.finding(&Finding::problem("x", "another one").hint("try again"));
    ui.finding(&Finding::advice("y", "no git"));
    ui.error(&some_error());
    ui.finish().unwrap();
    assert_eq!(out.text(), "a result\nof \\x1b[2J two lines\n");
    assert_eq!(
        err.text(),
        "a note\nproblem: memory/a\\nb: it changed\n  hint: try again\nproblem: another one\nadvice: no git\n\
         error: can't write x\n  because: No space left\n    on \\x1b[31mdevice\nhint: make room\nusage: xtask y\n"
    );
}

#[test]
fn json_is_one_document_whatever_happens() {
    let (first, out, err) = ui(true, false, Color::Always);
    first.line("not shown");
    first.table(&Table::new(&["not shown either"]));
    first.document(&serde_json::json!({"name": "a\u{9b}b\u{7f}"})).unwrap();
    assert!(first.document(&1).is_err());
    first.error(&some_error());
    first.finish().unwrap();
    let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(value["name"], "a\u{9b}b\u{7f}");
    assert!(!out.text().contains(['\u{9b}', '\u{7f}', '\x1b']));
    assert!(err.text().contains("error: "));

    let (failed, out, _) = ui(true, false, Color::Never);
    failed.error(&some_error());
    let value: serde_json::Value = serde_json::from_str(&out.text()).unwrap();
    assert_eq!(value["exit_code"], 4);
    assert_eq!(value["error"]["kind"], "not-found");
    assert_eq!(value["error"]["hints"], serde_json::json!(["make room"]));
}

#[test]
fn quiet_keeps_problems_errors_and_results() {
    let (ui, out, err) = ui(false, true, Color::Never);
    ui.note("a note");
    ui.finding(&Finding::advice("y", "no git"));
    assert_eq!(err.text(), "");
    ui.finding(&Finding::problem("x", "lost"));
    ui.line("result");
    assert_eq!((out.text().as_str(), err.text().as_str()), ("result\n", "problem: lost\n"));
}

#[test]
fn colors_are_around_words_only() {
    let (ui, out, err) = ui(false, false, Color::Always);
    ui.styled(Style::Good, "fine");
    ui.finding(&Finding::problem("x", "lost"));
    assert_eq!(out.text(), "\x1b[32mfine\x1b[0m\n");
    assert_eq!(err.text(), "\x1b[1;31mproblem: \x1b[0mlost\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is() {
    for (kind, fine) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)] {
        let (ui, _, _) = ui(false, false, Color::Never);
        *ui.results.borrow_mut() = Results::Open(Box::new(Broken(kind)));
        ui.line("a");
        ui.line("b");
        assert_eq!(ui.finish().is_ok(), fine, "{kind}");
    }
}

#[test]
fn a_path_is_named_unless_the_message_names_it() {
    for (path, message, named) in [
        ("a/b.db", "a/b.db is damaged", true),
        ("a", "it does not come: a/b.db is in its way", false),
        ("a", "ab is in its way", false),
        ("a", "it ends with a", true),
        ("a b", "what is at a b stays", true),
    ] {
        assert_eq!(names(message, path), named, "{path:?} in {message:?}");
        let (ui, _, err) = ui(false, false, Color::Never);
        ui.finding(&Finding::problem("x", message).at(&SafePath::new(path).unwrap()));
        assert_eq!(err.text().starts_with(&format!("problem: {path}: ")), !named, "{}", err.text());
    }
}
