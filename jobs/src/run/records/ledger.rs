//! The store `_jobs`: its keys, and its records as messages.

use std::collections::HashMap;

use bytes::Bytes;
use eciton_engine::{
    Datum, Db, Encoding, Key, ScanRange, Snapshot, Store, StoreSchema, Transaction,
};
use eciton_proto::prost::Message;
use eciton_proto::v1::{
    FileChunk, JobPhase, JobSpec, JobState, Plan, Registry, ShardChunk, ShardState, SourceDoubt,
};
use futures::FutureExt;

use super::change::retry_on_conflict;
use super::error::{JobError, damaged};
use super::job::Job;
use super::keys::{
    AGE, CHECKPOINT, DOUBT, EXPORT, FILES, JOB, LEASE_KEY, PLAN, PROGRAM_FILE, PROGRAM_LOG,
    REGISTRY, SESSION, SHARD, SHARDS, SPEC, decode, key, number_of,
};
use super::marks;
use super::needs;
use super::tally::{Tallies, Tally};
use crate::source::{Source, SourceDatabase, is_stored};
use xxhash_rust::xxh3::xxh3_128;

/// The system store that everything about jobs is in.
pub(crate) const STORE: &str = "_jobs";

/// How the records of a job are laid out that is submitted now: see [`JobState`].
pub(crate) const LAYOUT: u32 = marks::LAYOUT_NEEDS;

/// The store `_jobs` of an open database. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) db: Db,
    pub(crate) store: Store,
    pub(crate) tallies: Tallies,
}

impl Ledger {
    /// The ledger of a database in which a job was submitted before; `None` if none ever was.
    pub(crate) async fn find(db: &Db) -> Result<Option<Ledger>, JobError> {
        let Some(store) = db.store(STORE).await? else {
            return Ok(None);
        };
        let tallies = Tallies::find(db).await?;
        Ok(tallies.map(|tallies| Ledger {
            db: db.clone(),
            store,
            tallies,
        }))
    }

    /// The ledger, created if there is none.
    pub(crate) async fn create(db: &Db) -> Result<Ledger, JobError> {
        let schema = StoreSchema {
            encoding: Encoding::Raw,
            key_fields: vec!["record".to_owned(), JOB.to_owned(), "number".to_owned()],
            ..StoreSchema::default()
        };
        // First what others look for last: who finds the ledger finds all of it.
        let tallies = Tallies::create(db).await?;
        let store = db.create_store(STORE, schema).await?;
        Ok(Ledger {
            db: db.clone(),
            store,
            tallies,
        })
    }

    /// The ledger with a job of this name.
    pub(crate) async fn with_job(db: &Db, name: &str) -> Result<(Ledger, Job), JobError> {
        let Some(ledger) = Ledger::find(db).await? else {
            return Err(JobError::NotFound {
                name: name.to_owned(),
                known: Vec::new(),
            });
        };
        match ledger.job(name).await? {
            Some(job) => Ok((ledger, job)),
            None => Err(JobError::NotFound {
                name: name.to_owned(),
                known: ledger.names().await?,
            }),
        }
    }

    /// A job by its name.
    pub(crate) async fn job(&self, name: &str) -> Result<Option<Job>, JobError> {
        self.job_in(&self.db.snapshot(), name).await
    }

    /// A job by its name, and its sums, as they stand at one moment.
    pub(crate) async fn tallied(&self, name: &str) -> Result<Option<(Job, Tally)>, JobError> {
        let snapshot = self.db.snapshot();
        let Some(job) = self.job_in(&snapshot, name).await? else {
            return Ok(None);
        };
        let tally = self.tallies.seen(&snapshot, name, job.state.number).await?;
        Ok(Some((job, tally)))
    }

    async fn job_in(&self, snapshot: &Snapshot, name: &str) -> Result<Option<Job>, JobError> {
        let Some(state) = self.state_in(snapshot, name).await? else {
            return Ok(None);
        };
        let spec = snapshot.get(&self.store, &key(SPEC, name, None)?).await?;
        let plan = self.get(snapshot, name, PLAN, None).await?;
        match spec.zip(plan) {
            Some((spec, plan)) => Ok(Some(Job {
                stored_hash: xxh3_128(&spec),
                spec: decode(name, SPEC, &spec)?,
                plan,
                state,
            })),
            None => Err(damaged(name, "its specification or plan", "it is missing")),
        }
    }

