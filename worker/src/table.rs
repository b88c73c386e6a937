//! Rows of cells: aligned under their names on a terminal, with tabs between them elsewhere.
//!
//! Not `comfy-table`: it holds a whole table before it prints the first row, where this one holds 1,000 rows of any number, and
//! it wraps cells on narrow terminals, where this one gives up columns by rank.

use std::io;

use eciton_engine::Datum;
use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::output::Output;

/// Rows whose widths decide the widths of a table: more are not kept in memory.
const ROWS_HELD_MAX: usize = 1000;
/// Spaces behind a column.
const GAP: usize = 2;
/// Characters of a first column that it keeps where lines are to be short.
const FIRST_WIDTH_MIN: usize = 8;

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    /// Numbers stand on the right, so that their digits line up.
    is_number: bool,
}

impl Cell {
    /// Text. What would break a line or a column is written as in JSON.
    pub(crate) fn text(text: &str) -> Cell {
        let breaks = text.contains(char::is_control);
        let text = if breaks {
            Value::from(text).to_string()
        } else {
            text.to_owned()
        };
        Cell {
            text,
            is_number: false,
        }
    }

    /// A number.
    pub(crate) fn number(number: impl ToString) -> Cell {
        Cell {
            text: number.to_string(),
            is_number: true,
        }
    }

    /// Text of a number or of anything else.
    pub(crate) fn of(text: &str, is_number: bool) -> Cell {
        Cell {
            is_number,
            ..Cell::text(text)
        }
    }

    /// A value: as in JSON, but a string, a moment, a decimal without the marks around it.
    pub(crate) fn datum(datum: &Datum) -> Cell {
        match datum.to_json() {
            Value::String(text) => Cell::text(&text),
            Value::Object(members) => match members.values().next() {
                Some(Value::String(text)) => {
                    let is_number = matches!(datum, Datum::Decimal { .. } | Datum::Float(_));
                    Cell {
                        is_number,
                        ..Cell::text(text)
                    }
                }
                _ => Cell::text(&Value::Object(members).to_string()),
            },
            Value::Number(number) => Cell::number(number),
            other => Cell::text(&other.to_string()),
        }
    }
}

/// A table on its way to standard output.
pub(crate) struct Table<'o> {
    output: &'o mut Output,
    names: Vec<String>,
    held: Vec<Vec<Cell>>,
    /// Set with the first rows printed; a later, wider cell then pushes its row to the right.
    layout: Option<Vec<Column>>,
    /// Whether columns are aligned, and not only separated.
    is_aligned: bool,
}

#[derive(Clone, Copy)]
struct Column {
    width: usize,
    is_number: bool,
}

impl<'o> Table<'o> {
    /// A table with these columns.
    pub(crate) fn new(output: &'o mut Output, names: Vec<String>) -> Table<'o> {
        let is_aligned = output.is_terminal();
        Table {
            output,
            names,
            held: Vec::new(),
            layout: None,
            is_aligned,
        }
    }

    /// The same, aligned wherever it is printed.
    pub(crate) fn aligned(output: &'o mut Output, names: Vec<String>) -> Table<'o> {
        Table {
            is_aligned: true,
            ..Table::new(output, names)
        }
    }

    /// Adds a row.
    ///
    /// # Errors
    /// Where standard output fails.
    pub(crate) fn row(&mut self, row: Vec<Cell>) -> io::Result<()> {
        debug_assert_eq!(
            row.len(),
            self.names.len(),
            "cells of {row:?} for {:?}",
            self.names
        );
        if !self.is_aligned {
            let texts: Vec<&str> = row.iter().map(|cell| cell.text.as_str()).collect();
            return self.output.line(&texts.join("\t"));
        }
        self.held.push(row);
        if self.layout.is_some() || self.held.len() == ROWS_HELD_MAX {
            self.print()
        } else {
            Ok(())
        }
    }

    /// Prints what is still held, and the heading if there was no row.
    ///
    /// # Errors
    /// Where standard output fails.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.is_aligned {
            self.print()
        } else {
            Ok(())
        }
    }

