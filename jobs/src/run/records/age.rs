//! How long a job has been open.
//!
//! Machines' clocks may differ by days, so that no time that one has written says anything to another. What they agree
//! on is how long something takes: each process measures, by its monotonic clock, for how long it has had the job open,
//! from what others have recorded so far on, and records that from time to time. What is recorded never falls behind by
//! more than the time between two records, and never runs ahead of the time that has gone by. Time in which nobody had the
//! job open does not count.

use std::time::{Duration, Instant};

use eciton_engine::Transaction;
use eciton_proto::prost::Message;
use eciton_proto::v1::{JobAge, JobState};
use parking_lot::Mutex;

use super::clock::now_ms;
use super::error::JobError;
use super::keys::{AGE, decode, key};
use super::ledger::Ledger;
use crate::machine;

/// Time between two records, at most, where a deadline rests on them.
const RECORDS_APART: Duration = Duration::from_secs(5);
/// Parts of a deadline after each of which the age is recorded.
const RECORDS_A_DEADLINE: u32 = 20;
/// Time between two records, at least.
const RECORDS_APART_MIN: Duration = Duration::from_millis(250);

impl Ledger {
    /// What is recorded of a job's age; nothing of an earlier job of its name, or from before its last retry.
    pub(crate) async fn age(&self, name: &str, state: &JobState) -> Result<JobAge, JobError> {
        let found = self
            .db
            .snapshot()
            .get(&self.store, &key(AGE, name, None)?)
            .await?;
        let age: Option<JobAge> = found.map(|bytes| decode(name, AGE, &bytes)).transpose()?;
        let is_its_own = |age: &JobAge| (age.number, age.retries) == (state.number, state.retries);
        Ok(age.filter(is_its_own).unwrap_or_else(|| JobAge {
            number: state.number,
            retries: state.retries,
            ..JobAge::default()
        }))
    }

    /// Records a job's age.
    pub(crate) fn put_age(
        &self,
        tx: &mut Transaction,
        name: &str,
        age: &JobAge,
    ) -> Result<(), JobError> {
        Ok(tx.put(&self.store, &key(AGE, name, None)?, age.encode_to_vec())?)
    }
}

/// The age of a job, as this process measures it.
pub(crate) struct Age {
    /// What was recorded, and when it was read: grows from there on.
    known: Mutex<(JobAge, Instant)>,
    /// Whether this process works on it, and does not only have it open.
    works: bool,
    recorded: Mutex<Instant>,
    records_apart: Option<Duration>,
}

impl Age {
    /// Of a job whose record says `recorded`, from now on. It is recorded as often as the deadline needs.
    pub(crate) fn new(recorded: JobAge, works: bool, deadline_ms: u64) -> Age {
        let part = Duration::from_millis(deadline_ms) / RECORDS_A_DEADLINE;
        Age {
            known: Mutex::new((recorded, Instant::now())),
            works,
            recorded: Mutex::new(Instant::now()),
            records_apart: (deadline_ms > 0).then(|| part.clamp(RECORDS_APART_MIN, RECORDS_APART)),
        }
    }

    /// Now.
    pub(crate) fn now(&self) -> JobAge {
        let (mut age, since) = *self.known.lock();
        let since = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        age.open_ms = age.open_ms.saturating_add(since);
        if self.works {
            age.run_ms = age.run_ms.saturating_add(since);
        }
        assert!(
            age.open_ms >= since,
            "open for {} ms, {since} ms of which were measured here",
            age.open_ms
        );
        age
    }

    /// Takes notice of what is recorded by now: others may have had it open for longer.
    pub(crate) fn hear(&self, recorded: &JobAge) {
        let now = self.now();
        let mut known = self.known.lock();
        if (recorded.number, recorded.retries) == (now.number, now.retries) {
            let age = JobAge {
                // Another task may have heard of more since `now` was taken.
                open_ms: now.open_ms.max(recorded.open_ms).max(known.0.open_ms),
                run_ms: now.run_ms.max(recorded.run_ms).max(known.0.run_ms),
                ..now
            };
            assert!(
                age.open_ms >= known.0.open_ms && age.run_ms >= known.0.run_ms,
                "{age:?} is younger than {:?}",
                known.0
            );
            *known = (age, Instant::now());
        }
    }

