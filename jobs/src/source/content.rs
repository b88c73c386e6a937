//! Files that are known by their bytes: `verify = "content"`.
//!
//! When a job is recorded each file is read once, and with it are recorded a hash of all of it and one of what each shard
//! covers. A shard that has been read must have had those bytes, whatever the times of the file say. The text of a
//! compressed file is what is hashed for its shard, and the file itself where it is too damaged to have a text.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use eciton_proto::v1::{SourceFile, SourceSpec, Verify};
use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use super::error::SourceError;
use super::format::SourceFormat;
use super::formats::FileOutline;
use super::handle::FileHandle;
use super::input::{Codec, TextInput, io_error, open};
use super::mend::content_hash;
use super::reach::Reach;

/// Bytes that are read at once.
const READ_LEN: usize = 256 * 1024;

/// Hashes of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hashed {
    /// As in [`SourceFile`].
    pub(super) content: Vec<u8>,
    /// As in [`SourceFile`].
    pub(super) tail: u64,
    /// Of what each shard covers; 0 where that cannot be read.
    pub(super) shards: Vec<u64>,
}

/// Whether files are to be known by their bytes.
pub(super) fn is_wanted(spec: &SourceSpec) -> bool {
    spec.verify() == Verify::Content
}

/// Reads every file and hashes it and what its shards cover, several files at a time.
///
/// # Errors
/// Those of opening and reading a file.
pub(super) fn hash_all(
    format: &dyn SourceFormat,
    files: &[SourceFile],
    ranges: &[Vec<Range<u64>>],
) -> Result<Vec<Hashed>, SourceError> {
    debug_assert_eq!(files.len(), ranges.len(), "the shards of each file");
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (next, reach) = (AtomicUsize::new(0), Reach::current());
    let hashed: Vec<Mutex<Option<Result<Hashed, SourceError>>>> =
        files.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.min(files.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(file), Some(place)) = (files.get(at), hashed.get(at)) else {
                        return;
                    };
                    *place.lock() = Some(reach.during(|| format.hash(file, &ranges[at])));
                }
            });
        }
    });
    let missing = || SourceError::Plan("a file was not hashed".to_owned());
    hashed
        .into_iter()
        .map(|place| place.into_inner().unwrap_or_else(|| Err(missing())))
        .collect()
}

/// Hashes a text file, and what ranges of its text have.
///
/// # Errors
/// Those of opening and reading the file.
pub(super) fn hash_text(file: &SourceFile, ranges: &[Range<u64>]) -> Result<Hashed, SourceError> {
    let tail = 0;
    if Codec::of(&file.path) == Codec::Plain {
        let (content, shards) = hash_bytes(file, ranges)?;
        return Ok(Hashed {
            content,
            tail,
            shards,
        });
    }
    let (content, _) = hash_bytes(file, &[])?;
    let text = match text_hash(file) {
        Ok(hash) => content_hash(hash),
        Err(error) if error.is_of_the_bytes() => 0,
        Err(error) => return Err(error),
    };
    Ok(Hashed {
        content,
        tail,
        shards: ranges.iter().map(|_| text).collect(),
    })
}

/// Hashes a file of groups of rows, and ranges of its groups.
///
/// # Errors
/// Those of opening and reading the file, and of `outline`.
pub(super) fn hash_groups(
    file: &SourceFile,
    ranges: &[Range<u64>],
    outline: impl Fn() -> Result<Box<dyn FileOutline>, SourceError>,
) -> Result<Hashed, SourceError> {
    let (content, _) = hash_bytes(file, &[])?;
    let outline = outline()?;
    let of = |range: &Range<u64>| Ok(content_hash(outline.digest(range)?));
    Ok(Hashed {
        content,
        tail: outline.rest_hash()?,
        shards: ranges.iter().map(of).collect::<Result<_, SourceError>>()?,
    })
}

/// XXH3-128 of a whole file, big-endian, and the hashes of ranges of it, which come in order and do not overlap.
fn hash_bytes(
    file: &SourceFile,
    ranges: &[Range<u64>],
) -> Result<(Vec<u8>, Vec<u64>), SourceError> {
    let failed = |source| io_error(file, "cannot be read", source);
    let mut handle = open(file)?;
    let mut buffer = vec![0; READ_LEN];
    let mut whole = Xxh3::new();
    let mut part = Xxh3::new();
    let mut hashes = Vec::with_capacity(ranges.len());
    let mut offset = 0;
    loop {
        let read = handle.read(&mut buffer).map_err(failed)?;
        let end = offset + read as u64;
        whole.update(&buffer[..read]);
        while let Some(range) = ranges.get(hashes.len()) {
            let within = |at: u64| usize::try_from(at.clamp(offset, end) - offset).unwrap_or(0);
            part.update(&buffer[within(range.start)..within(range.end).max(within(range.start))]);
            if range.end > end {
                break;
            }
            hashes.push(content_hash(part.digest128()));
            part.reset();
        }
        if read == 0 {
            break;
        }
        offset = end;
    }
    hashes.resize(ranges.len(), 0);
    Ok((whole.digest128().to_be_bytes().to_vec(), hashes))
}

