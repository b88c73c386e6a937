//! Flags about traces.

use clap::Args;

#[derive(Debug, Default, Args)]
pub(crate) struct Tracing {
    #[arg(
        long,
        value_name = "URL",
        help = "Send spans of jobs, shards and commits to this collector, by OTLP over gRPC, such as http://127.0.0.1:4317. \
                Requires a program that was built with the feature `otlp` [env: ECITON_OTLP]"
    )]
    pub(crate) otlp: Option<String>,
}
