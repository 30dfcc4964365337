//! Help and usage lines, made from the table.

use super::table::{BACKUP_NOTE, GLOBAL, Opt, PROGRAM, VERBS, Verb};

const WIDTH: usize = 100;

/// One usage line of a verb, without the options that every verb has.
pub fn usage(verb: &Verb) -> String {
    let mut line = format!("{PROGRAM} {}", verb.name);
    if !verb.words.is_empty() {
        line.push(' ');
        line.push_str(verb.words);
    }
    for option in verb.options {
        line.push_str(&format!(" [{}]{}", written(option), if option.repeated { "…" } else { "" }));
    }
    line
}

/// The usage line for when no verb is known.
pub fn general_usage() -> String {
    let names: Vec<&str> = VERBS.iter().map(|verb| verb.name).collect();
    format!("{PROGRAM} {}|help [OPTIONS]", names.join("|"))
}

/// The help of the whole tool.
pub fn general() -> String {
    let verbs: Vec<(String, &str)> = VERBS.iter().map(|verb| (verb.name.to_owned(), verb.brief)).collect();
    format!(
        "Backup and disaster recovery for a git repository and the SQLite databases in it.\n\n\
         Usage: {}\n\nVerbs\n{}\nOptions of every verb, before or after it\n{}\n\
         `{PROGRAM} help VERB` tells more of one.\n",
        general_usage(),
        columns(&verbs),
        options(GLOBAL),
    )
}

/// The help of one verb.
pub fn of(verb: &Verb) -> String {
    let mut text = format!("Usage: {}\n\n{}\n", usage(verb), wrap(verb.about, 0));
    if !verb.options.is_empty() {
        text.push_str(&format!("\nOptions\n{}", options(verb.options)));
    }
    if verb.words.contains("BACKUP") {
        text.push_str(&format!("\n{}\n", wrap(BACKUP_NOTE, 0)));
    }
    let examples: Vec<(String, &str)> =
        verb.examples.iter().map(|(line, what)| (format!("{PROGRAM} {line}"), *what)).collect();
    let exits: Vec<(String, &str)> = std::iter::once((0, "all of it was done"))
        .chain(verb.exits.iter().copied())
        .map(|(code, what)| (code.to_string(), what))
        .collect();
    text.push_str(&format!("\nExamples\n{}\nExit codes\n{}", columns(&examples), columns(&exits)));
    text.push_str(&format!("\nOptions of every verb\n{}", options(GLOBAL)));
    text
}

fn written(option: &Opt) -> String {
    option.value.map_or_else(|| option.name.to_owned(), |value| format!("{} {value}", option.name))
}

fn options(options: &[Opt]) -> String {
    let rows: Vec<(String, &str)> = options.iter().map(|option| (written(option), option.about)).collect();
    columns(&rows)
}

fn columns(rows: &[(String, &str)]) -> String {
    let width = rows.iter().map(|(left, _)| left.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(left, right)| format!("  {left:width$}  {}\n", wrap(right, width + 4))).collect()
}

/// Breaks lines at spaces; all but the first begin with `indent` spaces.
fn wrap(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > indent && column + 1 + width > WIDTH {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_all_there_is_and_fits_a_terminal() {
        let text = general();
        for verb in VERBS {
            assert!(text.contains(verb.name) && text.contains(verb.brief));
            let help = of(verb);
            for option in verb.options.iter().chain(GLOBAL) {
                assert!(help.contains(&written(option)), "{} {}", verb.name, option.name);
            }
            for (code, _) in verb.exits {
                assert!(help.contains(&format!("\n  {code}  ")), "{} {code}", verb.name);
            }
            // A usage line may be longer: a terminal folds it.
            let long = help.lines().skip(1).find(|line| line.chars().count() > WIDTH);
            assert_eq!(long, None, "{}", verb.name);
        }
    }

    #[test]
    fn wrapping_keeps_every_word() {
        let text = "word ".repeat(60);
        let wrapped = wrap(&text, 10);
        assert_eq!(wrapped.split_whitespace().count(), 60);
        assert!(wrapped.lines().skip(1).all(|line| line.starts_with("          word")));
    }
}
