//! Tables with aligned columns, by the width that text has on a terminal.

use super::format::{clean, width};
use super::style::Style;

/// One cell: text that can't steer the terminal, and what it is.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    style: Style,
    right: bool,
}

impl Cell {
    /// Words: aligned to the left.
    pub fn new(text: impl AsRef<str>) -> Cell {
        Cell { text: clean(text.as_ref()), style: Style::Plain, right: false }
    }

    /// A number or a size: aligned to the right.
    pub fn number(text: impl AsRef<str>) -> Cell {
        Cell { right: true, ..Cell::new(text) }
    }

    /// The same text in a style.
    #[must_use]
    pub fn styled(self, style: Style) -> Cell {
        Cell { style, ..self }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::new(text)
    }
}

/// A table; a heading stands over its column as that is aligned.
#[derive(Clone, Debug, Default)]
pub struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty one. Without headings it is just aligned rows.
    pub fn new(headings: &[&str]) -> Table {
        Table { headings: headings.iter().map(|&heading| clean(heading)).collect(), rows: Vec::new() }
    }

    /// Adds a row; it may be shorter than others.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Its lines, without space at their ends.
    pub fn lines(&self, color: bool) -> Vec<String> {
        let headings: Vec<Cell> = self
            .headings
            .iter()
            .enumerate()
            .map(|(column, text)| {
                let right = self.rows.first().and_then(|row| row.get(column)).is_some_and(|cell| cell.right);
                Cell { text: text.clone(), style: Style::Heading, right }
            })
            .collect();
        let all = || (!headings.is_empty()).then_some(&headings).into_iter().chain(&self.rows);
        let columns = all().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                all().filter_map(|row| row.get(column)).map(|cell| width(&cell.text)).max().unwrap_or(0)
            })
            .collect();
        all().map(|row| line(row, &widths, color)).collect()
    }
}

fn line(row: &[Cell], widths: &[usize], color: bool) -> String {
    let mut out = String::new();
    let mut pending = 0; // spaces that are written only when something follows
    for (cell, &column) in row.iter().zip(widths) {
        let space = column - width(&cell.text);
        let (before, after) = if cell.right { (space, 0) } else { (0, space) };
        pending += before;
        if !cell.text.is_empty() {
            out.push_str(&" ".repeat(pending));
            out.push_str(&cell.style.paint(&cell.text, color));
            pending = 0;
        }
        pending += after + 2;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_width_and_colors_take_none() {
        let mut table = Table::new(&["NAME", "SIZE", "NOTE"]);
        table.row([Cell::new("名前"), Cell::number("5 B"), Cell::new("").styled(Style::Bad)]);
        table.row([Cell::new("a\x1bb").styled(Style::Good), Cell::number("12.3 MiB"), "x".into()]);
        let expected = ["NAME        SIZE  NOTE", "名前         5 B", "a\\x1bb  12.3 MiB  x"];
        assert_eq!(table.lines(false), expected);
        let plain: Vec<String> = table
            .lines(true)
            .iter()
            .map(|line| {
                ["\x1b[1m", "\x1b[32m", "\x1b[0m"].iter().fold(line.clone(), |l, code| l.replace(code, ""))
            })
            .collect();
        assert_eq!(plain, expected);
        assert!(table.lines(true)[2].starts_with("\x1b[32m"));
        assert!(Table::new(&[]).lines(false).is_empty());
    }
}
