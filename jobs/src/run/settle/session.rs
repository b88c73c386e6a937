//! What remembers that a process died at a job, and over which of its shards.
//!
//! A process that works on a job has a record of it, its *session*, from the beginning of its run to its end. One that
//! is left behind is that of a process that died. That alone counts nothing: it makes processes careful with this job.
//! A careful one records in its session which shards it is about to compute, some at a time, before it does. If that
//! one dies, too, those of them that have not ended are suspected, and from then on each of them is computed alone: with
//! nothing beside it in its process, and with a record that says so. A process that dies then has died of that shard, or
//! while it was at it: this counts as an attempt.
//!
//! So a job of which no process ever died pays for two records in transactions that there are anyway. A shard that
//! kills its process fails after `max_attempts` attempts and one process more; and one that only was there when its
//! process was killed for something else is done at its next attempt.
//!
//! # Who is dead
//! Where one process has the database to itself, any other. Among several: one that the system of this machine does not
//! know any more; and one of another machine whose session has not changed for a whole lease, since those who compute
//! have theirs beat three times a lease. No clocks are compared. One that was only stopped for so long counts as dead,
//! as it does for leases; what it has computed may still count.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eciton_engine::entropy::{Entropy as _, SystemEntropy};
use eciton_engine::{Key, ScanRange, Transaction};
use eciton_proto::prost::Message;
use eciton_proto::v1::{JobState, Outcome, Session};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::failure::count_failed;
use super::observer::{Event, Observer};
use crate::machine;
use crate::run::records::age::Age;
use crate::run::records::change::retry_on_conflict;
use crate::run::records::error::JobError;
use crate::run::records::keys::{SESSION, decode, key, number_of};
use crate::run::records::ledger::Ledger;

/// What `ShardState.suspected` counts to: more would make its record as long as one that is a hash.
const SUSPECTED_MAX: u32 = 127;
/// Parts of a lease after each of which a session beats.
const BEATS: u32 = 3;

/// Sessions of this process, which lives.
static OWN: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);
/// Those of them that ended with an error, and whose records may still be there: nobody died of them.
static ENDED: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);

impl Ledger {
    /// The sessions of a job, as they can be seen now.
    pub(crate) async fn sessions(&self, name: &str) -> Result<Vec<(u64, Session)>, JobError> {
        let prefix = Key::from_datums(&[SESSION.into(), name.into()])?;
        let fields_at = prefix.len();
        let mut scan = self
            .db
            .snapshot()
            .scan(&self.store, &ScanRange::prefix(prefix));
        let mut sessions = Vec::new();
        while let Some(record) = scan.next().await? {
            if let Some(id) = record.key.as_bytes().get(fields_at..).and_then(number_of) {
                sessions.push((id, decode(name, SESSION, &record.value)?));
            }
        }
        Ok(sessions)
    }

    pub(crate) fn put_session(
        &self,
        tx: &mut Transaction,
        (name, id): (&str, u64),
        session: &Session,
    ) -> Result<(), JobError> {
        let key = key(SESSION, name, Some(id))?;
        Ok(tx.put(&self.store, &key, session.encode_to_vec())?)
    }

    pub(crate) fn delete_session(
        &self,
        tx: &mut Transaction,
        (name, id): (&str, u64),
    ) -> Result<(), JobError> {
        Ok(tx.delete(&self.store, &key(SESSION, name, Some(id))?)?)
    }
}

/// A number that nobody else draws, as far as numbers in keys go.
fn drawn() -> u64 {
    u64::try_from(SystemEntropy.next_u128() >> 66).unwrap_or(0)
}

/// A shard of which a process died, and what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Killed {
    pub(crate) shard: u64,
    pub(crate) attempts: u32,
    pub(crate) error: String,
    /// It has failed for good.
    pub(crate) is_final: bool,
}

/// Tells of a shard of which a process died.
pub(crate) fn tell_killed(observer: &dyn Observer, killed: &Killed) {
    let (shard, attempts, error) = (killed.shard, killed.attempts, killed.error.as_str());
    observer.observe(&match killed.is_final {
        true => Event::ShardFailed {
            shard,
            attempts,
            error,
        },
        false => Event::AttemptFailed {
            shard,
            attempt: attempts,
            error,
            retry_in_ms: 0,
        },
    });
}