    /// Whether the job has a deadline.
    pub(crate) fn has_deadline(&self) -> bool {
        self.records_apart.is_some()
    }

    /// Whether a job has been open for as long as it may be; 0: it has no deadline.
    pub(crate) fn is_late(&self, deadline_ms: u64) -> bool {
        deadline_ms > 0 && self.now().open_ms >= deadline_ms
    }

    /// Whether it is to be recorded now, for the deadline's sake.
    pub(crate) fn is_due(&self) -> bool {
        let mut recorded = self.recorded.lock();
        let is_due = self
            .records_apart
            .is_some_and(|apart| recorded.elapsed() >= apart);
        if is_due {
            *recorded = Instant::now();
        }
        is_due
    }
}

/// The end of a job, in milliseconds since the Unix epoch by the clock that it was started by; never before its start.
pub(crate) fn end_ms(state: &JobState, age: &JobAge) -> i64 {
    let first = state.submitted_ms.max(state.started_ms);
    if state.started_ms == 0 || machine::is_same(state.started_clock, machine::clock()) {
        return now_ms().max(first);
    }
    first.saturating_add_unsigned(age.run_ms)
}

/// How long a job has taken so far, in milliseconds, as far as can be told here.
pub(crate) fn wall_ms(state: &JobState, age: &JobAge) -> u64 {
    let (start, end) = (state.started_ms, state.finished_ms);
    if start == 0 {
        return 0;
    }
    let end = match end {
        0 => {
            let now = end_ms(state, age);
            assert!(now >= start, "it ends at {now}, and began at {start}");
            now
        }
        end => end,
    };
    u64::try_from(end.saturating_sub(start)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(clock: u64, started_ms: i64) -> JobState {
        JobState {
            submitted_ms: started_ms - 5,
            started_ms,
            started_clock: clock,
            ..JobState::default()
        }
    }

    #[test]
    fn an_end_is_told_by_the_clock_of_the_start() {
        let age = JobAge {
            run_ms: 4000,
            ..JobAge::default()
        };
        let (day, now) = (86_400_000, now_ms());
        // Another machine's clock, a day ahead or behind: only what was measured counts.
        for ahead in [day, -day] {
            let state = started(7 << 32, now + ahead);
            assert_eq!(end_ms(&state, &age), now + ahead + 4000);
            assert_eq!(wall_ms(&state, &age), 4000);
        }
        // This one's: all that has gone by, also while nobody worked.
        let state = started(machine::clock(), now - day);
        assert!(wall_ms(&state, &age) >= day.cast_unsigned());
        // One that was set back since.
        let state = started(machine::clock(), now + day);
        assert_eq!(wall_ms(&state, &age), 0);
        assert!(end_ms(&state, &age) >= state.started_ms);
    }

    #[test]
    fn what_others_have_recorded_counts() {
        let recorded = JobAge {
            number: 3,
            retries: 1,
            open_ms: 9000,
            run_ms: 5000,
        };
        let age = Age::new(recorded, true, 0);
        assert!(age.now().open_ms >= 9000 && age.now().run_ms >= 5000);
        age.hear(&JobAge {
            open_ms: 60_000,
            ..recorded
        });
        let now = age.now();
        assert!(
            now.open_ms >= 60_000 && (5000..60_000).contains(&now.run_ms),
            "{now:?}"
        );
        age.hear(&JobAge {
            retries: 0,
            open_ms: u64::MAX,
            ..recorded
        });
        assert!(age.now().open_ms < 120_000, "of before the retry");
        assert!(!age.is_due(), "no deadline rests on it");
    }
}
