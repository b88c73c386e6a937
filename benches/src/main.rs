//! Workloads, timed beside what users would take instead, in one run on one machine.
//!
//! `cargo run --release -p eciton-benches -- WORKLOADS [--json] [--rows N] [--runs N]`
//!
//! `engines` and `cluster` have a crate of their own, `eciton-compare`, and are only called from here; the features `peers` and
//! `rocksdb` bring the engines to compare with.
//!
//! Every measurement runs in a process of its own, ours and the peers' in turn, and the median counts.

mod child;
mod data;
mod etl;
mod kills;
mod large;
mod open;
mod overhead;
mod place;
mod scale;
mod swarm;
mod tpch;

use std::process::ExitCode;

use eciton_compare::report::{self, Line};

/// Measures with so many rows, so often.
type Workloads = fn(u64, usize) -> Result<Vec<Line>, String>;

/// What the command line says.
struct Call {
    workloads: Workloads,
    json: bool,
    rows: u64,
    runs: usize,
}

const USAGE: &str = "usage: eciton-benches etl|tpch|open [--json] [--rows N] [--runs N]
       eciton-benches swarm|metrics|kills|scale|large [--json] [--shards N] [--runs N]
       eciton-benches engines [--items N] [--runs N] [--only NAMES] [--lines NAMES] [--json]
       eciton-benches cluster [--processes N,N] [--clients N] [--seconds N] [--runs N] [--json]

  etl      an aggregation over CSV into 10,000 groups, beside DataFusion alone
  tpch     two queries over lineitem of TPC-H, as CSV and as Parquet, beside DataFusion alone; an upsert of its rows
  open     opening a database of many records: time and memory
  swarm    what a shard costs in which nothing is to be done, beside Ray, Dask and HyperQueue in the Python that
           ECITON_PEERS_PYTHON names (benches/compare/python/swarm_requirements.txt)
  metrics  empty shards with and without metrics, and somebody who scrapes them every second
  kills    a job of shards of 50 ms over four workers of which two are killed and one is stopped, while Redis is
           flushed: the answer of an undisturbed run, and the time that is lost
  scale    shards of 50 ms of waiting, by 4 to 1,000 workers in four processes at one folder and one Redis
  large    a job of many shards: submitting and showing it, and the bytes that are kept of each
  engines  the storage engine beside others: `engines --help` tells its arguments
  cluster  many processes at one database, Redis between them: `cluster --help` tells its arguments

  --rows N   rows or records (default 1,000,000; tpch: 6,001,215, all of scale factor 1)
  --shards N (default 10,000; metrics: 50,000; kills: 3,000; scale: 200 a worker; large: 1,000,000)
  --runs N   runs of each, the median counts (default 5)
  --json     the last line on stdout is the result as JSON";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("engines") => return eciton_compare::main(args[1..].to_vec()),
        // What these start in turn is this very program.
        Some("cluster" | eciton_compare::CHILD | eciton_compare::cluster::CHILD) => {
            return eciton_compare::main(args);
        }
        Some("child") => return child::run(&args[1..]),
        _ => {}
    }
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let call = match parse(args) {
        Ok(call) => call,
        Err(message) => {
            eprintln!("error: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let lines = (call.workloads)(call.rows, call.runs);
    match lines {
        Ok(lines) => {
            show(&lines, call.json);
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: Vec<String>) -> Result<Call, String> {
    let mut args = args.into_iter();
    let name = args.next().ok_or("which workloads?")?;
    let workloads: Workloads = match name.as_str() {
        "etl" => etl::measure,
        "open" => open::measure,
        "tpch" => tpch::measure,
        "swarm" => swarm::measure,
        "metrics" => overhead::measure,
        "kills" => kills::measure,
        "scale" => scale::measure,
        "large" => large::measure,
        other => return Err(format!("no workloads `{other}`")),
    };
    let mut call = Call {
        workloads,
        json: false,
        rows: match name.as_str() {
            "swarm" => swarm::SHARDS,
            "metrics" => overhead::SHARDS,
            "kills" => kills::SHARDS,
            "scale" => scale::SHARDS,
            "large" => large::SHARDS,
            "tpch" => tpch::ROWS,
            _ => 1_000_000,
        },
        runs: 5,
    };
    while let Some(arg) = args.next() {
        let mut number = || -> Result<u64, String> {
            let value = args.next().ok_or(format!("{arg} takes a number"))?;
            let value = value.replace(['_', ','], "");
            value
                .parse()
                .ok()
                .filter(|n| *n > 0)
                .ok_or(format!("{arg}: `{value}` is no number above 0"))
        };
        match arg.as_str() {
            "--json" => call.json = true,
            "--rows" | "--shards" => call.rows = number()?,
            "--runs" => call.runs = usize::try_from(number()?).map_err(|e| e.to_string())?,
            _ => return Err(format!("unknown argument `{arg}`")),
        }
    }
    Ok(call)
}

fn show(lines: &[Line], json: bool) {
    eprintln!("{}", report::table(lines));
    if json {
        println!("{}", report::json(lines));
    }
}
