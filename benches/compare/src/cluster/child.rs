//! One process of a side: it opens the database, says so, waits for the word, and tells what it has done.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::histogram::Histogram;
use super::{Done, Orders, SIDES, Work};
use crate::engine::{Result, text};
use crate::usage::Stopwatch;

/// The first argument of such a process.
pub const CHILD: &str = "cluster-child";
/// What it says once it could begin.
pub(super) const READY: &str = "ready";

impl Orders {
    /// As arguments.
    pub(super) fn encode(&self, side: &str) -> Vec<String> {
        let folder = self.folder.display().to_string();
        let numbers = [self.process, self.clients].map(|number| number.to_string());
        let [process, clients] = numbers;
        let ms = self.lasts.as_millis().to_string();
        let (work, server) = (self.work.name().to_owned(), self.server.clone());
        [
            CHILD.to_owned(),
            side.to_owned(),
            work,
            process,
            clients,
            ms,
            folder,
            server,
        ]
        .into()
    }

    fn decode(args: &[String]) -> Option<Orders> {
        let [work, process, clients, ms, folder, server] = args else {
            return None;
        };
        Some(Orders {
            work: Work::ALL.into_iter().find(|one| one.name() == work)?,
            process: process.parse().ok()?,
            clients: clients.parse().ok()?,
            lasts: Duration::from_millis(ms.parse().ok()?),
            folder: PathBuf::from(folder),
            server: server.clone(),
        })
    }
}

/// The child's side: what was done, as JSON.
///
/// # Errors
/// Arguments that say nothing; what the engine refuses.
pub(super) fn run(args: &[String]) -> Result<Value> {
    let said_nothing = || format!("no process {args:?}");
    let (side, rest) = args.split_first().ok_or_else(said_nothing)?;
    let side = SIDES
        .iter()
        .find(|one| one.name == side)
        .ok_or_else(said_nothing)?;
    let orders = Orders::decode(rest).ok_or_else(said_nothing)?;
    let (watch, written) = (Stopwatch::start(), written());
    let done = (side.work)(&orders)?;
    let spent = watch.stop();
    Ok(json!({
        "in_time": done.in_time,
        "commits": done.commits,
        "conflicts": done.conflicts,
        "latency": done.latency.encode(),
        "cpu_seconds": spent.cpu_seconds,
        "written": self::written().saturating_sub(written),
    }))
}

/// Says that it is ready, and waits until it may begin.
pub(super) fn wait_for_the_word() -> Result<()> {
    println!("{READY}");
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(text)?;
    Ok(())
}

/// Bytes that this process has caused to be written to the disc.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let bytes = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
    bytes.unwrap_or(0)
}

/// What a process has told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) done: Done,
    pub(super) cpu_seconds: f64,
    pub(super) written: u64,
}

impl Told {
    pub(super) fn decode(line: &str) -> Option<Told> {
        let told: Value = serde_json::from_str(line).ok()?;
        let number = |name: &str| told[name].as_u64();
        Some(Told {
            done: Done {
                in_time: number("in_time")?,
                commits: number("commits")?,
                conflicts: number("conflicts")?,
                latency: Histogram::decode(&told["latency"])?,
            },
            cpu_seconds: told["cpu_seconds"].as_f64()?,
            written: number("written")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        let orders = Orders {
            work: Work::Near,
            process: 3,
            clients: 64,
            lasts: Duration::from_millis(250),
            folder: "/tmp/a b".into(),
            server: "redis://x:1".to_owned(),
        };
        let args = orders.encode("ours");
        assert_eq!(args[..2], [CHILD, "ours"]);
        let decoded = Orders::decode(&args[2..]).unwrap();
        assert_eq!(format!("{decoded:?}"), format!("{orders:?}"));
        assert!(Orders::decode(&args[1..]).is_none());
        assert!(run(&["nobody".to_owned()]).is_err());
    }
}
