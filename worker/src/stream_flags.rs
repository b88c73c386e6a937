//! Flags of the commands of `eciton stream`.

#![allow(clippy::doc_markdown, reason = "help is printed as it stands")]

use std::ops::Range;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::shared_flags::Get;

pub(crate) const STREAM_EXAMPLES: &str = "\
Examples:
  eciton stream write films garden film.mp4 --create --db ./db
  eciton stream read films garden --from 1000000 --len 4096 --db ./db > part
  eciton stream write films garden chapter.mp4 --replace 1000000..2000000 --db ./db
  eciton stream cut films garden 0..4096 --db ./db
  eciton stream ls films --db ./db

A stream is stored beside the record of its key. A change rewrites only the part that it touches, and is
atomic.";

#[derive(Debug, Subcommand)]
pub(crate) enum Stream {
    /// List the keys of a store that have a stream, with its length in bytes
    #[command(after_help = "Examples:\n  eciton stream ls films --db ./db --json")]
    Ls {
        /// The store
        store: String,
    },
    /// Print a stream, or part of it
    #[command(
        after_help = "Examples:\n  eciton stream read films garden --out film.mp4 --db ./db\n  \
                      eciton stream read films garden --from 10 --len 100 --db ./db"
    )]
    Read {
        #[command(flatten)]
        at: Get,
        #[command(flatten)]
        part: StreamPart,
        /// Write to a file instead of standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Write a file, or standard input, as the stream of a key
    #[command(
        after_help = "Without --append, --over, --insert or --replace, the whole stream is replaced.\n\nExamples:\n  \
                      eciton stream write films garden film.mp4 --db ./db\n  \
                      tail -c 100 more | eciton stream write films garden --append --db ./db\n  \
                      eciton stream write films garden title.mp4 --insert 0 --db ./db"
    )]
    Write(StreamWrite),
    /// Remove a range of bytes; the bytes after it move up
    #[command(after_help = "Examples:\n  eciton stream cut films garden 100..200 --db ./db")]
    Cut {
        #[command(flatten)]
        at: Get,
        /// The first byte, and the one after the last
        #[arg(value_name = "FROM..TO", value_parser = span)]
        range: Span,
    },
    /// Delete a stream; the record of its key stays
    #[command(after_help = "Examples:\n  eciton stream rm films garden --db ./db")]
    Rm {
        #[command(flatten)]
        at: Get,
    },
}

#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct StreamPart {
    /// The first byte
    #[arg(long, value_name = "N")]
    pub(crate) from: Option<u64>,
    /// At most this many bytes
    #[arg(long, value_name = "N")]
    pub(crate) len: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct StreamWrite {
    #[command(flatten)]
    pub(crate) at: Get,
    /// The file to read [default: standard input]
    #[arg(value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Append to the end of the stream
    #[arg(long, group = "place")]
    append: bool,
    /// Overwrite the stream from this byte on
    #[arg(long, value_name = "N", group = "place")]
    over: Option<u64>,
    /// Insert before this byte
    #[arg(long, value_name = "N", group = "place")]
    insert: Option<u64>,
    /// Replace these bytes
    #[arg(long, value_name = "FROM..TO", value_parser = span, group = "place")]
    replace: Option<Span>,
    /// Create the store and the database if they do not exist
    #[arg(long)]
    pub(crate) create: bool,
}

/// Where in a stream bytes are written.
pub(crate) enum Place {
    /// In the place of all that is there.
    Whole,
    /// Behind it.
    End,
    /// Over what is there, from an offset on.
    Over(u64),
    /// Before the byte at an offset.
    Before(u64),
    /// In the place of a range.
    Instead(Range<u64>),
}

impl StreamWrite {
    /// The place that the flags name: one of them at the most.
    pub(crate) fn place(&self) -> Place {
        match (self.append, self.over, self.insert, self.replace) {
            (true, ..) => Place::End,
            (_, Some(at), ..) => Place::Over(at),
            (_, _, Some(at), _) => Place::Before(at),
            (_, _, _, Some(span)) => Place::Instead(span.into()),
            (false, None, None, None) => Place::Whole,
        }
    }
}

/// A range of bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    from: u64,
    to: u64,
}

impl From<Span> for Range<u64> {
    fn from(span: Span) -> Range<u64> {
        span.from..span.to
    }
}

fn span(text: &str) -> Result<Span, String> {
    let bounds = text.split_once("..").and_then(|(from, to)| {
        let (from, to) = (from.parse().ok()?, to.parse().ok()?);
        (from <= to).then_some(Span { from, to })
    });
    bounds.ok_or_else(|| "expected two numbers like 100..200".to_owned())
}
