//! The only printer. Results go to stdout, talk goes to stderr; with `--json` stdout carries exactly one
//! document. Text is made harmless here once more, so a file's name can't steer the terminal, and a reader
//! that goes away (`| head`) ends the output and not the work.

mod format;
mod progress;
mod style;
mod table;
mod talk;

use std::borrow::Cow;
use std::cell::{Cell as Slot, RefCell};
use std::io::{self, IsTerminal, Write};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::format::clean;
pub use self::format::{count, counted, duration, fit, size};
pub use self::progress::{Progress, result_columns};
pub use self::style::Style;
pub use self::table::{Cell, Table};
use self::talk::Talk;
use crate::base::failure::{Kind, hints_of, kind_of};
use crate::base::finding::Finding;
use crate::flags::{Appearance, Color};

/// What the user said to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on.
    Yes,
    /// Anything else.
    No,
    /// There is no terminal, so nobody was asked.
    Nobody,
}

/// Speaks to the user.
pub struct Ui {
    json: bool,
    quiet: bool,
    color_results: bool,
    color_talk: bool,
    talk: Arc<Talk>,
    results: RefCell<Results>,
    document_printed: Slot<bool>,
    hinted: RefCell<String>,
    /// What is typed instead of `cargo xtask`.
    program: Option<String>,
}

/// How commands that are shown begin, where nobody said otherwise.
const PROGRAM: &str = "cargo xtask ";

enum Results {
    Open(Box<dyn Write>),
    /// The reader went away.
    Closed,
    Failed(io::Error),
}

/// Whether a message names a path, and not only one below it or one that begins so.
fn names(message: &str, path: &str) -> bool {
    let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || "/._-".contains(c));
    message.match_indices(path).any(|(at, _)| is_end(&message[at + path.len()..]))
}

impl Ui {
    /// Speaks on this process's stdout and stderr.
    pub fn new(json: bool, quiet: bool, color: Color) -> Ui {
        Ui {
            json,
            quiet,
            color_results: style::wanted(color, &io::stdout()),
            color_talk: style::wanted(color, &io::stderr()),
            talk: Arc::new(Talk::new(Box::new(io::stderr()))),
            results: RefCell::new(Results::Open(Box::new(io::stdout()))),
            document_printed: Slot::new(false),
            hinted: RefCell::default(),
            program: None,
        }
    }

    /// Shows commands as they must be typed where this program is not run by cargo: with its own path.
    #[must_use]
    pub fn named(self, program: Option<String>) -> Ui {
        Ui { program: program.map(|program| format!("{program} ")), ..self }
    }

