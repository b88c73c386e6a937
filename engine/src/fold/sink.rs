//! Writing a run: entries in, a durable reference out.

use super::claims::Claim;
use super::folder::Folder;
use super::inline::InlineLimits;
use crate::base::{ManifestId, Mutant, Op, Result, RunRef, SegmentId};
use crate::storage::Name;
use crate::tree::{OpKind, RunBuilder};

/// A run on its way, begun with its first entry.
pub struct RunSink {
    folder: Folder,
    id: SegmentId,
    limits: InlineLimits,
    /// Somebody waits for it.
    is_urgent: bool,
    builder: Option<RunBuilder>,
}

impl RunSink {
    /// A run that no manifest older than `tag` can refer to; values lie in leaves up to `limits`.
    pub fn new(folder: &Folder, tag: ManifestId, limits: &InlineLimits) -> RunSink {
        let id = SegmentId {
            tag: tag.0,
            unique: folder.entropy.next_u128(),
        };
        RunSink {
            folder: folder.clone(),
            id,
            limits: limits.clone(),
            is_urgent: false,
            builder: None,
        }
    }

    /// A run under a claimed name: collection leaves it alone as long as the claim lives. Somebody waits
    /// for it: other threads may help.
    pub fn claimed(folder: &Folder, claim: &Claim, limits: &InlineLimits) -> RunSink {
        RunSink {
            folder: folder.clone(),
            id: claim.id(),
            limits: limits.clone(),
            is_urgent: true,
            builder: None,
        }
    }

    /// Adds the next entry; keys ascend.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn add(&mut self, key: &[u8], op: &Op) -> Result<()> {
        self.add_entry(key, op.into(), op.payload()).await
    }

    /// Adds the next entry by its parts; keys ascend.
    ///
    /// # Errors
    /// What the storage refuses.
    #[inline]
    pub async fn add_entry(&mut self, key: &[u8], kind: OpKind, payload: &[u8]) -> Result<()> {
        let builder = match &mut self.builder {
            Some(builder) => builder,
            none => {
                let writer = self.folder.storage.writer(&Name::segment(self.id)).await?;
                let builder = RunBuilder::new(writer, self.folder.options);
                none.insert(match self.is_urgent {
                    true => builder.with_help(),
                    false => builder,
                })
            }
        };
        debug_assert!(
            builder.last_key().is_empty() || builder.last_key() < key,
            "run {}: {key:?} after {:?}",
            self.id,
            builder.last_key()
        );
        let inline_len_max = self.limits.of(key);
        builder.add_entry(key, kind, payload, inline_len_max).await
    }

    /// As [`RunSink::add_entry`] if that takes no I/O now; else nothing is added. Full leaves wait for
    /// [`RunSink::write_due`].
    #[inline]
    pub fn try_add(&mut self, key: &[u8], kind: OpKind, payload: &[u8]) -> bool {
        let inline_len_max = self.limits.of(key);
        let builder = self.builder.as_mut();
        builder.is_some_and(|builder| builder.try_add(key, kind, payload, inline_len_max))
    }

    /// Whether there is something for [`RunSink::write_due`] to write.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.builder.as_ref().is_some_and(RunBuilder::is_due)
    }

    /// Writes leaves that are full, if there are enough.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn write_due(&mut self) -> Result<()> {
        match &mut self.builder {
            Some(builder) => builder.write_due().await,
            None => Ok(()),
        }
    }

    /// The greatest key that was added; empty before the first.
    #[inline]
    pub fn last_key(&self) -> &[u8] {
        self.builder.as_ref().map_or(&[], RunBuilder::last_key)
    }

    /// Ends the run: data and name are durable. `None` if nothing was added.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn finish(self) -> Result<Option<RunRef>> {
        let Some(builder) = self.builder else {
            return Ok(None);
        };
        let summary = builder.finish().await?;
        assert!(
            summary.entries > 0,
            "run {} was begun with its first entry",
            self.id
        );
        assert!(
            summary.first_key <= summary.last_key,
            "run {} from {:?} to {:?}",
            self.id,
            summary.first_key,
            summary.last_key
        );
        if !Mutant::SegmentVolatile.on() && !Mutant::RunLate.on() {
            self.folder.settle_segment(self.id).await?;
        }
        Ok(Some(RunRef {
            id: self.id,
            len: summary.len,
            entries: summary.entries,
            hash: summary.content_hash,
            first_key: summary.first_key.into(),
            last_key: summary.last_key.into(),
        }))
    }
}
