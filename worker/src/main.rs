//! The program `eciton`: runs jobs, and reads and writes the databases they fill.
//!
//! | module | is |
//! |---|---|
//! | `cli`, `flags`, `data_flags`, `swarm_flags` | every command and flag, with its help |
//! | `settings` | where a setting comes from: flags, environment, `eciton.toml` |
//! | `commands` | what each command does |
//! | `database`, `job` | opening a database; jobs as the commands see them |
//! | `credentials`, `reachable` | what a bucket needs before it is asked for anything |
//! | `keys`, `values` | keys and values between the command line and the engine |
//! | `peer` | serving gRPC: jobs of the whole database, told and changed through any worker |
//! | `remote` | asking a worker over gRPC |
//! | `look`, `scene` | the whole swarm at a moment, and how it is told |
//! | `local` | a swarm on this machine: processes that are started again, and end with this one |
//! | `metrics`, `series`, `scrape` | what Prometheus reads of a worker, how long, and who may |
//! | `roots` | below which folders jobs are read that come over gRPC |
//! | `reload` | reading tokens and certificates again |
//! | `output`, `table`, `words`, `progress`, `quiet`, `pace`, `logs` | what people and programs read |
//! | `keyboard` | keys that are pressed while something is shown |
//! | `signals` | SIGINT, SIGTERM and SIGHUP |
//! | `closed`, `owner` | whether anybody reads what is printed; to whom a folder belongs |
//! | `failure` | why a command failed, and the exit code that says so |
//!
//! Exit codes: 0 done, 1 the work failed, 2 the call was wrong, 3 the database is locked, 130 ended by
//! a signal after draining.

mod cli;
mod closed;
mod commands;
mod credentials;
mod data_flags;
mod database;
mod export_flags;
mod failure;
mod flags;
mod heard;
mod job;
mod keyboard;
mod keys;
mod local;
mod logs;
mod look;
mod metrics;
mod output;
mod owner;
mod pace;
mod peer;
mod progress;
mod quiet;
mod reachable;
mod reload;
mod remote;
mod roots;
mod scene;
mod scrape;
mod series;
mod settings;
mod signals;
mod staged;
mod swarm_flags;
mod table;
mod values;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    let call = match cli::parse() {
        Ok(call) => call,
        Err(code) => return code,
    };
    quiet::set(call.global.quiet);
    // A worker has no other way to tell what it does.
    logs::start(matches!(call.command, cli::Command::Worker(_)));
    let json = call.global.json;
    match commands::dispatch(call) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.conclude(json),
    }
}