    fn print(&mut self) -> io::Result<()> {
        let layout = if let Some(layout) = self.layout.clone() {
            layout
        } else {
            let layout = layout(&self.names, &self.held);
            let names: Vec<Cell> = self.names.iter().map(|name| Cell::text(name)).collect();
            let heading = self.output.heading(&aligned(&names, &layout));
            self.output.line(&heading)?;
            self.layout.insert(layout).clone()
        };
        for row in self.held.drain(..) {
            self.output.line(&aligned(&row, &layout))?;
        }
        Ok(())
    }
}

/// [`lines`] without some of the columns where the width is not enough for all: those of `spare` go one by one, the first
/// first.
pub(crate) fn fitting_lines(
    names: &[&str],
    rows: &[Vec<Cell>],
    spare: &[&str],
    width_max: usize,
) -> Vec<String> {
    let mut kept: Vec<usize> = (0..names.len()).collect();
    let mut spare = spare.iter();
    loop {
        let kept_names: Vec<String> = kept.iter().map(|at| names[*at].to_owned()).collect();
        let kept_rows: Vec<Vec<Cell>> = rows
            .iter()
            .map(|row| kept.iter().map(|at| row[*at].clone()).collect())
            .collect();
        let layout = layout(&kept_names, &kept_rows);
        let width: usize = layout.iter().map(|column| column.width + GAP).sum();
        let first = layout.first().map_or(0, |first| first.width);
        let least = width - first + first.min(FIRST_WIDTH_MIN) - GAP.min(width);
        let too_wide = least > width_max;
        let next = too_wide.then(|| spare.next()).flatten();
        let Some(next) = next else {
            let names: Vec<&str> = kept_names.iter().map(String::as_str).collect();
            return lines(&names, &kept_rows, width_max);
        };
        kept.retain(|at| names[*at] != *next);
    }
}

/// A whole table as lines that are `width_max` wide at most: the first column gives way, and what is still too wide
/// ends early. The first line has the names.
pub(crate) fn lines(names: &[&str], rows: &[Vec<Cell>], width_max: usize) -> Vec<String> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut layout = layout(&names, rows);
    let width: usize = layout.iter().map(|column| column.width + GAP).sum();
    let too_much = (width - GAP.min(width)).saturating_sub(width_max);
    if let Some(first) = layout.first_mut() {
        first.width = (first.width.saturating_sub(too_much)).max(first.width.min(FIRST_WIDTH_MIN));
    }
    let names = names.iter().map(|name| Cell::text(name)).collect();
    [&names]
        .into_iter()
        .chain(rows)
        .map(|cells| {
            let mut cells = cells.clone();
            if let (Some(cell), Some(column)) = (cells.first_mut(), layout.first()) {
                cell.text = cut(&cell.text, column.width);
            }
            cut(&aligned(&cells, &layout), width_max)
        })
        .collect()
}