/// The session of one run.
pub(crate) struct OwnSession {
    ledger: Ledger,
    pub(crate) name: String,
    pub(crate) id: u64,
    max_attempts: u32,
    layout: u32,
    lease: Duration,
    is_shared: bool,
    /// A process has died at the job.
    is_careful: AtomicBool,
    /// There are processes of which it cannot be told yet whether they live.
    is_unsure: AtomicBool,
    /// How long the job has been open.
    pub(crate) age: Age,
    record: AsyncMutex<SessionRecord>,
    /// Shards that the record names.
    listed: Mutex<HashSet<u64>>,
    /// Sessions of processes elsewhere, as they were when they changed last, and when that was seen.
    others: Mutex<HashMap<u64, OtherSession>>,
}

/// What is written of it.
struct SessionRecord {
    session: Session,
    is_there: bool,
    beaten: Instant,
}

struct OtherSession {
    session: Session,
    since: Instant,
    /// It has been seen to change, so that it lives.
    has_changed: bool,
}

/// How a session stands.
enum Liveness {
    Alive,
    Dead,
    /// It cannot be told yet.
    Unknown,
}

impl Drop for OwnSession {
    fn drop(&mut self) {
        // A run that ends with an error leaves its record, and has killed nobody.
        if self.record.try_lock().is_ok_and(|record| record.is_there) {
            ENDED.lock().insert(self.id);
        }
        OWN.lock().remove(&self.id);
    }
}

impl OwnSession {
    /// A session of a job, which has no record so far.
    pub(crate) fn new(
        ledger: &Ledger,
        name: &str,
        state: &JobState,
        (max_attempts, lease): (u32, Duration),
        age: Age,
    ) -> OwnSession {
        let id = drawn();
        OWN.lock().insert(id);
        let pid = std::process::id();
        OwnSession {
            ledger: ledger.clone(),
            name: name.to_owned(),
            id,
            max_attempts,
            layout: state.layout,
            lease,
            is_shared: ledger.db.is_shared(),
            is_careful: AtomicBool::new(state.crashes > 0),
            is_unsure: AtomicBool::new(false),
            age,
            record: AsyncMutex::new(SessionRecord {
                session: Session {
                    number: state.number,
                    place: machine::place(),
                    pid,
                    pid_start: machine::began(pid).unwrap_or(0),
                    ..Session::default()
                },
                is_there: false,
                beaten: Instant::now(),
            }),
            listed: Mutex::default(),
            others: Mutex::default(),
        }
    }

    /// Whether what is computed has to be recorded before.
    pub(crate) fn is_careful(&self) -> bool {
        self.is_careful.load(Ordering::Relaxed) || self.is_unsure.load(Ordering::Relaxed)
    }

    /// A process has died at the job.
    pub(crate) fn take_care(&self) {
        self.is_careful.store(true, Ordering::Relaxed);
    }

    /// Whether the record names a shard.
    pub(crate) fn lists(&self, shard: u64) -> bool {
        self.listed.lock().contains(&shard)
    }

    /// Writes the record into the transaction that begins the run.
    pub(crate) async fn begin(&self, tx: &mut Transaction) -> Result<(), JobError> {
        let mut record = self.record.lock().await;
        record.is_there = true;
        let of = (self.name.as_str(), self.id);
        self.ledger.put_session(tx, of, &record.session)
    }

    /// Records, durably, that shards are about to be computed: those of `shards` when it is this call's turn. With
    /// `alone`, nothing is beside the only one.
    pub(crate) async fn list(
        &self,
        wanted: Option<u64>,
        shards: impl FnOnce() -> HashSet<u64>,
        alone: bool,
    ) -> Result<(), JobError> {
        let mut record = self.record.lock().await;
        if !alone && wanted.is_some_and(|shard| self.lists(shard)) {
            return Ok(());
        }
        let shards = shards();
        assert!(!alone || shards.len() == 1, "alone among {shards:?}");
        assert!(
            wanted.is_none_or(|shard| shards.contains(&shard)),
            "{wanted:?} is not among {shards:?}"
        );
        record.session.shards = shards.iter().copied().collect();
        record.session.shards.sort_unstable();
        record.session.alone = alone;
        self.write(&mut record, false).await?;
        *self.listed.lock() = shards;
        Ok(())
    }

