//! A file that is not there, cannot be opened or is another one: here only, or for all?
//!
//! Where several processes work on a job, one of them may lack its files, or have a stale copy: a mount that is not there
//! yet. That is no failure of the shard. The process gives the shard back, without an attempt being counted, and asks
//! the others in a record of the job. Whoever works on the job and sees one of the files as it was recorded answers. After
//! an answer the process is quarantined for this job, and for no other, and looks at the file again from time to time. If
//! nobody answers within [`ANSWER_WITHIN`], the file is so for all, and the shards of it fail.
//!
//! Questions and answers go through the database and need neither Redis nor clocks that agree. A process alone has nobody
//! to ask: its shards fail at once.

use std::time::{Duration, Instant};

use eciton_proto::v1::SourceDoubt;
use futures::FutureExt;

use super::context::{Ending, RunContext};
use super::doubts::{DoubtPhase, Doubted};
use crate::run::records::change::retry_on_conflict;
use crate::run::records::error::JobError;
use crate::run::settle::observer::Event;
use crate::run::settle::report::End;
use crate::source::{Shard, probe};

/// How long others have to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody has.
const LOOKS_APART: Duration = Duration::from_millis(250);
/// How long the absence of an answer holds.
const NOBODY_FOR: Duration = Duration::from_mins(1);
/// How long a process is quarantined for a job, at first and at most; each time twice as long.
const QUARANTINE_MIN: Duration = Duration::from_secs(1);
const QUARANTINE_MAX: Duration = Duration::from_mins(1);
/// Files that one question names.
const FILES_MAX: usize = 4096;

impl RunContext {
    /// An attempt at a shard failed since its file is not fine here. Blocks.
    pub(crate) fn doubt(&self, shard: Shard, why: &str) -> Doubted {
        if !self.job.ledger.db.is_shared() {
            return Doubted::Counts { transient: false };
        }
        {
            let mut state = self.doubts.state.lock();
            let seen_by_nobody = state.nobody_sees.get(&shard.file);
            if seen_by_nobody.is_some_and(|since| since.elapsed() < NOBODY_FOR) {
                return Doubted::Counts { transient: false };
            }
            if state.is_back {
                // What was looked at is fine, and what is read is not: this is not about this place alone.
                state.is_back = false;
                return Doubted::Counts { transient: true };
            }
            if !matches!(state.now, DoubtPhase::Fine) {
                return Doubted::GivenBack;
            }
        }
        let mut files = self.faulty();
        if !files.contains(&shard.file) {
            files.insert(0, shard.file);
        }
        let count = files.len();
        assert!(
            files.contains(&shard.file),
            "file {} of {count}",
            shard.file
        );
        let mut state = self.doubts.state.lock();
        if matches!(state.now, DoubtPhase::Fine) {
            state.now = DoubtPhase::Asking {
                files,
                why: why.to_owned(),
                since: None,
            };
        }
        Doubted::GivenBack
    }

    /// The files of the job that are not fine here. Blocks.
    fn faulty(&self) -> Vec<u32> {
        let files = self.job.pipeline.source.files();
        let numbered = (0_u32..).zip(files);
        let faulty = numbered.filter(|(_, file)| probe(file).is_err());
        faulty.map(|(number, _)| number).collect()
    }

    /// Whether one of some files is fine here; `true` of none. Blocks.
    fn sees(&self, files: &[u32], all: bool) -> bool {
        let known = self.job.pipeline.source.files();
        let mut fine = files.iter().map(|number| {
            let file = known.get(*number as usize);
            file.is_some_and(|file| probe(file).is_ok())
        });
        match all {
            true => fine.all(|fine| fine),
            false => fine.any(|fine| fine),
        }
    }

    /// Goes on with what this process doubts. Gives for how long it takes no shard of the job, if it takes none. Blocks.
    ///
    /// # Errors
    /// What the database refuses.
    pub(crate) fn undoubt(&self) -> Result<Option<Duration>, Ending> {
        if self.doubts.is_fine() {
            return Ok(None);
        }
        let Some(_asking) = self.doubts.asking.try_lock() else {
            return Ok(Some(LOOKS_APART));
        };
        let now = self.doubts.state.lock().now.clone();
        match now {
            DoubtPhase::Fine => Ok(None),
            DoubtPhase::Asking {
                files,
                why,
                since: None,
            } => {
                self.ask(&files)?;
                tracing::debug!(
                    job = self.job.name,
                    error = why,
                    "asked whether others see it"
                );
                self.doubts.state.lock().now = DoubtPhase::Asking {
                    files,
                    why,
                    since: Some(Instant::now()),
                };
                Ok(Some(LOOKS_APART))
            }
            DoubtPhase::Asking {
                files,
                why,
                since: Some(since),
            } => self.await_answer(files, &why, since),
            DoubtPhase::Quarantined { files, until } => self.stay_quarantined(files, until),
        }
    }

    fn await_answer(
        &self,
        files: Vec<u32>,
        why: &str,
        since: Instant,
    ) -> Result<Option<Duration>, Ending> {
        if self.sees(&files, true) {
            return Ok(self.back());
        }
        if self.runtime.block_on(self.is_answered())? {
            let mut state = self.doubts.state.lock();
            state.pause = (state.pause * 2).clamp(QUARANTINE_MIN, QUARANTINE_MAX);
            let pause = state.pause;
            state.now = DoubtPhase::Quarantined {
                files,
                until: Instant::now() + pause,
            };
            drop(state);
            tracing::warn!(
                job = self.job.name,
                seconds = pause.as_secs(),
                error = why,
                "its files are not here as others see them; this process takes no shard of it for a while"
            );
            self.observer
                .observe(&Event::SourceMissing { pause, error: why });
            return Ok(Some(LOOKS_APART));
        }
        if since.elapsed() < ANSWER_WITHIN {
            return Ok(Some(LOOKS_APART));
        }
        tracing::warn!(
            job = self.job.name,
            error = why,
            "nobody else sees its files as they were recorded either"
        );
        let mut state = self.doubts.state.lock();
        let now = Instant::now();
        state.nobody_sees = files.into_iter().map(|file| (file, now)).collect();
        state.now = DoubtPhase::Fine;
        drop(state);
        self.observer.observe(&Event::SourceBack);
        Ok(None)
    }