/// A text that takes `width_max` columns of a terminal at most; one that is wider says so at its end.
pub(crate) fn cut(text: &str, width_max: usize) -> String {
    if text.width() <= width_max {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut width = 0;
    for c in text.chars() {
        width += c.width().unwrap_or(0);
        // One column is left for the mark.
        if width >= width_max {
            break;
        }
        kept.push(c);
    }
    if width_max > 0 {
        kept.push('…');
    }
    kept
}

/// A text in the columns of a terminal that it is given: characters of other scripts may take two.
fn padded(text: &str, width: usize, is_right: bool) -> String {
    let fill = " ".repeat(width.saturating_sub(text.width()));
    match is_right {
        true => format!("{fill}{text}"),
        false => format!("{text}{fill}"),
    }
}

fn layout(names: &[String], rows: &[Vec<Cell>]) -> Vec<Column> {
    let columns = names.iter().enumerate();
    columns
        .map(|(index, name)| {
            let cells = || rows.iter().filter_map(|row| row.get(index));
            let widest = cells().map(|cell| cell.text.width()).max();
            Column {
                width: widest.unwrap_or(0).max(name.width()),
                is_number: cells().all(|cell| cell.is_number || cell.text == "null"),
            }
        })
        .collect()
}

fn aligned(cells: &[Cell], layout: &[Column]) -> String {
    let padded = cells.iter().zip(layout).map(|(cell, column)| {
        let text = padded(&cell.text, column.width, column.is_number);
        format!("{text}{}", " ".repeat(GAP))
    });
    let line: String = padded.collect();
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_line_up_on_the_right() {
        let names = ["carrier".to_owned(), "n".to_owned()];
        let rows = [
            vec![Cell::text("AA"), Cell::number(5)],
            vec![Cell::text("B6"), Cell::datum(&Datum::Int(1234))],
        ];
        let layout = layout(&names, &rows);
        assert_eq!(aligned(&rows[0], &layout), "AA          5");
        assert_eq!(aligned(&rows[1], &layout), "B6       1234");
    }

    #[test]
    fn lines_fit_into_a_width() {
        let rows = [
            vec![Cell::text("a-rather-long-name"), Cell::number(5)],
            vec![Cell::text("short"), Cell::number(1234)],
        ];
        let whole = lines(&["job", "n"], &rows, usize::MAX);
        assert_eq!(whole[1], "a-rather-long-name     5");
        assert_eq!(whole[2], "short               1234");
        let cut = lines(&["job", "n"], &rows, 16);
        assert_eq!(
            cut,
            ["job            n", "a-rather-…     5", "short       1234"]
        );
        for width in 0..30 {
            let lines = lines(&["job", "n"], &rows, width);
            assert!(lines.iter().all(|line| line.width() <= width), "{lines:?}");
        }
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let rows = [
            vec![Cell::text("東京タワー"), Cell::number(5)],
            vec![Cell::text("e\u{301}té"), Cell::number(12)],
        ];
        let whole = lines(&["駅", "n"], &rows, usize::MAX);
        assert_eq!(
            whole,
            ["駅           n", "東京タワー   5", "e\u{301}té         12"]
        );
        assert!(whole.iter().all(|line| line.width() == 14), "{whole:?}");
        for width in 0..20 {
            let cut = lines(&["駅", "n"], &rows, width);
            assert!(
                cut.iter().all(|line| line.width() <= width),
                "{width}: {cut:?}"
            );
        }
        assert_eq!(cut("東京", 3), "東…");
        assert_eq!(cut("東京", 2), "…");
    }

    #[test]
    fn columns_that_can_be_spared_go_first() {
        let rows = [vec![
            Cell::text("a-rather-long-name"),
            Cell::text("running"),
            Cell::number("70/2930"),
            Cell::number(123_456),
        ]];
        let names = ["job", "state", "shards", "rows/s"];
        let of = |width| fitting_lines(&names, &rows, &["rows/s", "state"], width);
        assert_eq!(of(80)[0], "job                 state     shards  rows/s");
        assert!(of(40)[0].contains("rows/s") && of(40)[1].starts_with("a-rather"));
        assert_eq!(of(30)[0], "job           state     shards");
        assert_eq!(of(20)[1], "a-rather-l…  70/2930");
    }

    #[test]
    fn cells_never_break_a_line() {
        assert_eq!(Cell::text("a\tb\nc").text, "\"a\\tb\\nc\"");
        assert_eq!(
            Cell::datum(&Datum::Str("plain words".into())).text,
            "plain words"
        );
        assert_eq!(Cell::datum(&Datum::Null).text, "null");
        assert_eq!(
            Cell::datum(&Datum::Timestamp(0)).text,
            "1970-01-01T00:00:00Z"
        );
        let nan = Cell::datum(&Datum::Float(f64::NAN));
        assert_eq!((nan.text.as_str(), nan.is_number), ("NaN", true));
    }
}