/// XXH3-128 of the text of a compressed file.
///
/// # Errors
/// One [of the bytes](SourceError::is_of_the_bytes) if they are no such text; those of opening and reading the file.
pub(super) fn text_hash(file: &SourceFile) -> Result<u128, SourceError> {
    let mut input = TextInput::open(file)?;
    let mut buffer = vec![0; READ_LEN];
    let mut hash = Xxh3::new();
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(hash.digest128()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// XXH3-64 of all bytes of a file from one on.
///
/// # Errors
/// Those of opening and reading the file.
pub(super) fn hash_from(file: &SourceFile, at: u64) -> Result<u64, SourceError> {
    let failed = |source| io_error(file, "cannot be read", source);
    let mut handle = open(file)?;
    handle.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut buffer = vec![0; READ_LEN];
    let mut hash = Xxh3::new();
    loop {
        match handle.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hash.digest()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// The bytes of a shard as they were recorded.
pub(crate) struct Promise<'s> {
    pub(super) format: &'static dyn SourceFormat,
    pub(super) file: &'s SourceFile,
    pub(super) range: Range<u64>,
    /// 0 where it could not be made.
    pub(super) content_hash: u64,
}

impl Promise<'_> {
    /// Holds the hash of what was read of the shard against what was recorded.
    ///
    /// # Errors
    /// [`SourceError::Stale`] for other bytes.
    pub(super) fn check(&self, bytes_hash: u128) -> Result<(), SourceError> {
        if self.content_hash != 0 && content_hash(bytes_hash) != self.content_hash {
            return Err(self.broken());
        }
        match self.content_hash == 0 || self.format.reads_beside_shard() {
            true => self.check_now(),
            false => Ok(()),
        }
    }

    /// Holds what the file has now, where the shard lies, against what was recorded.
    ///
    /// # Errors
    /// [`SourceError::Stale`] for other bytes; those of reading the file.
    pub(super) fn check_now(&self) -> Result<(), SourceError> {
        match self.format.is_kept(self)? {
            true => Ok(()),
            false => Err(self.broken()),
        }
    }

    /// Whether the text of the shard is the one that was recorded; of a shard without a hash, the whole file.
    ///
    /// # Errors
    /// Those of reading the file.
    pub(super) fn is_text_kept(&self) -> Result<bool, SourceError> {
        match self.content_hash {
            hash if hash != 0 && Codec::of(&self.file.path) == Codec::Plain => {
                Ok(self.hash_range()? == hash)
            }
            _ => Ok(hash_bytes(self.file, &[])?.0 == self.file.content_hash),
        }
    }

    /// Whether the groups of the shard, and what else tells its rows, are those that were recorded.
    ///
    /// # Errors
    /// Those of reading the file; [`SourceError::Stale`] for one that has no outline any more.
    pub(super) fn are_groups_kept(
        &self,
        outline: impl Fn(&SourceFile) -> Result<Box<dyn FileOutline>, SourceError>,
    ) -> Result<bool, SourceError> {
        let outline = outline(self.file).map_err(|error| match error {
            SourceError::Io { .. } => error,
            _ => self.broken(),
        })?;
        let now = content_hash(outline.digest(&self.range)?);
        Ok(now == self.content_hash && outline.rest_hash()? == self.file.tail_hash)
    }

    fn hash_range(&self) -> Result<u64, SourceError> {
        let failed = |source| io_error(self.file, "cannot be read", source);
        let mut handle: FileHandle = open(self.file)?;
        handle
            .seek(SeekFrom::Start(self.range.start))
            .map_err(failed)?;
        let mut rest = handle.take(self.range.end - self.range.start);
        let mut buffer = vec![0; READ_LEN];
        let mut hash = Xxh3::new();
        loop {
            match rest.read(&mut buffer).map_err(failed)? {
                0 => return Ok(content_hash(hash.digest128())),
                read => hash.update(&buffer[..read]),
            }
        }
    }

    fn broken(&self) -> SourceError {
        let place = self.format.shown_place(self.file, &self.range);
        SourceError::Stale {
            file: self.file.display.clone(),
            expected: format!("the bytes that were hashed then in {place}"),
            found: "others".to_owned(),
        }
    }
}

/// Whether a file has the bytes that were recorded.
pub(super) fn is_unchanged(file: &SourceFile, now: &SourceFile) -> Result<bool, SourceError> {
    Ok(now.len == file.len && hash_bytes(now, &[])?.0 == file.content_hash)
}
