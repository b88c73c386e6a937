//! Flags about the programs of jobs: whether they run here, where, and what they wrote.

use std::path::PathBuf;

use clap::Args;
use eciton_jobs::spec::parse_resources;
use eciton_proto::v1::Resource;

/// Where programs of jobs work.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Scratch {
    #[arg(
        long,
        value_name = "DIR",
        help = "Folder of this machine for the working folders of programs (`[command]`). Each is removed when its shard \
                has ended [env: ECITON_SCRATCH] [default: a folder below the system's folder for temporary files]"
    )]
    pub(crate) scratch: Option<PathBuf>,
}

/// Whether programs of jobs run here.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Commands {
    /// Run the programs of jobs (`[command]`), and accept jobs over gRPC that have one. Without it, their shards are left to other workers
    #[arg(long = "allow-commands")]
    pub(crate) allowed: bool,
    #[command(flatten)]
    pub(crate) scratch: Scratch,
    #[arg(
        long,
        value_name = "NAME=N,...",
        value_parser = resources,
        help = "What this worker has for jobs with [run.needs], such as gpu=1,licenses=4. Jobs that need more are left to \
                other workers"
    )]
    pub(crate) resources: Option<NamedResources>,
}

/// What a worker has.
#[derive(Clone, Debug, Default)]
pub(crate) struct NamedResources(pub(crate) Vec<Resource>);

fn resources(text: &str) -> Result<NamedResources, String> {
    parse_resources(text).map(NamedResources)
}

impl std::fmt::Display for NamedResources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.0.iter();
        let all: Vec<String> = all
            .map(|one| format!("{}={}", one.name, one.amount))
            .collect();
        f.write_str(&all.join(","))
    }
}

pub(crate) const LOGS_EXAMPLES: &str = "\
Examples:
  eciton job logs simulate --db ./db
  eciton job logs simulate --db ./db --shard 17
  eciton job logs simulate --db ./db --shard 17 --attempt 2 --json
  eciton job logs simulate --db ./db --follow

Only jobs with [command] have logs. Of each attempt, the last 64 KiB are kept, and less if a job has more than 4,096
shards; of each shard, the last 8 attempts. While a program runs, its output appears here within about a second.

With --json, each attempt is a line: shard, attempt, state (running, ended), started_at_ms, ended_at_ms, exit_code, signal,
error, stderr, stderr_bytes (in total) and worker. With --follow, an attempt is printed again whenever it has changed.";

/// `job logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The name of the job
    pub(crate) job: String,
    /// Only this shard
    #[arg(long, value_name = "N")]
    pub(crate) shard: Option<u64>,
    /// Only this attempt, from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempt: Option<u32>,
    /// Print what is added until the job has ended
    #[arg(long)]
    pub(crate) follow: bool,
}
