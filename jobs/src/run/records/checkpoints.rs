//! Files that the programs of unfinished shards want to find again.

use bytes::Bytes;
use eciton_engine::{Datum, Key, Transaction};
use eciton_proto::prost::Message;
use eciton_proto::v1::{Checkpoint, JobPhase, Outcome};
use futures::FutureExt;
use xxhash_rust::xxh3::xxh3_128;

use super::change::retry_on_conflict;
use super::clock::now_ms;
use super::error::{JobError, damaged};
use super::keys::{CHECKPOINT, decode};
use super::ledger::Ledger;
use crate::command::limits::{CHECKPOINT_CHUNK_LEN, CHECKPOINT_LEN_MAX};

/// The key of part of a checkpoint: 0 is its description, and its bytes follow.
fn part_key(name: &str, shard: u64, part: u32) -> Result<Key, JobError> {
    let fields = [
        Datum::from(CHECKPOINT),
        Datum::from(name),
        Datum::from(shard),
        Datum::from(u64::from(part)),
    ];
    Ok(Key::from_datums(&fields)?)
}

/// The shard whose checkpoint it is: a job by its name and number, and the number of the shard.
#[derive(Clone, Copy)]
pub(crate) struct CheckpointOf<'a> {
    pub(crate) name: &'a str,
    pub(crate) job_number: u64,
    pub(crate) shard: u64,
}

impl Ledger {
    /// Stores the checkpoint of a shard in the place of the one before; the number of its parts. Nothing is stored where the
    /// shard or the job has ended, or the job is another one by now. Durable when it returns.
    ///
    /// # Errors
    /// What the database refuses.
    pub(crate) async fn save_checkpoint(
        &self,
        of: CheckpointOf<'_>,
        attempt: u32,
        content: &[u8],
    ) -> Result<u32, JobError> {
        assert!(
            content.len() as u64 <= CHECKPOINT_LEN_MAX,
            "a checkpoint of {} bytes",
            content.len()
        );
        retry_on_conflict(|| self.save_checkpoint_once(of, attempt, content).boxed()).await
    }

    async fn save_checkpoint_once(
        &self,
        of: CheckpointOf<'_>,
        attempt: u32,
        content: &[u8],
    ) -> Result<Option<u32>, JobError> {
        let CheckpointOf {
            name,
            job_number,
            shard,
        } = of;
        let mut tx = self.db.begin();
        let state = self.job_state(&mut tx, name).await?;
        let is_open = state.is_some_and(|state| {
            state.number == job_number && state.phase() != JobPhase::Cancelled
        });
        let has_ended =
            self.shard_state(&mut tx, name, shard).await?.outcome() != Outcome::Unspecified;
        if !is_open || has_ended {
            return Ok(Some(0));
        }
        let before = tx.get(&self.store, &part_key(name, shard, 0)?).await?;
        let before = before
            .map(|bytes| decode::<Checkpoint>(name, CHECKPOINT, &bytes))
            .transpose()?;
        let mut parts = 0;
        for chunk in content.chunks(CHECKPOINT_CHUNK_LEN) {
            parts += 1;
            tx.blind_put(&self.store, &part_key(name, shard, parts)?, chunk.to_vec())?;
            tx.relieve().await?;
        }
        for surplus in parts + 1..=before.map_or(0, |before| before.parts) {
            tx.delete(&self.store, &part_key(name, shard, surplus)?)?;
        }
        let checkpoint = Checkpoint {
            attempt,
            saved_ms: now_ms(),
            len: content.len() as u64,
            hash: xxh3_128(content).to_be_bytes().to_vec(),
            parts,
        };
        tx.put(
            &self.store,
            &part_key(name, shard, 0)?,
            checkpoint.encode_to_vec(),
        )?;
        tx.commit().await?;
        Ok(Some(parts))
    }

    /// The checkpoint of a shard, and the number of its parts, if it has one.
    ///
    /// # Errors
    /// [`JobError::Damaged`] where it is not the one that was stored.
    pub(crate) async fn checkpoint(
        &self,
        name: &str,
        shard: u64,
    ) -> Result<Option<(Vec<u8>, u32)>, JobError> {
        let snapshot = self.db.snapshot();
        let Some(bytes) = snapshot
            .get(&self.store, &part_key(name, shard, 0)?)
            .await?
        else {
            return Ok(None);
        };
        let checkpoint = decode::<Checkpoint>(name, CHECKPOINT, &bytes)?;
        let mut content = Vec::new();
        for part in 1..=checkpoint.parts {
            let found: Option<Bytes> = snapshot
                .get(&self.store, &part_key(name, shard, part)?)
                .await?;
            content.extend_from_slice(&found.unwrap_or_default());
        }
        match xxh3_128(&content).to_be_bytes()[..] == checkpoint.hash {
            true => Ok(Some((content, checkpoint.parts))),
            false => {
                let record = format!("the checkpoint of shard {shard}");
                Err(damaged(name, &record, "it is not the one that was stored"))
            }
        }
    }

    /// Deletes the checkpoint of a shard, which has so many parts.
    pub(crate) fn delete_checkpoint(
        &self,
        tx: &mut Transaction,
        name: &str,
        shard: u64,
        parts: u32,
    ) -> Result<(), JobError> {
        for part in 0..=parts {
            tx.delete(&self.store, &part_key(name, shard, part)?)?;
        }
        Ok(())
    }
}