    /// Has others see that this process lives, where it computes; nothing is there of one that does not.
    pub(crate) async fn beat(&self, computes: bool) -> Result<(), JobError> {
        let with_age = self.age.is_due();
        let mut record = self.record.lock().await;
        let is_due = self.is_shared && record.beaten.elapsed() >= self.lease / BEATS;
        if !(is_due && (computes || record.is_there) || with_age) {
            return Ok(());
        }
        if with_age {
            self.hear_age(record.session.number).await?;
        }
        if !computes && is_due {
            record.session.shards.clear();
            self.listed.lock().clear();
            record.is_there = false;
            record.beaten = Instant::now();
            return self.remove(with_age).await;
        }
        self.write(&mut record, is_due || with_age).await
    }

    async fn hear_age(&self, number: u64) -> Result<(), JobError> {
        let retries = self.age.now().retries;
        let state = JobState {
            number,
            retries,
            ..JobState::default()
        };
        self.age.hear(&self.ledger.age(&self.name, &state).await?);
        Ok(())
    }

    async fn write(&self, record: &mut SessionRecord, with_age: bool) -> Result<(), JobError> {
        record.session.beat += 1;
        record.beaten = Instant::now();
        let session = &record.session;
        retry_on_conflict(|| {
            async move {
                let mut tx = self.ledger.db.begin();
                let of = (self.name.as_str(), self.id);
                self.ledger.put_session(&mut tx, of, session)?;
                if with_age {
                    self.ledger.put_age(&mut tx, &self.name, &self.age.now())?;
                }
                tx.commit().await?;
                Ok(Some(()))
            }
            .boxed()
        })
        .await?;
        record.is_there = true;
        Ok(())
    }

    async fn remove(&self, with_age: bool) -> Result<(), JobError> {
        retry_on_conflict(|| {
            async move {
                let mut tx = self.ledger.db.begin();
                let of = (self.name.as_str(), self.id);
                self.ledger.delete_session(&mut tx, of)?;
                if with_age {
                    self.ledger.put_age(&mut tx, &self.name, &self.age.now())?;
                }
                tx.commit().await?;
                Ok(Some(()))
            }
            .boxed()
        })
        .await
    }

    /// The run has ended, and its record went with the job's end, if `was_removed`; else it goes now.
    pub(crate) async fn end(&self, was_removed: bool) -> Result<(), JobError> {
        let mut record = self.record.lock().await;
        let is_there = std::mem::replace(&mut record.is_there, false);
        if is_there && !was_removed {
            let removed = self.remove(self.age.has_deadline()).await;
            record.is_there = removed.is_err();
            return removed;
        }
        Ok(())
    }

    /// Looks at the sessions of others: counts those that died, and takes care where it cannot be told. Gives the shards
    /// that this counted as an attempt of.
    pub(crate) async fn count_deaths(&self) -> Result<Vec<Killed>, JobError> {
        let mut sessions = self.ledger.sessions(&self.name).await?;
        // In the order in which one process after the other dies: first over several shards, then over one alone.
        sessions.sort_by_key(|(_, session)| session.alone);
        let there: HashSet<u64> = sessions.iter().map(|(id, _)| *id).collect();
        self.others.lock().retain(|id, _| there.contains(id));
        let (mut killed, mut is_unsure) = (Vec::new(), false);
        for (id, session) in sessions {
            match self.liveness(id, &session) {
                Liveness::Alive => {}
                Liveness::Unknown => is_unsure = true,
                Liveness::Dead => {
                    let counts = !ENDED.lock().contains(&id);
                    killed.extend(self.count(id, &session, counts).await?);
                    ENDED.lock().remove(&id);
                    if counts {
                        self.take_care();
                    }
                }
            }
        }
        self.is_unsure.store(is_unsure, Ordering::Relaxed);
        Ok(killed)
    }

    fn liveness(&self, id: u64, session: &Session) -> Liveness {
        if OWN.lock().contains(&id) {
            return Liveness::Alive;
        }
        if !self.is_shared {
            return Liveness::Dead;
        }
        if session.place != 0 && session.place == machine::place() {
            return match machine::began(session.pid) {
                Some(began) if began == session.pid_start => Liveness::Alive,
                _ => Liveness::Dead,
            };
        }
        let now = Instant::now();
        let mut others = self.others.lock();
        let other = others.entry(id).or_insert_with(|| OtherSession {
            session: session.clone(),
            since: now,
            has_changed: false,
        });
        if other.session != *session {
            *other = OtherSession {
                session: session.clone(),
                since: now,
                has_changed: true,
            };
        }
        match now.duration_since(other.since) {
            silent if silent >= self.lease + self.lease / BEATS => Liveness::Dead,
            _ if other.has_changed => Liveness::Alive,
            _ => Liveness::Unknown,
        }
    }

