//! Flags for whoever operates workers: how they log, and whether one is ready.

use clap::{Args, ValueEnum};

pub(crate) const HEALTH_EXAMPLES: &str = "\
Examples:
  eciton health
  eciton health 127.0.0.1:9100 --alive

For the health check of a container, and for scripts. The worker must serve metrics (--metrics).
Exit code 0: it is ready; 1: it is not, and the message says why.";

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Logging {
    #[arg(
        long,
        value_name = "text|json",
        hide_possible_values = true,
        help = "How log lines are written to stderr: text for people, or one JSON object per event \
                [env: ECITON_LOG_FORMAT] [default: text]"
    )]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct Health {
    #[arg(
        value_name = "ADDR",
        help = "The address of --metrics of the worker, such as 127.0.0.1:9100 [env: ECITON_METRICS]"
    )]
    pub(crate) address: Option<std::net::SocketAddr>,
    /// Ask only whether the process is alive, not whether it is ready
    #[arg(long)]
    pub(crate) alive: bool,
}
