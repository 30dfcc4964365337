//! Finds where SQL statements end, byte by byte and without holding more than one of them. Pure.
//!
//! The rules are those of `sqlite3_complete()` (SQLite's `complete.c`): a semicolon ends a statement unless it
//! stands in a string, a quoted name or a comment; `CREATE TRIGGER` ends with `; END;`.

/// What surrounds the current byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inside {
    #[default]
    Nothing,
    Word,
    /// A string or a quoted name, until this byte. A doubled quote ends one and starts the next.
    Quote(u8),
    /// `-` was seen, which may begin a comment.
    Dash,
    LineComment,
    /// `/` was seen.
    Slash,
    BlockComment,
    /// `*` was seen inside a block comment.
    BlockStar,
}

/// How far the statement is; the states of `sqlite3_complete()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Start,
    Normal,
    Explain,
    Create,
    Trigger,
    Semicolon,
    End,
}

/// A scanner that is fed pieces of SQL and says where statements end.
#[derive(Default)]
pub struct Scanner {
    inside: Inside,
    progress: Progress,
    /// The beginning of the current word, in lower case; longer words are ordinary.
    word: Vec<u8>,
    /// Bytes of the statement in earlier pieces.
    before: usize,
    /// Where in the statement the last quote was opened.
    opened: usize,
}

/// The longest word that matters (`temporary`).
const WORD_MAX: usize = 9;

