//! Standard output: text for people, or lines of JSON and nothing else.

use std::io::{self, BufWriter, IsTerminal, Write};

use serde_json::Value;

use crate::cli::Global;
use crate::closed::is_stdout_closed;
use crate::logs;

/// Standard output of a command.
pub(crate) struct Output {
    json: bool,
    terminal: bool,
    out: BufWriter<io::Stdout>,
}

impl Output {
    /// The output that the flags and the terminal ask for.
    pub(crate) fn new(global: &Global) -> Output {
        let out = BufWriter::new(io::stdout());
        Output {
            json: global.json,
            terminal: io::stdout().is_terminal(),
            out,
        }
    }

    /// A line that its reader has at once.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn tell(global: &Global, text: &str) -> io::Result<()> {
        let mut output = Output::new(global);
        output.line(text)?;
        output.finish()
    }

    /// Whether only lines of JSON may be printed.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person reads along: then columns are aligned and have names.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// `text` as a heading: bold on a terminal, unless colours are not wanted.
    pub(crate) fn heading(&self, text: &str) -> String {
        if self.terminal && logs::colours_wanted() {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    /// A line.
    ///
    /// # Errors
    /// Where standard output fails; a reader that went away is [`io::ErrorKind::BrokenPipe`].
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}")
    }

    /// Bytes as they are.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// The JSON line with `--json`, the text without.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn either(&mut self, json: &Value, text: &str) -> io::Result<()> {
        if self.json {
            self.line(&json.to_string())
        } else {
            self.line(text)
        }
    }

    /// Has everything read so far, for whoever waits for more.
    ///
    /// # Errors
    /// What writing refuses.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Everything printed so far is with the reader when it returns.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if is_stdout_closed() {
            return Err(io::Error::other(
                "standard output is closed: nobody got what was printed",
            ));
        }
        self.out.flush()
    }
}
