//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::child::{self, CHILD};
use super::report::{Outcomes, lines};
use super::swarm::{self, Size};
use super::{SIDES, Work};
use crate::engine::{Result, text};
use crate::report::{json, table};

/// What the arguments are.
pub const USAGE: &str =
    "cluster [--processes N,N] [--clients N] [--seconds N] [--runs N] [--only NAMES] [--work NAMES] [--dir PATH] [--json] [--out FILE]

  --processes N,N  processes at one database (default 1,2,4,8)
  --clients N      clients of each, which commit one record after the other (default 64)
  --seconds N      how long each measurement lasts (default 5)
  --runs N         runs of everything, the median counts (default 3)
  --only NAMES     sides, separated by commas: ours, and sqlite and postgres where they are compiled in; sop, which needs
                   Python's sop4py, only by name
  --work NAMES     disjoint_keys, keys_of_one_node, add_to_one_key, replace_one_key
  --dir PATH       where databases are made (default: the folder for temporary files)
  --json           the last line on stdout is the result as JSON
  --out FILE       writes the result as JSON to this file

Needs redis-server, which it starts by itself.";

struct Call {
    processes: Vec<u64>,
    clients: u64,
    lasts: Duration,
    runs: usize,
    only: Vec<String>,
    work: Vec<Work>,
    dir: PathBuf,
    json: bool,
    out: Option<PathBuf>,
}

/// Measures what `args` ask for, or, called by itself, is one process of it.
pub fn main(args: Vec<String>) -> ExitCode {
    if args.first().is_some_and(|arg| arg == CHILD) {
        return match child::run(&args[1..]) {
            Ok(told) => {
                println!("{told}");
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("error: {message}");
                ExitCode::FAILURE
            }
        };
    }
    if args
        .iter()
        .any(|arg| ["--help", "-h", "help"].contains(&arg.as_str()))
    {
        println!("usage: {USAGE}");
        return ExitCode::SUCCESS;
    }
    let call = match parse(args) {
        Ok(call) => call,
        Err(message) => {
            eprintln!("error: {message}\n\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match measure(&call) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn measure(call: &Call) -> Result<()> {
    let folder = tempfile::Builder::new()
        .prefix("eciton-cluster-")
        .tempdir_in(&call.dir);
    let folder = folder.map_err(|error| format!("{}: {error}", call.dir.display()))?;
    let (mut all, mut notes) = (Vec::new(), Vec::new());
    for &work in &call.work {
        for &processes in &call.processes {
            let size = Size {
                processes,
                clients: call.clients,
                lasts: call.lasts,
            };
            let mut outcomes = Outcomes::new();
            for run in 0..call.runs {
                // Another one is first in each run.
                for at in 0..SIDES.len() {
                    let side = &SIDES[(at + run) % SIDES.len()];
                    let is_named = call.only.iter().any(|name| name == side.name);
                    let is_usual = call.only.is_empty() && !side.by_name;
                    if !is_named && !is_usual {
                        continue;
                    }
                    let place = folder.path().join(format!(
                        "{}-{}-{processes}-{run}",
                        side.name,
                        work.name()
                    ));
                    let outcome = swarm::run(side, work, size, &place)?;
                    std::fs::remove_dir_all(&place).map_err(text)?;
                    let (name, rate) = (side.name, outcome.rate());
                    if let Some(wrong) = &outcome.wrong {
                        eprintln!("wrong: {wrong}");
                        notes.push(format!("{processes} processes, {wrong}"));
                    }
                    eprintln!(
                        "run {}, {}, {processes} processes, {name}: {rate:.0} commits/s",
                        run + 1,
                        work.name()
                    );
                    outcomes.entry(side.name).or_default().push(outcome);
                }
            }
            all.extend(lines(work, processes, call.clients, &outcomes));
        }
    }
    eprintln!("\n{}", table(&all));
    let mut json = json(&all);
    json["wrong"] = notes.into();
    if let Some(out) = &call.out {
        std::fs::write(out, format!("{json}\n"))
            .map_err(|error| format!("{}: {error}", out.display()))?;
    }
    if call.json {
        println!("{json}");
    }
    Ok(())
}

fn parse(args: Vec<String>) -> Result<Call> {
    let mut call = Call {
        processes: vec![1, 2, 4, 8],
        clients: 64,
        lasts: Duration::from_secs(5),
        runs: 3,
        only: Vec::new(),
        work: Work::ALL.to_vec(),
        dir: std::env::temp_dir(),
        json: false,
        out: None,
    };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} takes a value"));
        match arg.as_str() {
            "--json" => call.json = true,
            "--out" => call.out = Some(value()?.into()),
            "--dir" => call.dir = value()?.into(),
            "--clients" => call.clients = number(&arg, &value()?)?,
            "--seconds" => call.lasts = Duration::from_secs(number(&arg, &value()?)?),
            "--runs" => call.runs = usize::try_from(number(&arg, &value()?)?).map_err(text)?,
            "--processes" => {
                let counts = value()?;
                let counts = counts.split(',').map(|count| number(&arg, count.trim()));
                call.processes = counts.collect::<Result<_>>()?;
            }
            "--only" => {
                call.only = names(&value()?, |name| SIDES.iter().any(|side| side.name == name))?;
            }
            "--work" => {
                let is_one = |name: &str| Work::ALL.iter().any(|work| work.name() == name);
                let wanted = names(&value()?, is_one)?;
                let chosen = Work::ALL.into_iter();
                call.work = chosen
                    .filter(|work| wanted.iter().any(|name| name == work.name()))
                    .collect();
            }
            _ => return Err(format!("unknown argument `{arg}`")),
        }
    }
    Ok(call)
}

fn number(arg: &str, value: &str) -> Result<u64> {
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or(format!("{arg}: `{value}` is no number from 1 on"))
}

fn names(text: &str, is_one: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    match names.iter().find(|name| !is_one(name)) {
        Some(name) => Err(format!("there is no `{name}`")),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Result<Call> {
        parse(args.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_not_said_is_the_default_and_what_means_nothing_is_refused() {
        let call = parsed(&[
            "--processes",
            "2, 4",
            "--work",
            "add_to_one_key",
            "--only",
            "ours",
        ])
        .unwrap();
        assert_eq!(
            (call.processes, call.clients, call.runs),
            (vec![2, 4], 64, 3)
        );
        assert_eq!(
            (call.work, call.only),
            (vec![Work::Add], vec!["ours".to_owned()])
        );
        for args in [
            &["--processes", "0"][..],
            &["--work", "all"],
            &["--only", "x"],
            &["--runs"],
            &["--fast"],
        ] {
            assert!(parsed(args).is_err(), "{args:?}");
        }
    }
}