    /// A text with its commands as they must be typed here.
    fn typed<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.program {
            Some(program) if text.contains(PROGRAM) => Cow::Owned(text.replace(PROGRAM, program)),
            _ => Cow::Borrowed(text),
        }
    }

    /// As the command line asks.
    pub fn from_appearance(appearance: Appearance) -> Ui {
        Ui::new(appearance.json, appearance.quiet, appearance.color)
    }

    /// Where the results of another program go that is run for the user: to stdout, untouched. With `--json`
    /// that is for one document, and they go to stderr.
    ///
    /// # Errors
    /// When the system can't hand stderr on.
    pub fn stdout_for_another(&self) -> io::Result<Stdio> {
        if !self.json {
            return Ok(Stdio::inherit());
        }
        #[cfg(unix)]
        let handle = std::os::fd::AsFd::as_fd(&io::stderr()).try_clone_to_owned()?;
        #[cfg(windows)]
        let handle = std::os::windows::io::AsHandle::as_handle(&io::stderr()).try_clone_to_owned()?;
        Ok(handle.into())
    }

    /// A line of the result, or several; on stdout. Nothing with `--json`.
    pub fn line(&self, text: impl AsRef<str>) {
        self.styled(Style::Plain, text);
    }

    /// A line of the result in a style.
    pub fn styled(&self, style: Style, text: impl AsRef<str>) {
        if !self.json {
            for line in self.typed(text.as_ref()).split('\n') {
                self.result(&format!("{}\n", style.paint(&clean(line), self.color_results)));
            }
        }
    }

    /// A table as result. Nothing with `--json`.
    pub fn table(&self, table: &Table) {
        if !self.json {
            for line in table.lines(self.color_results) {
                self.result(&format!("{line}\n"));
            }
        }
    }

    /// Text of our own (help, version) as it is, on stdout, with `--json` too: whoever asks for help reads it.
    pub fn text(&self, text: &str) {
        self.result(&self.typed(text));
    }

    /// With `--json`: the one document on stdout. Does nothing without.
    ///
    /// # Errors
    /// When it can't be serialized, or was printed already: both are faults of this tool.
    pub fn document(&self, document: &impl Serialize) -> Result<()> {
        if !self.json {
            return Ok(());
        }
        if self.document_printed.replace(true) {
            bail!("a second JSON document for one run");
        }
        let text = serde_json::to_string_pretty(document).context("can't write the JSON document")?;
        self.result(&json_for_terminals(&text));
        self.result("\n");
        Ok(())
    }

    /// Something that went on, on stderr. Nothing with `--quiet`.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.say(Style::Plain, "", text.as_ref());
        }
    }

    /// A finding, on stderr: problems always, advice unless `--quiet`.
    pub fn finding(&self, finding: &Finding) {
        if self.quiet && !finding.is_problem() {
            return;
        }
        let (style, word) =
            if finding.is_problem() { (Style::Bad, "problem: ") } else { (Style::Warning, "advice: ") };
        let path = finding.path.as_ref().map(|path| path.to_string());
        // A message often names the path already.
        let path = path.filter(|path| !names(&finding.message, path));
        let path = path.map_or_else(String::new, |path| format!("{path}: "));
        self.say(style, word, &format!("{path}{}", finding.message));
        // A row of findings of one sort gets its hint once.
        if let Some(hint) = &finding.hint
            && *hint != self.hinted.replace(hint.clone())
        {
            self.say(Style::Dim, "  hint: ", hint);
        }
    }

    /// An error, on stderr: message, causes, hints. With `--json` it is also the document, unless there was
    /// one already.
    pub fn error(&self, error: &anyhow::Error) {
        self.say(Style::Bad, "error: ", &error.to_string());
        let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
        for cause in &causes {
            self.say(Style::Plain, "  because: ", cause);
        }
        let mut hints = hints_of(error);
        for hint in &hints {
            match hint.strip_prefix("usage: ") {
                Some(usage) => self.say(Style::Dim, "usage: ", usage),
                None => self.say(Style::Dim, "hint: ", hint),
            }
        }
        if self.json && !self.document_printed.get() {
            hints.retain(|hint| !hint.starts_with("usage: "));
            let kind = kind_of(error);
            let document = serde_json::json!({
                "error": {
                    "kind": word(kind),
                    "message": error.to_string(),
                    "causes": causes,
                    "hints": hints,
                },
                "exit_code": kind.exit_code(),
            });
            if let Err(error) = self.document(&document) {
                self.say(Style::Bad, "error: ", &error.to_string());
            }
        }
    }

    /// Asks before something is changed. Only a whole `yes` counts, so that no stray key does.
    pub fn ask(&self, question: &str) -> Answer {
        if self.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Answer::Nobody;
        }
        // What the question is about comes first.
        if let Results::Open(out) = &mut *self.results.borrow_mut() {
            // An error shows when the output ends.
            let _ = out.flush();
        }
        self.talk.prompt(&format!("{} [yes/no] ", clean(question)));
        let mut line = String::new();
        match io::stdin().read_line(&mut line) {
            Ok(_) if ["yes", "y"].iter().any(|yes| line.trim().eq_ignore_ascii_case(yes)) => Answer::Yes,
            _ => Answer::No,
        }
    }

    /// Progress for work that reports to a monitor: on a terminal only, and not with `--quiet` or `--json`.
    /// The line goes away when it is dropped.
    pub fn progress(&self) -> Progress {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let shown = !self.json && !self.quiet && !dumb && io::stderr().is_terminal();
        Progress::new(Arc::clone(&self.talk), shown)
    }

    /// Ends the output. Call it last: a result that could not be written is a failure.
    ///
    /// # Errors
    /// When stdout could not be written (a full disk); not when its reader went away.
    pub fn finish(&self) -> Result<()> {
        self.talk.clear();
        let mut results = self.results.borrow_mut();
        if let Results::Open(out) = &mut *results
            && let Err(error) = out.flush()
        {
            *results = Results::of(error);
        }
        match std::mem::replace(&mut *results, Results::Closed) {
            Results::Failed(error) => Err(error).context("can't write the result to stdout"),
            _ => Ok(()),
        }
    }

    fn say(&self, style: Style, word: &str, text: &str) {
        let indent = " ".repeat(word.len() - word.trim_start().len());
        let word = format!("{indent}{}", style.paint(word.trim_start(), self.color_talk));
        let lines: Vec<String> = self.typed(text).split('\n').map(clean).collect();
        self.talk.print(&format!("{word}{}", lines.join(&format!("\n{indent}  "))));
    }

    fn result(&self, text: &str) {
        self.talk.clear();
        let mut results = self.results.borrow_mut();
        if let Results::Open(out) = &mut *results
            && let Err(error) = out.write_all(text.as_bytes())
        {
            *results = Results::of(error);
        }
    }
}

impl Results {
    fn of(error: io::Error) -> Results {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Results::Closed,
            _ => Results::Failed(error),
        }
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Failed => "failed",
        Kind::Usage => "usage",
        Kind::NotFound => "not-found",
        Kind::Locked => "locked",
        Kind::Refused => "refused",
        Kind::Interrupted => "interrupted",
    }
}

/// JSON leaves DEL and the C1 controls as they are, and some terminals obey them. They occur in strings only.
fn json_for_terminals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{7f}'..='\u{9f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
