//! Flags of the commands of `eciton db`.

#![allow(clippy::doc_markdown, reason = "help is printed as it stands")]

use std::path::PathBuf;

use clap::Subcommand;

use crate::shared_flags::Compressed;

pub(crate) const DB_EXAMPLES: &str = "\
Examples:
  eciton db init --db ./db
  eciton db info --db ./db
  eciton db verify --db ./db

For a database in a bucket, credentials and endpoint come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_ENDPOINT_URL, and AWS_ALLOW_HTTP=true for an endpoint that begins with http://. The metadata service of the machine is
used only with ECITON_INSTANCE_CREDENTIALS=true.";

#[derive(Debug, Subcommand)]
pub(crate) enum Db {
    /// Create a database; an existing one is left unchanged
    #[command(after_help = "Examples:\n  eciton db init --db ./db")]
    Init,
    /// Describe a database
    #[command(after_help = "Examples:\n  eciton db info --db ./db --json")]
    Info,
    /// Read all objects, check every checksum, and name each broken object (exit code 1)
    #[command(after_help = "Examples:\n  eciton db verify --db ./db --json\n  \
                      eciton db verify --backups ./backups")]
    Verify {
        /// Verify a folder of backups instead of the database
        #[arg(long, value_name = "FOLDER")]
        backups: Option<PathBuf>,
    },
    /// Read everything on both storage paths, and restore damaged or missing objects from the other path
    #[command(
        after_help = "Works beside running workers. Each object is verified by its checksum. The command prints each restored object. \
                      An object that is damaged or missing on both paths cannot be restored (exit code 1).\n\nExamples:\n  \
                      eciton db scrub --db ./db --standby /mnt/standby\n  \
                      eciton db scrub --bandwidth 50MiB --json --db ./db --standby /mnt/standby"
    )]
    Scrub {
        /// Read at most this much per second, for example 50MiB [default: no limit]
        #[arg(long, value_name = "SIZE", value_parser = size)]
        bandwidth: Option<u64>,
    },
    /// Rewrite the database as one sorted run, and free the space of deleted records and dropped stores
    #[command(after_help = "Examples:\n  eciton db compact --db ./db\n  \
                      eciton db compact --compression zstd --db ./db")]
    Compact {
        #[command(flatten)]
        compressed: Compressed,
    },
    /// Add an incremental backup to a folder of backups
    #[command(
        after_help = "Works beside a running writer. Objects that the folder already has are not copied again. An interrupted \
                      backup does not count; the next one reuses what it copied.\n\nEvery finished backup can be restored: the \
                      command reads the parts of the log that the backup needs, checks that the runs of earlier backups exist, \
                      and copies damaged or missing objects again. With --full, it reads every byte of every backup in the \
                      folder, and names damaged objects that the database no longer has (exit code 1).\n\nExamples:\n  eciton db backup ./backups --db ./db\n  \
                      eciton db backup ./backups --full --db ./db"
    )]
    Backup {
        /// The folder of backups; the first backup creates it
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// Read every byte of every backup in the folder, and copy damaged or missing objects again
        #[arg(long)]
        full: bool,
    },
    /// Restore a new database from a backup: the newest one, or the state at a position
    #[command(
        after_help = "The new database has an id of its own. If a restore is interrupted, the same command starts it again. If the \
                      newest backup is damaged or missing, no other backup is used instead: the message says which position can be \
                      restored.\n\n\
                      Examples:\n  eciton db restore ./backups --db ./restored\n  \
                      eciton db restore ./backups --position 4711 --db ./restored"
    )]
    Restore {
        /// The folder of backups
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// A log position that the backups cover
        #[arg(long, value_name = "N")]
        position: Option<u64>,
    },
    /// Bring a storage path of a mirrored database back after a failover
    #[command(
        after_help = "Copies the whole database from the storage path that is left, checks every object, and then begins a \
                      generation that stands on both paths. Readers and writers go on meanwhile. If it is interrupted, the same \
                      command goes on.\n\n\
                      PATH may be the place that failed: once it is repaired, processes that run with the same --db and \
                      --standby use it again without a restart. A process that was not told of PATH stops writing until it is \
                      started with PATH as --db or --standby.\n\nExamples:\n  \
                      eciton db reinstate ./a --replace --db ./a --standby ./b\n  \
                      eciton db reinstate /mnt/new --db ./a --standby ./b"
    )]
    Reinstate {
        /// The place of the path: new, empty, or the repaired one
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Delete what the database had at PATH before it left it
        #[arg(long)]
        replace: bool,
    },
    /// Go on without a storage path that is gone for good
    #[command(
        after_help = "A process leaves a failing path by itself. It does not leave a path that is empty or not there when the \
                      database is opened, because that may be a typing error or a missing mount, and it never leaves the passive \
                      path. If you know that such a path is gone for good, say so with this command.\n\n\
                      At risk: commits that only the lost path holds. If it was the active path, every acknowledged commit \
                      stands on the other one. If it was the passive path, other processes may have left the active path and gone \
                      on there; their commits are lost. Never give up a path that any process can still reach.\n\nExamples:\n  \
                      eciton db seal --lost ./a --db ./a --standby ./b"
    )]
    Seal {
        /// The storage path that is gone: the value of --db or of --standby
        #[arg(long, value_name = "PATH")]
        lost: PathBuf,
    },
    /// Write a compact read-only copy for distribution, which can be opened on any medium
    #[command(after_help = "Works beside a running writer.\n\nExamples:\n  \
                      eciton db publish ./published --db ./db\n  \
                      eciton db publish ./published --compression zstd --db ./db\n  \
                      eciton scan flights --db ./published")]
    Publish {
        /// The new folder
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        #[command(flatten)]
        compressed: Compressed,
    },
}

/// A number of bytes, as in `50MiB`.
fn size(text: &str) -> Result<u64, String> {
    let size = eciton_jobs::spec::parse_size(text).filter(|size| *size > 0);
    size.ok_or_else(|| "expected a size like 512KiB or 50MiB".to_owned())
}
