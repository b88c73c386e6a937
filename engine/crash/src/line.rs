//! What worker and checker say on their standard output: one line each, words with blanks between.

use std::fmt;
use std::io::{self, Write};

use crate::plan::Id;

/// A line of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The database is open.
    Open,
    /// A commit is about to be asked for.
    Begin(Id),
    /// The commit has returned.
    Ok(Id, u64),
    /// Certainly not committed.
    No(Id, String),
    /// Whether it committed is known only after the next opening.
    Unknown(Id, String),
    /// The task's extra store is to be created (`true`) or dropped by this transaction.
    Extra(Id, bool),
    /// Something that must not be.
    Bad(String),
    /// For people.
    Note(String),
    /// Everything has been said.
    End,
}

impl Line {
    /// Reads a line; `None` where it is none.
    pub fn parse(text: &str) -> Option<Line> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        let id = || first.parse().ok().map(Id);
        Some(match word {
            "open" => Line::Open,
            "begin" => Line::Begin(id()?),
            "ok" => Line::Ok(id()?, more.parse().ok()?),
            "no" => Line::No(id()?, more.to_owned()),
            "unknown" => Line::Unknown(id()?, more.to_owned()),
            "create" => Line::Extra(id()?, true),
            "drop" => Line::Extra(id()?, false),
            "bad" => Line::Bad(rest.to_owned()),
            "note" => Line::Note(rest.to_owned()),
            "end" => Line::End,
            _ => return None,
        })
    }

    /// Writes the line, whole, at once.
    ///
    /// # Errors
    /// Nobody reads any more.
    pub fn say(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(format!("{self}\n").as_bytes())?;
        out.flush()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A line of its own, whatever a message has in it.
        let flat = |text: &str| text.replace('\n', " ");
        match self {
            Line::Open => f.write_str("open"),
            Line::Begin(id) => write!(f, "begin {id}"),
            Line::Ok(id, position) => write!(f, "ok {id} {position}"),
            Line::No(id, why) => write!(f, "no {id} {}", flat(why)),
            Line::Unknown(id, why) => write!(f, "unknown {id} {}", flat(why)),
            Line::Extra(id, true) => write!(f, "create {id}"),
            Line::Extra(id, false) => write!(f, "drop {id}"),
            Line::Bad(what) => write!(f, "bad {}", flat(what)),
            Line::Note(what) => write!(f, "note {}", flat(what)),
            Line::End => f.write_str("end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lead_back() {
        let lines = [
            Line::Open,
            Line::Begin(Id(1)),
            Line::Ok(Id(2), 7),
            Line::No(Id(3), "halted: x y".to_owned()),
            Line::Unknown(Id(4), String::new()),
            Line::Extra(Id(5), true),
            Line::Extra(Id(6), false),
            Line::Bad("a b".to_owned()),
            Line::Note("c".to_owned()),
            Line::End,
        ];
        for line in lines {
            assert_eq!(Line::parse(&line.to_string()), Some(line));
        }
        assert_eq!(Line::parse("begin"), None);
        assert_eq!(Line::parse("torn li"), None);
    }
}
