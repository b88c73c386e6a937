//! Whether anybody works on a job, as far as its sessions tell.

use eciton_engine::Db;

use crate::machine;
use crate::run::records::error::JobError;
use crate::run::records::ledger::Ledger;

/// What the database tells of those who work on a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// No process does.
    Nobody,
    /// A process of this machine does.
    Here,
    /// A process of another machine did lately, and may still.
    Elsewhere,
}

/// Looks who works on a job, by the sessions that processes keep while they run it. One that died leaves its session: of
/// this machine the system knows better.
///
/// # Errors
/// [`JobError::Damaged`] and [`JobError::Engine`].
pub async fn work(db: &Db, name: &str) -> Result<Work, JobError> {
    let Some(ledger) = Ledger::find(db).await? else {
        return Ok(Work::Nobody);
    };
    let mut found = Work::Nobody;
    for (_, session) in ledger.sessions(name).await? {
        let is_of_here = session.place != 0 && session.place == machine::place();
        match is_of_here {
            true if machine::began(session.pid) == Some(session.pid_start) => {
                return Ok(Work::Here);
            }
            true => {}
            false => found = Work::Elsewhere,
        }
    }
    Ok(found)
}
