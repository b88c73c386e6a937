//! What is stored for the programs of jobs: the files that they find, and what they wrote to their standard error.

use bytes::Bytes;
use eciton_engine::{Datum, Key, ScanRange, Transaction};
use eciton_proto::prost::Message;
use eciton_proto::v1::{CommandSpec, JobPhase, ProgramLog};
use futures::FutureExt;

use super::change::retry_on_conflict;
use super::error::{JobError, damaged};
use super::keys::{PROGRAM_FILE, PROGRAM_LOG, decode, key};
use super::ledger::Ledger;
use crate::command::limits::LOGS_KEPT_MAX;
use crate::spec::ProgramFile;

/// The key of the log of an attempt.
fn log_key(name: &str, shard: u64, attempt: u32) -> Result<Key, JobError> {
    let fields = [
        Datum::from(PROGRAM_LOG),
        Datum::from(name),
        Datum::from(shard),
        Datum::from(u64::from(attempt)),
    ];
    Ok(Key::from_datums(&fields)?)
}

impl Ledger {
    /// Writes the files that a job carries for its program, in the order of its specification.
    pub(crate) fn put_program_files(
        &self,
        tx: &mut Transaction,
        name: &str,
        files: &[ProgramFile],
    ) -> Result<(), JobError> {
        for (number, file) in (0_u64..).zip(files) {
            let key = key(PROGRAM_FILE, name, Some(number))?;
            tx.put(&self.store, &key, file.content.to_vec())?;
        }
        Ok(())
    }

    /// The files that a job carries for its program.
    ///
    /// # Errors
    /// [`JobError::Damaged`] where one is not the one that was recorded.
    pub(crate) async fn program_files(
        &self,
        name: &str,
        command: &CommandSpec,
    ) -> Result<Vec<ProgramFile>, JobError> {
        let snapshot = self.db.snapshot();
        let mut files = Vec::with_capacity(command.files.len());
        for (number, recorded) in (0_u64..).zip(&command.files) {
            let key = key(PROGRAM_FILE, name, Some(number))?;
            let what = || format!("the file `{}` of its program", recorded.name);
            let content = snapshot.get(&self.store, &key).await?;
            let content: Bytes = content.ok_or_else(|| damaged(name, &what(), "it is missing"))?;
            let file = ProgramFile {
                name: recorded.name.clone(),
                content,
                executable: recorded.executable,
            };
            if !file.is(recorded) {
                return Err(damaged(
                    name,
                    &what(),
                    "it is not the one that was recorded",
                ));
            }
            files.push(file);
        }
        Ok(files)
    }

    /// Writes the log of an attempt, and forgets that of one long before.
    pub(crate) fn put_log(
        &self,
        tx: &mut Transaction,
        name: &str,
        log: &ProgramLog,
    ) -> Result<(), JobError> {
        assert!(
            log.attempt > 0,
            "attempts at shard {} count from 1",
            log.shard
        );
        let key = log_key(name, log.shard, log.attempt)?;
        tx.blind_put(&self.store, &key, log.encode_to_vec())?;
        if let Some(old) = log
            .attempt
            .checked_sub(LOGS_KEPT_MAX)
            .filter(|old| *old > 0)
        {
            let key = log_key(name, log.shard, old)?;
            tx.delete(&self.store, &key)?;
        }
        Ok(())
    }

    /// Stores the log of an attempt by itself, unless the job has ended or is another one by now.
    pub(crate) async fn save_log(
        &self,
        name: &str,
        job_number: u64,
        log: &ProgramLog,
    ) -> Result<(), JobError> {
        retry_on_conflict(|| self.save_log_once(name, job_number, log).boxed()).await
    }

    async fn save_log_once(
        &self,
        name: &str,
        job_number: u64,
        log: &ProgramLog,
    ) -> Result<Option<()>, JobError> {
        let mut tx = self.db.begin();
        let state = self.job_state(&mut tx, name).await?;
        let is_open = state.is_some_and(|state| {
            state.number == job_number && state.phase() != JobPhase::Cancelled
        });
        if is_open {
            self.put_log(&mut tx, name, log)?;
            tx.commit().await?;
        }
        Ok(Some(()))
    }

    /// The logs of a job's programs, by shard and attempt: of one shard, or of all, as they stand at one moment, while
    /// `visit` wants more.
    pub(crate) async fn each_log(
        &self,
        name: &str,
        shard: Option<u64>,
        mut visit: impl FnMut(ProgramLog) -> bool,
    ) -> Result<(), JobError> {
        let mut fields = vec![Datum::from(PROGRAM_LOG), Datum::from(name)];
        fields.extend(shard.map(Datum::from));
        let range = ScanRange::prefix(Key::from_datums(&fields)?);
        let mut scan = self.db.snapshot().scan(&self.store, &range);
        while let Some(record) = scan.next().await? {
            let log = decode::<ProgramLog>(name, PROGRAM_LOG, &record.value)?;
            if !visit(log) {
                break;
            }
        }
        Ok(())
    }
}
