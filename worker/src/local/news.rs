//! What is told of a swarm on this machine, a line an event.

use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::Global;
use crate::output::Output;

/// Tells on standard output. Whether or not anyone reads it, the swarm works.
pub(crate) struct SwarmNews<'g> {
    global: &'g Global,
}

impl<'g> SwarmNews<'g> {
    pub(crate) fn new(global: &'g Global) -> SwarmNews<'g> {
        SwarmNews { global }
    }

    /// A sentence for people, and the same for programs.
    pub(crate) fn tell(&self, text: &str, json: &Value) {
        let told = match self.global.json {
            true => json.to_string(),
            false => text.to_owned(),
        };
        Output::tell(self.global, &told).ok();
    }

    pub(crate) fn started(&self, who: Who, pid: u32) {
        let mut told = who.json("started");
        told["pid"] = json!(pid);
        self.tell(&format!("{who}: started, process {pid}"), &told);
    }

    pub(crate) fn ended(&self, who: Who, end: &End, again_in: Option<Duration>) {
        let mut told = who.json("ended");
        told["pid"] = json!(end.pid);
        told["code"] = json!(end.status.code());
        told["signal"] = json!(signal(end.status));
        if let Some(error) = &end.error {
            told["error"] = json!(error);
        }
        let mut text = format!("{who}: {}", describe(end));
        if let Some(pause) = again_in {
            told["restart_in_ms"] = json!(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
            text = format!("{text}; starts again in {} s", pause.as_secs_f32());
        }
        self.tell(&text, &told);
    }
}

/// Which process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Redis,
    /// By its number, from 1 on.
    Worker(usize),
}

impl Who {
    fn json(self, what: &str) -> Value {
        match self {
            Who::Redis => json!({"event": format!("redis_{what}")}),
            Who::Worker(number) => json!({"event": format!("worker_{what}"), "worker": number}),
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Redis => f.write_str("redis"),
            Who::Worker(number) => write!(f, "worker {number}"),
        }
    }
}

/// How a process ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) pid: u32,
    pub(crate) status: ExitStatus,
    /// What it said last that it failed with.
    pub(crate) error: Option<String>,
}

/// `ended with code 2: ./db: not a database`, `ended by signal 9`, `ended`.
pub(crate) fn describe(end: &End) -> String {
    let how = match (end.status.code(), signal(end.status)) {
        (Some(0), _) | (None, None) => "ended".to_owned(),
        (Some(code), _) => format!("ended with code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
    };
    match &end.error {
        Some(error) => format!("{how}: {error}"),
        None => how,
    }
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[cfg(not(unix))]
fn signal(_: ExitStatus) -> Option<i32> {
    None
}
