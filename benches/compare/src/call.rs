//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::child::{self, CHILD};
use crate::cluster;
use crate::engine::{Result, text};
use crate::engines;
use crate::harness;
use crate::lines::{LINES, Line};

/// Records unless the call says otherwise.
const ITEMS: u64 = 1_000_000;
/// The fewest that can be measured: every thread needs records of its own.
pub(crate) const ITEMS_MIN: u64 = 1000;
/// Runs unless the call says otherwise.
const RUNS: usize = 3;

/// What the arguments are.
pub const USAGE: &str =
    "[--items N] [--runs N] [--only NAMES] [--lines NAMES] [--dir PATH] [--json] [--out FILE]

  --items N      records of 16-byte keys and 100-byte values (default 1,000,000)
  --runs N       runs of everything, the median counts (default 3)
  --only NAMES   engines, separated by commas
  --lines NAMES  beginnings of the names of lines, separated by commas
  --dir PATH     where databases are made (default: the folder for temporary files)
  --json         the last line on stdout is the result as JSON
  --out FILE     writes the result as JSON to this file

or `cluster`, many processes at one database: `cluster --help` tells its arguments";

/// What the command line says.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Records.
    pub(crate) items: u64,
    /// Runs of everything.
    pub(crate) runs: usize,
    /// The engines to run, ours first.
    pub(crate) engines: Vec<&'static str>,
    /// The lines to measure.
    pub(crate) lines: Vec<Line>,
    /// Where databases are made.
    pub(crate) dir: PathBuf,
    json: bool,
    out: Option<PathBuf>,
}

/// Runs the comparison that `args` ask for, or, called by itself, one part of it.
pub fn main(args: Vec<String>) -> ExitCode {
    match args.first().map(String::as_str) {
        Some("cluster") => return cluster::main(args[1..].to_vec()),
        Some(cluster::CHILD) => return cluster::main(args),
        _ => {}
    }
    if args.first().is_some_and(|arg| arg == CHILD) {
        return match child::run(&args[1..]) {
            Ok(told) => {
                println!("{told}");
                ExitCode::SUCCESS
            }
            Err(message) => {
                eprintln!("{message}");
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
    let call = match Call::parse(args) {
        Ok(call) => call,
        Err(message) => {
            eprintln!("error: {message}\n\nusage: {USAGE}");
            return ExitCode::from(2);
        }
    };
    match compare(&call) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn compare(call: &Call) -> Result<ExitCode> {
    let comparison = harness::measure(call)?;
    eprintln!("\n{}", comparison.table());
    let json = comparison.json();
    if let Some(out) = &call.out {
        std::fs::write(out, format!("{json}\n"))
            .map_err(|error| format!("{}: {error}", out.display()))?;
    }
    if call.json {
        println!("{json}");
    }
    let failures = &comparison.failures;
    for failure in failures {
        eprintln!("error: {failure}");
    }
    Ok(match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

impl Call {
    /// # Errors
    /// What is wrong with the arguments.
    pub(crate) fn parse(args: Vec<String>) -> Result<Call> {
        let mut call = Call {
            items: ITEMS,
            runs: RUNS,
            engines: engines::NAMES.to_vec(),
            lines: LINES.to_vec(),
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
                "--items" => call.items = number(&arg, &value()?, ITEMS_MIN)?,
                "--runs" => {
                    call.runs = usize::try_from(number(&arg, &value()?, 1)?).map_err(text)?;
                }
                "--only" => call.engines = chosen_engines(&value()?)?,
                "--lines" => call.lines = chosen_lines(&value()?)?,
                _ => return Err(format!("unknown argument `{arg}`")),
            }
        }
        Ok(call)
    }
}

fn number(arg: &str, value: &str, min: u64) -> Result<u64> {
    let digits = value.replace(['_', ','], "");
    let number = digits.parse().ok().filter(|number| *number >= min);
    number.ok_or(format!("{arg}: `{value}` is no number from {min} on"))
}

fn chosen_engines(names: &str) -> Result<Vec<&'static str>> {
    let wanted: Vec<&str> = names.split(',').map(str::trim).collect();
    if let Some(name) = wanted.iter().find(|name| !engines::NAMES.contains(name)) {
        let known = engines::NAMES.join(", ");
        return Err(format!("no engine `{name}`: this program has {known}"));
    }
    let chosen = engines::NAMES.iter().copied();
    Ok(chosen.filter(|name| wanted.contains(name)).collect())
}

fn chosen_lines(names: &str) -> Result<Vec<Line>> {
    let wanted: Vec<&str> = names.split(',').map(str::trim).collect();
    let begins = |line: &Line, name: &&str| !name.is_empty() && line.name.starts_with(*name);
    if let Some(name) = wanted
        .iter()
        .find(|name| !LINES.iter().any(|line| begins(line, name)))
    {
        let known: Vec<&str> = LINES.iter().map(|line| line.name).collect();
        return Err(format!(
            "no line begins with `{name}`: there are {}",
            known.join(", ")
        ));
    }
    let chosen = LINES.iter().copied();
    Ok(chosen
        .filter(|line| wanted.iter().any(|name| begins(line, name)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Call> {
        Call::parse(args.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_arguments_everything_is_measured() {
        let call = parse(&[]).unwrap();
        assert_eq!((call.items, call.runs), (ITEMS, RUNS));
        assert_eq!(call.engines, engines::NAMES);
        assert_eq!(call.lines, LINES);
    }

    #[test]
    fn lines_and_engines_can_be_chosen() {
        let call = parse(&[
            "--lines",
            "get,scan_full",
            "--only",
            "ours",
            "--items",
            "10_000",
        ]);
        let call = call.unwrap();
        let names: Vec<&str> = call.lines.iter().map(|line| line.name).collect();
        assert!(names.len() > 3 && names.contains(&"scan_full"), "{names:?}");
        assert!(!names.contains(&"scan_100"), "{names:?}");
        assert_eq!((call.items, call.engines), (10_000, vec!["ours"]));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let refused: [&[&str]; 8] = [
            &["--items", "999"],
            &["--items", "many"],
            &["--items"],
            &["--runs", "0"],
            &["--only", "nobody"],
            &["--lines", "nothing"],
            &["--lines", "get,"],
            &["--fast"],
        ];
        for args in refused {
            assert!(parse(args).is_err(), "{args:?}");
        }
        assert!(parse(&["--items", &ITEMS_MIN.to_string()]).is_ok());
    }
}