impl Scanner {
    /// Reads on; returns how many bytes belong to the statement when it ends within `bytes`, including its
    /// semicolon. All bytes are used up when it does not.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = self.find_end(bytes);
        self.before = if end.is_some() { 0 } else { self.before + bytes.len() };
        end
    }

    /// Where the string is opened in which what was fed so far ends, in bytes from the start of the statement.
    pub fn open_string(&self) -> Option<usize> {
        (self.inside == Inside::Quote(b'\'')).then_some(self.opened)
    }

    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.inside {
                Inside::Quote(end) => {
                    match memchr::memchr(end, &bytes[at..]) {
                        Some(skip) => {
                            at += skip + 1;
                            self.inside = Inside::Nothing;
                        }
                        None => return None,
                    }
                    continue;
                }
                Inside::LineComment => {
                    if byte == b'\n' {
                        self.inside = Inside::Nothing;
                    }
                }
                Inside::BlockComment | Inside::BlockStar => {
                    self.inside = match byte {
                        b'*' => Inside::BlockStar,
                        b'/' if self.inside == Inside::BlockStar => Inside::Nothing,
                        _ => Inside::BlockComment,
                    };
                }
                Inside::Dash if byte == b'-' => self.inside = Inside::LineComment,
                Inside::Slash if byte == b'*' => self.inside = Inside::BlockComment,
                Inside::Word if is_word(byte) => self.push_word(byte),
                _ => {
                    self.finish_token();
                    if self.start_token(byte) {
                        return Some(at + 1);
                    }
                    if matches!(self.inside, Inside::Quote(_)) {
                        self.opened = self.before + at;
                    }
                }
            }
            at += 1;
        }
        None
    }

    /// Whether nothing but space and comments was read since the last statement ended. At the end of the
    /// input, anything else is a statement cut off.
    pub fn is_at_start(&self) -> bool {
        let between = matches!(self.inside, Inside::Nothing | Inside::LineComment);
        between && self.progress == Progress::Start
    }

    /// A byte that begins something new; true when it ends the statement.
    fn start_token(&mut self, byte: u8) -> bool {
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => {}
            b';' => return self.semicolon(),
            b'\'' | b'"' | b'`' => self.quote(byte),
            b'[' => self.quote(b']'),
            b'-' => self.inside = Inside::Dash,
            b'/' => self.inside = Inside::Slash,
            _ if is_word(byte) => {
                self.inside = Inside::Word;
                self.word.clear();
                self.push_word(byte);
            }
            _ => self.token(b""),
        }
        false
    }

    fn quote(&mut self, end: u8) {
        self.token(b"");
        self.inside = Inside::Quote(end);
    }

    fn push_word(&mut self, byte: u8) {
        if self.word.len() <= WORD_MAX {
            self.word.push(byte.to_ascii_lowercase());
        }
    }

    /// Ends a word, or a `-` or `/` that began no comment.
    fn finish_token(&mut self) {
        match self.inside {
            Inside::Word => {
                let word = std::mem::take(&mut self.word);
                self.token(&word);
                self.word = word; // keeps its memory
            }
            Inside::Dash | Inside::Slash => self.token(b""),
            _ => {}
        }
        self.inside = Inside::Nothing;
    }

    fn semicolon(&mut self) -> bool {
        self.progress = match self.progress {
            Progress::Trigger | Progress::Semicolon => Progress::Semicolon,
            _ => Progress::Start,
        };
        self.progress == Progress::Start
    }

    fn token(&mut self, word: &[u8]) {
        self.progress = match (self.progress, word) {
            (Progress::Start, b"explain") => Progress::Explain,
            (Progress::Start | Progress::Explain, b"create") => Progress::Create,
            (Progress::Explain, b"query" | b"plan") => Progress::Explain,
            (Progress::Create, b"temp" | b"temporary") => Progress::Create,
            (Progress::Create, b"trigger") => Progress::Trigger,
            (Progress::Semicolon, b"end") => Progress::End,
            (Progress::Trigger | Progress::Semicolon | Progress::End, _) => Progress::Trigger,
            _ => Progress::Normal,
        };
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Splits with a feed of `step` bytes at a time; the last part is what never ended.
    fn split(sql: &str, step: usize) -> Vec<String> {
        let mut scanner = Scanner::default();
        let (mut parts, mut part) = (Vec::new(), Vec::new());
        for piece in sql.as_bytes().chunks(step) {
            let mut piece = piece;
            while let Some(end) = scanner.feed(piece) {
                part.extend_from_slice(&piece[..end]);
                parts.push(String::from_utf8(std::mem::take(&mut part)).unwrap());
                piece = &piece[end..];
            }
            part.extend_from_slice(piece);
        }
        parts.push(String::from_utf8(part).unwrap());
        parts
    }

    #[test]
    fn statements_end_where_sqlite_ends_them() {
        let trigger =
            "CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT ';'; UPDATE t SET end=1; END a; END;";
        let cases: &[&[&str]] = &[
            &["SELECT 1;", " SELECT 2;", ""],
            &["SELECT ';''; ', \";\", `;`, [;];", "\n"],
            &["SELECT 1 -- ; '\n;", " /* ; ' */ SELECT 1/2-3 /**/ ;", "--;"],
            &[trigger, "SELECT 1;", ""],
            &["create trigger a begin select 1; end;", ""],
            &["CREATE TABLE trigger_(a);", "CREATE TABLE t(\n a -- it's; \n);", ""],
            &["INSERT INTO t VALUES('a\nb;\n');", "SELECT 'open;"],
            &["CREATE TRIGGER t BEGIN SELECT 1; -- end;\n SELECT 2; END;", ""],
            &["/*;**/;", "/*/;*/;", ""],
        ];
        for parts in cases {
            for step in [1, 2, 7, 1000] {
                assert_eq!(split(&parts.concat(), step), *parts, "{step} bytes at a time");
            }
        }
    }

    #[test]
    fn an_open_string_has_its_place() {
        for step in [1, 3, 1000] {
            let mut scanner = Scanner::default();
            let mut feed = |sql: &str| {
                for piece in sql.as_bytes().chunks(step) {
                    scanner.feed(piece);
                }
                scanner.open_string()
            };
            assert_eq!(feed("VALUES(1,'it''s',X'00"), Some(18));
            assert_eq!(feed("11"), Some(18));
            assert_eq!(feed("22',"), None);
            assert_eq!(feed("\"'"), None);
            assert_eq!(feed("\");"), None);
            assert_eq!(feed("a'"), Some(1));
        }
    }

    #[test]
    fn what_is_left_over_is_seen() {
        let rest = |sql: &str| {
            let mut scanner = Scanner::default();
            let mut left = sql.as_bytes();
            while let Some(end) = scanner.feed(left) {
                left = &left[end..];
            }
            scanner.is_at_start()
        };
        assert!(rest("SELECT 1;") && rest("SELECT 1; \n") && rest("-- bye") && rest(""));
        assert!(!rest("SELECT 1") && !rest("SELECT '") && !rest("x") && !rest("/* open"));
        assert!(!rest("CREATE TRIGGER a BEGIN SELECT 1;"));
    }
}
