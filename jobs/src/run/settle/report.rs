//! How a run ended.

use eciton_proto::v1::JobPhase;

use crate::run::records::status::JobStatus;

/// Why a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every shard is done.
    Done,
    /// Every shard has ended, at least one has failed.
    Failed,
    /// The job was cancelled.
    Cancelled,
    /// It was [asked to stop](crate::run::CancellationToken). What is not done yet goes on with the next run.
    Stopped,
}

impl End {
    /// How a job in this phase has ended; `None` if it has not.
    pub(crate) fn of(phase: JobPhase) -> Option<End> {
        match phase {
            JobPhase::Unspecified | JobPhase::Pending | JobPhase::Running => None,
            JobPhase::Done => Some(End::Done),
            JobPhase::Failed => Some(End::Failed),
            JobPhase::Cancelled => Some(End::Cancelled),
        }
    }

    /// The end as a word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            End::Done => "done",
            End::Failed => "failed",
            End::Cancelled => "cancelled",
            End::Stopped => "stopped",
        }
    }

    /// How a program that ran the job to this end exits: 0, 1, or 130 after it was asked to stop.
    pub fn exit_code(self) -> u8 {
        match self {
            End::Done => 0,
            End::Failed | End::Cancelled => 1,
            End::Stopped => 130,
        }
    }
}

/// How a run ended, and how the job stands.
#[derive(Clone, Debug)]
pub struct JobReport {
    /// Why it came to its end.
    pub end: End,
    /// The job had ended before: this run changed nothing.
    pub had_ended: bool,
    /// How the job stands.
    pub status: JobStatus,
}
