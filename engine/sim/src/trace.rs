//! What happened, line by line, for people.

use std::collections::VecDeque;
use std::fmt;

use parking_lot::Mutex;

use crate::executor::ProcessId;

/// How much of a run is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TraceMode {
    /// Nothing: the quickest.
    #[default]
    Off,
    /// The last so many lines.
    Last(usize),
    /// Everything.
    Full,
}

/// The lines of one run.
#[derive(Debug)]
pub struct Trace {
    mode: TraceMode,
    lines: Mutex<VecDeque<String>>,
}

impl Trace {
    /// An empty trace.
    pub fn new(mode: TraceMode) -> Trace {
        Trace {
            mode,
            lines: Mutex::new(VecDeque::new()),
        }
    }

    /// Whether lines are kept at all; who asks first need not put them together.
    pub fn is_on(&self) -> bool {
        self.mode != TraceMode::Off
    }

    /// Adds what a process did in a step, `None` for the world itself.
    pub fn add(&self, step: u64, process: Option<ProcessId>, what: fmt::Arguments<'_>) {
        let mut lines = self.lines.lock();
        match self.mode {
            TraceMode::Off => return,
            TraceMode::Last(len_max) if lines.len() >= len_max => drop(lines.pop_front()),
            _ => {}
        }
        let who = process.map_or_else(|| "--".to_owned(), |process| process.to_string());
        lines.push_back(format!("{step:>6} {who} {what}"));
    }

    /// The lines so far, oldest first.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock()).into()
    }
}
