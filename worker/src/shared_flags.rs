//! Flags and arguments that several commands share.

#![allow(clippy::doc_markdown, reason = "help is printed as it stands")]

use std::time::Duration;

use clap::Args;
use eciton_engine::Compression;

use crate::flags::interval;

#[derive(Debug, Args)]
pub(crate) struct Workers {
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024),
        help = "Worker tasks, 1 to 1024 [env: ECITON_WORKERS] [default: the number of cores]"
    )]
    pub(crate) workers: Option<u16>,
    #[arg(
        long,
        value_name = "TIME",
        value_parser = interval,
        help = "How long computed shards wait to be committed together. After a kill, at most this much work is repeated. 0s: commit each \
                shard by itself [env: ECITON_COMMIT_INTERVAL] [default: 500ms]"
    )]
    pub(crate) commit_interval: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Compressed {
    #[arg(
        long,
        value_name = "none|lz4|zstd",
        value_parser = compression,
        help = "How to compress pages: lz4 is fast, zstd is small \
                [env: ECITON_COMPRESSION] [default: lz4]"
    )]
    pub(crate) compression: Option<Compression>,
}

/// A compression by its name.
pub(crate) fn compression(text: &str) -> Result<Compression, String> {
    let named = |compression: &Compression| compression.name() == text;
    let found = Compression::ALL.into_iter().find(named);
    found.ok_or_else(|| "expected none, lz4 or zstd".to_owned())
}

/// A store and a key in it.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The store
    pub(crate) store: String,
    /// The key, as JSON
    #[arg(allow_negative_numbers = true)]
    pub(crate) key: String,
}
