//! A shard is of the file that was recorded, or it fails.

use eciton_proto::v1::SourceFile;

use super::content::Promise;
use super::error::SourceError;
use super::format::SourceFormat;
use super::identity::{Witness, is_by_content};
use super::mend::content_hash;
use super::plan::{Shard, Source};

/// Whether a shard that another program has read is of the recorded file: by what this process sees of it, and by the
/// hash of what the program has read, if it gives one. `false` where the program has read other bytes. Blocks the thread.
///
/// # Errors
/// [`SourceError::Stale`] if the file is another one by now, as this process sees it.
pub(crate) fn check_read_by_others(
    source: &Source,
    shard: Shard,
    bytes_hash: Option<u128>,
) -> Result<bool, SourceError> {
    source
        .reach()
        .during(|| Watch::check_beside(source, shard))?;
    let promised = shard.content_hash;
    Ok(promised == 0 || bytes_hash.is_none_or(|hash| content_hash(hash) == promised))
}

/// Watches the file of a shard while the shard is read.
#[derive(Debug)]
pub(super) struct Watch {
    witness: Witness,
    /// The file, where it is known by its bytes.
    by_content: Option<Box<SourceFile>>,
    shard: Shard,
    format: &'static dyn SourceFormat,
}

impl Watch {
    /// Opens the file of a shard; `None` where it has none.
    ///
    /// # Errors
    /// [`SourceError::Stale`] if the file is not the recorded one; [`SourceError::Io`].
    pub(super) fn open(source: &Source, shard: Shard) -> Result<Option<Watch>, SourceError> {
        let format = source.format()?;
        if !format.about().has_files() {
            return Ok(None);
        }
        let file = source.file(shard)?;
        Ok(Some(Watch {
            witness: Witness::open(file)?,
            by_content: is_by_content(file).then(|| Box::new(file.clone())),
            shard,
            format,
        }))
    }

    /// Whether the file of a shard is still the recorded one, as this process sees it, after somebody else has read the
    /// shard. One that cannot be opened here says nothing.
    ///
    /// # Errors
    /// [`SourceError::Stale`] if it is another one by now.
    fn check_beside(source: &Source, shard: Shard) -> Result<(), SourceError> {
        let checked = match Watch::open(source, shard) {
            Ok(Some(watch)) => match &watch.by_content {
                Some(file) => watch.promise(file).check_now(),
                None => watch.witness.check(),
            },
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match checked {
            Err(SourceError::Io { .. }) => Ok(()),
            checked => checked,
        }
    }

    fn promise<'w>(&'w self, file: &'w SourceFile) -> Promise<'w> {
        let Shard { start, len, .. } = self.shard;
        Promise {
            format: self.format,
            file,
            range: start..start.saturating_add(len),
            content_hash: self.shard.content_hash,
        }
    }

    /// Whether what was read, of that hash, was the recorded file.
    ///
    /// # Errors
    /// [`SourceError::Stale`] if it changed meanwhile; [`SourceError::Io`] if it cannot be told.
    pub(super) fn check(&self, bytes_hash: u128) -> Result<(), SourceError> {
        self.witness.check()?;
        match &self.by_content {
            Some(file) => self.promise(file).check(bytes_hash),
            None => Ok(()),
        }
    }

    /// Why reading broke off: the file changed, if it did, and what was found in it only if it did not.
    pub(super) fn reason(&self, error: SourceError) -> SourceError {
        let changed = self.witness.check().and_then(|()| match &self.by_content {
            Some(file) => self.promise(file).check_now(),
            None => Ok(()),
        });
        match changed {
            Err(stale @ SourceError::Stale { .. }) => stale,
            _ => error,
        }
    }
}