    /// Takes away a session that was left behind, and counts what follows.
    async fn count(
        &self,
        id: u64,
        session: &Session,
        counts: bool,
    ) -> Result<Vec<Killed>, JobError> {
        retry_on_conflict(|| self.count_once(id, session, counts).boxed()).await
    }

    async fn count_once(
        &self,
        id: u64,
        session: &Session,
        counts: bool,
    ) -> Result<Option<Vec<Killed>>, JobError> {
        let (ledger, name) = (&self.ledger, self.name.as_str());
        let mut tx = ledger.db.begin();
        let session_key = key(SESSION, name, Some(id))?;
        let found = tx.get(&ledger.store, &session_key).await?;
        let found: Option<Session> = found
            .map(|bytes| decode(name, SESSION, &bytes))
            .transpose()?;
        if found.as_ref() != Some(session) {
            // Somebody else has counted it, or it lives after all.
            return Ok(Some(Vec::new()));
        }
        ledger.delete_session(&mut tx, (name, id))?;
        let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
            return Ok(Some(Vec::new()));
        };
        let mut killed = Vec::new();
        if counts && state.number == session.number {
            state.crashes = state.crashes.saturating_add(1);
            ledger.put_job_state(&mut tx, name, &state)?;
            let shards = session.shards.iter().filter(|shard| **shard < state.shards);
            for shard in shards {
                killed.extend(self.suspect(&mut tx, &state, *shard, session.alone).await?);
            }
        }
        let listed = session.shards.len();
        assert!(
            killed.len() <= listed,
            "{} of {listed} shards",
            killed.len()
        );
        assert!(counts || killed.is_empty(), "session {id} counts nothing");
        tx.commit().await?;
        if counts {
            let (shards, alone) = (session.shards.len(), session.alone);
            tracing::warn!(
                job = name,
                pid = session.pid,
                shards,
                alone,
                "a process died at this job"
            );
        }
        Ok(Some(killed))
    }

    async fn suspect(
        &self,
        tx: &mut Transaction,
        job: &JobState,
        number: u64,
        alone: bool,
    ) -> Result<Option<Killed>, JobError> {
        let (ledger, name) = (&self.ledger, self.name.as_str());
        let mut state = ledger.shard_state(tx, name, number).await?;
        if state.outcome() != Outcome::Unspecified {
            return Ok(None);
        }
        let mut killed = None;
        let before = state.suspected;
        state.suspected = (state.suspected + 1).min(SUSPECTED_MAX);
        if alone {
            // That it was suspected before was right.
            let more = 1 + u32::from(state.killed == 0 && before > 0);
            state.killed += more;
            let counted = count_failed(&mut state, more, |made| made >= self.max_attempts);
            state.error = format!(
                "the process that computed it died, in {} of {} attempts and at last with no other shard beside it: of \
                 too little memory, of too deep a stack, or killed from outside; expected a smaller shard or a simpler \
                 query",
                state.killed, state.attempts
            );
            ledger.tallies.add(tx, job.number, &counted.tally)?;
            killed = Some(Killed {
                shard: number,
                attempts: counted.this_round,
                error: state.error.clone(),
                is_final: counted.is_final,
            });
        }
        assert!(
            state.suspected > before.min(SUSPECTED_MAX - 1),
            "shard {number}: {before}"
        );
        assert_eq!(alone, killed.is_some(), "shard {number} was alone");
        ledger.put_shard_state(tx, (name, self.layout), number, &state)?;
        Ok(killed)
    }
}

/// Puts a session as one that was left behind.
#[cfg(test)]
pub(crate) async fn leave_behind(
    ledger: &Ledger,
    name: &str,
    session: &Session,
) -> Result<u64, JobError> {
    let id = drawn();
    let mut tx = ledger.db.begin();
    ledger.put_session(&mut tx, (name, id), session)?;
    tx.commit().await?;
    Ok(id)
}