    fn stay_quarantined(
        &self,
        files: Vec<u32>,
        until: Instant,
    ) -> Result<Option<Duration>, Ending> {
        if self.runtime.block_on(self.has_ended())? {
            // Whoever asks for a shard now finds that there is none.
            self.doubts.state.lock().now = DoubtPhase::Fine;
            self.observer.observe(&Event::SourceBack);
            return Ok(None);
        }
        let left = until.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            return Ok(Some(left));
        }
        let known = self.job.pipeline.source.files();
        let first = files.iter().find_map(|number| {
            let file = known.get(*number as usize)?;
            probe(file).err()
        });
        match first {
            None => Ok(self.back()),
            Some(error) => {
                self.doubts.state.lock().now = DoubtPhase::Asking {
                    files,
                    why: error.to_string(),
                    since: None,
                };
                Ok(Some(Duration::ZERO))
            }
        }
    }

    /// The files are fine again.
    fn back(&self) -> Option<Duration> {
        let mut state = self.doubts.state.lock();
        let (question, pause) = (state.question, state.pause);
        assert!(
            !matches!(state.now, DoubtPhase::Fine),
            "nothing was doubted after question {question}"
        );
        assert!(pause <= QUARANTINE_MAX, "quarantined for {pause:?}");
        state.now = DoubtPhase::Fine;
        state.is_back = true;
        drop(state);
        tracing::info!(
            job = self.job.name,
            "its files are here as they were recorded"
        );
        self.observer.observe(&Event::SourceBack);
        None
    }

    fn ask(&self, files: &[u32]) -> Result<(), JobError> {
        let question = {
            let mut state = self.doubts.state.lock();
            state.question += 1;
            state.question
        };
        assert!(question > 0, "the first question is 1");
        assert!(!files.is_empty(), "question {question} is about no file");
        let doubt = SourceDoubt {
            files: files.iter().copied().take(FILES_MAX).collect(),
            question,
            answered: 0,
        };
        let asked = retry_on_conflict(|| {
            async {
                let mut tx = self.job.ledger.db.begin();
                self.job
                    .ledger
                    .put_doubt(&mut tx, &self.job.name, self.doubts.id, &doubt)?;
                tx.commit().await?;
                Ok(Some(()))
            }
            .boxed()
        });
        self.runtime.block_on(asked)
    }

    async fn is_answered(&self) -> Result<bool, JobError> {
        self.job.ledger.db.catch_up().await?;
        let question = self.doubts.state.lock().question;
        let all = self.job.ledger.doubts(&self.job.name).await?;
        let own = all.into_iter().find(|(id, _)| *id == self.doubts.id);
        Ok(own.is_some_and(|(_, doubt)| doubt.answered >= question))
    }

    async fn has_ended(&self) -> Result<bool, JobError> {
        self.job.ledger.db.catch_up().await?;
        let state = self.job.ledger.state_now(&self.job.name).await?;
        Ok(state.is_none_or(|state| End::of(state.phase()).is_some()))
    }

    /// Answers what others ask about files that are fine here.
    ///
    /// # Errors
    /// What the database refuses.
    pub(crate) async fn answer(self: &std::sync::Arc<Self>) -> Result<(), JobError> {
        if !self.job.ledger.db.is_shared() || self.stop.is_cancelled() || !self.doubts.is_fine() {
            return Ok(());
        }
        for (id, doubt) in self.job.ledger.doubts(&self.job.name).await? {
            if id == self.doubts.id || doubt.answered >= doubt.question {
                continue;
            }
            let context = std::sync::Arc::clone(self);
            let files = doubt.files.clone();
            let sees = tokio::task::spawn_blocking(move || context.sees(&files, false)).await;
            if !sees.map_err(|error| JobError::Worker(error.to_string()))? {
                continue;
            }
            retry_on_conflict(|| self.answer_one(id, doubt.question).boxed()).await?;
        }
        Ok(())
    }

    async fn answer_one(&self, id: u64, question: u64) -> Result<Option<()>, JobError> {
        let mut tx = self.job.ledger.db.begin();
        let found = self.job.ledger.doubt(&mut tx, &self.job.name, id).await?;
        if let Some(mut doubt) = found
            && doubt.question == question
            && doubt.answered < question
        {
            doubt.answered = question;
            self.job
                .ledger
                .put_doubt(&mut tx, &self.job.name, id, &doubt)?;
            tx.commit().await?;
        }
        Ok(Some(()))
    }

    /// Takes away what this process has asked: it works on the job no more.
    ///
    /// # Errors
    /// What the database refuses.
    pub(crate) async fn withdraw_doubt(&self) -> Result<(), JobError> {
        if self.doubts.state.lock().question == 0 {
            return Ok(());
        }
        retry_on_conflict(|| {
            async {
                let mut tx = self.job.ledger.db.begin();
                self.job
                    .ledger
                    .remove_doubt(&mut tx, &self.job.name, self.doubts.id)?;
                tx.commit().await?;
                Ok(Some(()))
            }
            .boxed()
        })
        .await
    }
}
