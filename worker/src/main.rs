//! The program `eciton`: runs jobs, and reads and writes the databases they fill.
//!
//! Modules import only from lower ranks:
//!
//! | rank | module | is |
//! |---|---|---|
//! | 12 | `commands` | what each command does |
//! | 11 | `render` | how a view of a swarm is told: a screen, or a line of JSON |
//! | 10 | `view` | one picture of the whole swarm: its jobs and workers |
//! | 9 | `job_gauges` | metrics of how far jobs are |
//! | 9 | `presence` | the workers that were heard of lately |
//! | 8 | `peer` | serving gRPC: jobs of the whole database, told and changed through any worker |
//! | 7 | `metrics` | what Prometheus reads of a worker |
//! | 6 | `scrape` | answering Prometheus, and whom |
//! | 5 | `access` | who may call what: tokens with roles |
//! | 5 | `database` | opening a database |
//! | 5 | `local` | a swarm on this machine: processes that are started again, and end with this one |
//! | 5 | `remote` | asking a worker over gRPC |
//! | 5 | `table` | tables for people |
//! | 4 | `output` | what commands print |
//! | 4 | `reload` | reading tokens and certificates again |
//! | 4 | `settings` | where a setting comes from: flags, environment, `eciton.toml` |
//! | 3 | `cli` | every command, with its help |
//! | 3 | `roots` | below which folders jobs are read that come over gRPC |
//! | 3 | `signals` | SIGINT, SIGTERM and SIGHUP |
//! | 3 | `values` | values between the command line and the engine |
//! | 2 | `failure` | why a command failed, and the exit code that says so |
//! | 2 | `progress` | what is shown while a job runs |
//! | 2 | `db_flags`, `export_flags`, `job_flags`, `stream_flags` | flags of the commands of one noun |
//! | 1 | `shared_flags` | flags that several commands share |
//! | 1 | `job` | jobs as the commands see them |
//! | 1 | `logs` | logs |
//! | 3 | `otlp` | sending spans to a collector |
//! | 1 | `swarm_flags` | flags of the commands about swarms |
//! | 0 | `closed`, `owner` | whether anybody reads what is printed; to whom a folder belongs |
//! | 0 | `reachable` | what a bucket needs before it is asked for anything |
//! | 0 | `command_flags` | flags about the programs of jobs |
//! | 0 | `data_flags`, `flags` | flags of several commands |
//! | 0 | `health` | whether a worker is ready |
//! | 0 | `job_log` | lines of the log about a job |
//! | 0 | `json_lines` | the log as JSON, a line an event |
//! | 0 | `keyboard`, `keys`, `quiet`, `words` | keys that are pressed; keys; `--quiet`; words |
//! | 0 | `ops_flags` | flags of health checks and logs |
//! | 0 | `process_name` | what this process is called among others |
//! | 0 | `series` | how long the series of a job are kept |
//! | 0 | `scrubbing` | damage of storage paths, restored in the background |
//! | 0 | `space` | metrics of the space that is left |
//! | 0 | `staged` | files that appear whole or not at all |
//! | 0 | `statuses` | errors as gRPC tells them |
//! | 0 | `trace_flags` | flags about traces |
//! | 0 | `throughput` | how quickly a job goes, and when it will have ended |
//!
//! Exit codes: 0 done, 1 the work failed, 2 the call was wrong, 3 the database is locked, 130 ended by
//! a signal after draining.

mod access;
mod cli;
mod closed;
mod command_flags;
mod commands;
mod data_flags;
mod database;
mod db_flags;
mod export_flags;
mod failure;
mod flags;
mod health;
mod job;
mod job_flags;
mod job_gauges;
mod job_log;
mod json_lines;
mod keyboard;
mod keys;
mod local;
mod logs;
mod metrics;
mod ops_flags;
mod otlp;
mod output;
mod owner;
mod peer;
mod presence;
mod process_name;
mod progress;
mod quiet;
mod reachable;
mod reload;
mod remote;
mod render;
mod roots;
mod scrape;
mod scrubbing;
mod series;
mod settings;
mod shared_flags;
mod signals;
mod space;
mod staged;
mod statuses;
mod stream_flags;
mod swarm_flags;
mod table;
mod throughput;
mod trace_flags;
mod values;
mod view;
mod words;

use std::process::ExitCode;

use ops_flags::LogFormat;
use otlp::Sending;

fn main() -> ExitCode {
    let call = match cli::parse() {
        Ok(call) => call,
        Err(code) => return code,
    };
    quiet::set(call.global.quiet);
    let json = call.global.json;
    let format = match &call.command {
        cli::Command::Worker(args) => settings::log_format(&args.logging),
        _ => Ok(LogFormat::Text),
    };
    // A worker has no other way to tell what it does.
    let telling = matches!(call.command, cli::Command::Worker(_));
    let collector = match &call.command {
        cli::Command::Worker(args) => settings::otlp(&args.tracing),
        cli::Command::Run(args) => settings::otlp(&args.tracing),
        _ => None,
    };
    let sending = collector.as_deref().map(Sending::start).transpose();
    let sending = match (format, sending) {
        (Ok(format), Ok(sending)) => {
            logs::start(telling, format, sending.as_ref().map(Sending::sink));
            sending
        }
        (Err(failure), _) | (_, Err(failure)) => return failure.conclude(json),
    };
    let done = commands::dispatch(call);
    if let Some(sending) = sending {
        sending.end();
    }
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.conclude(json),
    }
}