    /// Reads the states of jobs in the order of their names, as they stand at one moment: of those whose names begin
    /// with `prefix` and come after `after`, until `visit` has seen enough and says `false`.
    pub(crate) async fn each_state(
        &self,
        after: &str,
        prefix: &str,
        mut visit: impl FnMut(String, JobState) -> bool,
    ) -> Result<(), JobError> {
        // The prefix of a key is whole fields; that of a name is a place in their order.
        let from = Key::from_datums(&[JOB.into(), after.max(prefix).into()])?;
        let range = ScanRange {
            from: Some(from),
            ..ScanRange::prefix(Key::from_datums(&[JOB.into()])?)
        };
        let mut scan = self.db.snapshot().scan(&self.store, &range);
        while let Some(record) = scan.next().await? {
            let Some(Datum::Str(name)) = record.key.datums()?.into_iter().nth(1) else {
                continue;
            };
            if !name.starts_with(prefix) {
                break;
            }
            if name == after {
                continue;
            }
            let state = decode_state(&name, &record.value)?;
            if !visit(name, state) {
                break;
            }
        }
        Ok(())
    }

    /// The names of all jobs, in order.
    pub(crate) async fn names(&self) -> Result<Vec<String>, JobError> {
        let range = ScanRange {
            keys_only: true,
            ..ScanRange::prefix(Key::from_datums(&[JOB.into()])?)
        };
        let mut scan = self.db.snapshot().scan(&self.store, &range);
        let mut names = Vec::new();
        while let Some(record) = scan.next().await? {
            if let Some(Datum::Str(name)) = record.key.datums()?.into_iter().nth(1) {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// The jobs that have not ended, by their numbers and names, in the order of submission; those last of which that cannot be told,
    /// since their records are damaged: whoever opens one is told why, and the others go on.
    pub(crate) async fn open_jobs(&self) -> Result<Vec<(u64, String)>, JobError> {
        let mut open = Vec::new();
        self.each_job(|name, state| match state {
            Ok(state) => match state.phase() {
                JobPhase::Unspecified | JobPhase::Pending | JobPhase::Running => {
                    open.push((state.number, name));
                }
                JobPhase::Done | JobPhase::Failed | JobPhase::Cancelled => {}
            },
            Err(_) => open.push((u64::MAX, name)),
        })
        .await?;
        open.sort_unstable();
        Ok(open)
    }

    /// The names of all jobs by their numbers, without those whose records are damaged.
    pub(crate) async fn numbers(&self) -> Result<HashMap<u64, String>, JobError> {
        let mut names = HashMap::new();
        self.each_job(|name, state| {
            if let Ok(state) = state {
                names.insert(state.number, name);
            }
        })
        .await?;
        Ok(names)
    }

    pub(crate) async fn each_job(
        &self,
        mut visit: impl FnMut(String, Result<JobState, JobError>),
    ) -> Result<(), JobError> {
        let range = ScanRange::prefix(Key::from_datums(&[JOB.into()])?);
        let mut scan = self.db.snapshot().scan(&self.store, &range);
        while let Some(record) = scan.next().await? {
            let Some(Datum::Str(name)) = record.key.datums()?.into_iter().nth(1) else {
                continue;
            };
            let state = decode_state(&name, &record.value);
            visit(name, state);
        }
        Ok(())
    }

    /// A job's specification; `None` if there is none of this name.
    pub(crate) async fn spec(&self, name: &str) -> Result<Option<JobSpec>, JobError> {
        self.get(&self.db.snapshot(), name, SPEC, None).await
    }

    /// The source as the job's plan has it.
    pub(crate) async fn source(&self, name: &str, job: &Job) -> Result<Source, JobError> {
        let snapshot = self.db.snapshot();
        let range = ScanRange::prefix(Key::from_datums(&[FILES.into(), name.into()])?);
        let mut scan = snapshot.scan(&self.store, &range);
        let mut chunks = Vec::new();
        while let Some(record) = scan.next().await? {
            chunks.push(decode::<FileChunk>(name, FILES, &record.value)?);
        }
        let spec = job.spec.source.clone().unwrap_or_default();
        let is_stored = is_stored(&spec);
        let source = Source::new(spec, &job.plan, chunks)?;
        Ok(source.in_database(is_stored.then(|| SourceDatabase::new(&self.db))))
    }

    /// A chunk of the job's shards.
    pub(crate) async fn shard_chunk(&self, name: &str, chunk: u64) -> Result<ShardChunk, JobError> {
        let snapshot = self.db.snapshot();
        let found = self.get(&snapshot, name, SHARDS, Some(chunk)).await?;
        found.ok_or_else(|| {
            damaged(
                name,
                &format!("chunk {chunk} of its shards"),
                "it is missing",
            )
        })
    }

    /// Reads the records of tried shards, in order, as they stand at one moment, while `visit` wants more.
    pub(crate) async fn each_shard(
        &self,
        name: &str,
        mut visit: impl FnMut(u64, ShardState) -> bool,
    ) -> Result<(), JobError> {
        let prefix = Key::from_datums(&[SHARD.into(), name.into()])?;
        let fields_at = prefix.len();
        let mut scan = self
            .db
            .snapshot()
            .scan(&self.store, &ScanRange::prefix(prefix));
        // There may be millions: as little as possible is copied.
        while scan.advance_in_memory() || scan.advance().await? {
            let number = scan.key().get(fields_at..).and_then(number_of);
            let number = number.ok_or_else(|| {
                let key = Key::from_encoded(Bytes::copy_from_slice(scan.key()));
                damaged(name, &format!("record {key}"), "its key")
            })?;
            if !visit(number, decode_shard(name, scan.value())?) {
                break;
            }
        }
        Ok(())
    }

    /// The registry, for changing it.
    pub(crate) async fn registry(&self, tx: &mut Transaction) -> Result<Registry, JobError> {
        let found = tx
            .get(&self.store, &Key::from_datums(&[REGISTRY.into()])?)
            .await?;
        found.map_or(Ok(Registry::default()), |bytes| {
            decode("", REGISTRY, &bytes)
        })
    }

    /// A job's state, for changing it or for relying on it.
    ///
    /// # Errors
    /// [`JobError::Needs`] where a newer version has written what would be lost with a change.
    pub(crate) async fn job_state(
        &self,
        tx: &mut Transaction,
        name: &str,
    ) -> Result<Option<JobState>, JobError> {
        let found = tx.get(&self.store, &key(JOB, name, None)?).await?;
        let Some(bytes) = found else {
            return Ok(None);
        };
        let state = decode_state(name, &bytes)?;
        needs::check_state(name, &state, &bytes)?;
        Ok(Some(state))
    }

    /// The keys of a job's records of shards, files, shards' places, sessions and doubts, at most so many, as a transaction finds them. It
    /// relies on what was found, so that one that finds none conflicts with whoever adds any.
    pub(crate) async fn parts(
        &self,
        tx: &mut Transaction,
        name: &str,
        limit: usize,
    ) -> Result<Vec<Key>, JobError> {
        let mut keys = Vec::new();
        for kind in [
            SHARD,
            SHARDS,
            FILES,
            SESSION,
            DOUBT,
            PROGRAM_FILE,
            PROGRAM_LOG,
            CHECKPOINT,
            EXPORT,
        ] {
            let left = limit - keys.len();
            if left == 0 {
                break;
            }
            let range = ScanRange {
                keys_only: true,
                limit: Some(left as u64),
                ..ScanRange::prefix(Key::from_datums(&[kind.into(), name.into()])?)
            };
            let found = tx.scan(&self.store, &range).await?;
            keys.extend(found.into_iter().map(|record| record.key));
            assert!(keys.len() <= limit, "{} keys of {limit}", keys.len());
        }
        Ok(keys)
    }

    /// Deletes a record by its key.
    pub(crate) fn delete(&self, tx: &mut Transaction, key: &Key) -> Result<(), JobError> {
        Ok(tx.delete(&self.store, key)?)
    }

    /// Deletes what there is of a job beside its [parts](Ledger::parts).
    pub(crate) fn delete_job(
        &self,
        tx: &mut Transaction,
        name: &str,
        number: u64,
    ) -> Result<(), JobError> {
        for kind in [PLAN, SPEC, JOB, AGE] {
            self.delete(tx, &key(kind, name, None)?)?;
        }
        self.tallies.delete(tx, number)
    }

    /// A shard's state, for changing it or for relying on it; the default if it was never tried.
    pub(crate) async fn shard_state(
        &self,
        tx: &mut Transaction,
        name: &str,
        shard: u64,
    ) -> Result<ShardState, JobError> {
        let found = tx.get(&self.store, &key(SHARD, name, Some(shard))?).await?;
        found.map_or(Ok(ShardState::default()), |bytes| {
            decode_shard(name, &bytes)
        })
    }

    /// A job's state as it can be seen now; `None` if there is no job of this name.
    pub(crate) async fn state_now(&self, name: &str) -> Result<Option<JobState>, JobError> {
        self.state_in(&self.db.snapshot(), name).await
    }

    async fn state_in(
        &self,
        snapshot: &Snapshot,
        name: &str,
    ) -> Result<Option<JobState>, JobError> {
        let found = snapshot.get(&self.store, &key(JOB, name, None)?).await?;
        found.map(|bytes| decode_state(name, &bytes)).transpose()
    }

    /// A shard's state as it can be seen now; the default if it was never tried.
    pub(crate) async fn shard_now(&self, name: &str, shard: u64) -> Result<ShardState, JobError> {
        self.shard_seen(&self.db.snapshot(), name, shard).await
    }

    /// A shard's state as a snapshot has it; the default if it was never tried.
    pub(crate) async fn shard_seen(
        &self,
        snapshot: &Snapshot,
        name: &str,
        shard: u64,
    ) -> Result<ShardState, JobError> {
        let key = key(SHARD, name, Some(shard))?;
        let found = snapshot.get(&self.store, &key).await?;
        found.map_or(Ok(ShardState::default()), |bytes| {
            decode_shard(name, &bytes)
        })
    }

    /// The key that tokens of leases are authenticated with; kept as `draw` makes it where there is none yet. It is nowhere
    /// but in the database: neither in logs nor in any answer.
    pub(crate) async fn lease_key(&self, draw: fn() -> Vec<u8>) -> Result<Bytes, JobError> {
        retry_on_conflict(|| self.lease_key_once(draw).boxed()).await
    }

    async fn lease_key_once(&self, draw: fn() -> Vec<u8>) -> Result<Option<Bytes>, JobError> {
        let key = Key::from_datums(&[LEASE_KEY.into()])?;
        if let Some(kept) = self.db.snapshot().get(&self.store, &key).await? {
            return Ok(Some(kept));
        }
        let mut tx = self.db.begin();
        if let Some(kept) = tx.get(&self.store, &key).await? {
            return Ok(Some(kept));
        }
        // Of two that draw one, the second to commit has read that there was none: it reads the other's.
        let drawn = Bytes::from(draw());
        tx.put(&self.store, &key, drawn.to_vec())?;
        tx.commit().await?;
        Ok(Some(drawn))
    }

    /// What processes doubt of a job's files, by whose it is.
    pub(crate) async fn doubts(&self, name: &str) -> Result<Vec<(u64, SourceDoubt)>, JobError> {
        let range = ScanRange::prefix(Key::from_datums(&[DOUBT.into(), name.into()])?);
        let mut scan = self.db.snapshot().scan(&self.store, &range);
        let mut doubts = Vec::new();
        while let Some(record) = scan.next().await? {
            let whose = record.key.datums()?.into_iter().nth(2);
            if let Some(Datum::Int(whose)) = whose {
                let whose = u64::try_from(whose).unwrap_or(0);
                doubts.push((whose, decode(name, DOUBT, &record.value)?));
            }
        }
        Ok(doubts)
    }

    /// What a process doubts, for changing it.
    pub(crate) async fn doubt(
        &self,
        tx: &mut Transaction,
        name: &str,
        whose: u64,
    ) -> Result<Option<SourceDoubt>, JobError> {
        let found = tx.get(&self.store, &key(DOUBT, name, Some(whose))?).await?;
        found.map(|bytes| decode(name, DOUBT, &bytes)).transpose()
    }

    pub(crate) fn put_doubt(
        &self,
        tx: &mut Transaction,
        name: &str,
        whose: u64,
        doubt: &SourceDoubt,
    ) -> Result<(), JobError> {
        self.put(tx, DOUBT, name, Some(whose), doubt)
    }

    pub(crate) fn remove_doubt(
        &self,
        tx: &mut Transaction,
        name: &str,
        whose: u64,
    ) -> Result<(), JobError> {
        Ok(tx.delete(&self.store, &key(DOUBT, name, Some(whose))?)?)
    }

    pub(crate) fn put_registry(
        &self,
        tx: &mut Transaction,
        registry: &Registry,
    ) -> Result<(), JobError> {
        let key = Key::from_datums(&[REGISTRY.into()])?;
        Ok(tx.put(&self.store, &key, registry.encode_to_vec())?)
    }

    pub(crate) fn put_spec(&self, tx: &mut Transaction, spec: &JobSpec) -> Result<(), JobError> {
        self.put(tx, SPEC, &spec.name, None, spec)
    }

    pub(crate) fn put_plan(
        &self,
        tx: &mut Transaction,
        name: &str,
        plan: &Plan,
    ) -> Result<(), JobError> {
        self.put(tx, PLAN, name, None, plan)
    }

    pub(crate) fn put_job_state(
        &self,
        tx: &mut Transaction,
        name: &str,
        state: &JobState,
    ) -> Result<(), JobError> {
        self.put(tx, JOB, name, None, state)
    }

    /// Writes a shard's state, as the job's layout has it.
    pub(crate) fn put_shard_state(
        &self,
        tx: &mut Transaction,
        (name, layout): (&str, u32),
        shard: u64,
        state: &ShardState,
    ) -> Result<(), JobError> {
        let key = key(SHARD, name, Some(shard))?;
        Ok(tx.put(&self.store, &key, marks::encode(layout, state))?)
    }

    pub(crate) fn put_file_chunk(
        &self,
        tx: &mut Transaction,
        name: &str,
        number: u64,
        chunk: &FileChunk,
    ) -> Result<(), JobError> {
        self.put(tx, FILES, name, Some(number), chunk)
    }

    pub(crate) fn put_shard_chunk(
        &self,
        tx: &mut Transaction,
        name: &str,
        number: u64,
        chunk: &ShardChunk,
    ) -> Result<(), JobError> {
        self.put(tx, SHARDS, name, Some(number), chunk)
    }

    fn put(
        &self,
        tx: &mut Transaction,
        kind: &str,
        name: &str,
        number: Option<u64>,
        message: &impl Message,
    ) -> Result<(), JobError> {
        Ok(tx.put(
            &self.store,
            &key(kind, name, number)?,
            message.encode_to_vec(),
        )?)
    }

    async fn get<M: Message + Default>(
        &self,
        snapshot: &Snapshot,
        name: &str,
        kind: &str,
        number: Option<u64>,
    ) -> Result<Option<M>, JobError> {
        let found = snapshot.get(&self.store, &key(kind, name, number)?).await?;
        found.map(|bytes| decode(name, kind, &bytes)).transpose()
    }
}

fn decode_shard(name: &str, record: &[u8]) -> Result<ShardState, JobError> {
    marks::decode(record).map_err(|error| damaged(name, "a record `shard`", &error.to_string()))
}

/// A job's state. What another version laid out otherwise is refused: its sums would be wrong.
fn decode_state(name: &str, bytes: &[u8]) -> Result<JobState, JobError> {
    let state: JobState = decode(name, JOB, bytes)?;
    let known = marks::LAYOUT_MESSAGES..=LAYOUT;
    if !known.contains(&state.layout) {
        let (layout, first) = (state.layout, known.start());
        let detail =
            format!("it is of layout {layout}, and this version knows {first} to {LAYOUT} only");
        return Err(damaged(name, "its record", &detail));
    }
    Ok(state)
}
