//! Files that were mended after some of their shards failed.
//!
//! A shard that is done must find its bytes again, at whatever place: its rows are in the sink. What lies
//! between done shards is free: it is cut anew into as many shards as there were, so that numbers stay.

use std::io::{Read, Seek, SeekFrom};
use std::ops::{Range, RangeInclusive};

use eciton_proto::v1::{SourceFile, SourceSpec};
use xxhash_rust::xxh3::Xxh3;

use super::content;
use super::cut::cut_evenly;
use super::dialect::Dialect;
use super::error::SourceError;
use super::formats::FileOutline;
use super::handle::FileHandle;
use super::header::text_start;
use super::identity::{self, is_by_content, settle};
use super::input::{Codec, io_error};
use super::limits::MEND_READ_FACTOR_MAX;
use super::plan::{Planned, Shard, Source, recorded};
use super::reach;
use super::scan::is_line_end;

/// Bits of hashes that tell the place of bytes for certain, however many places were looked at.
const CERTAIN_BITS: u32 = 48;
/// How far from where it is expected a shard is looked for, step by step.
const REACHES: [u64; 4] = [4 << 10, 64 << 10, 1 << 20, u64::MAX];
/// How far a shard is looked for whose hash has less than [`CERTAIN_BITS`], and next to which none is done.
const UNCERTAIN_REACH_MAX: u64 = 1 << 20;

/// What the last line of a file may end with.
const LINE_ENDS: [&[u8]; 4] = [b"", b"\n", b"\r\n", b"\r"];
/// Bytes of the longest of them.
const LINE_END_MAX: i64 = 2;

/// The first half of a hash of bytes: no more of it is ever kept.
pub fn content_hash(bytes_hash: u128) -> u64 {
    u64::try_from(bytes_hash >> 64).unwrap_or(u64::MAX)
}

/// What is kept of the hash of a done shard's bytes: its first bits. Bytes that were edited by accident pass for those
/// that were there before once in 2^bits times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptHash {
    /// The bits, the last of them the least significant.
    first: u64,
    bits: u32,
}

impl KeptHash {
    /// Nothing was kept: no bytes are known to be those.
    pub const NOTHING: KeptHash = KeptHash { first: 0, bits: 0 };

    /// The first so many bits, from 1 to 64, of a [`content_hash`].
    pub fn new(content_hash: u64, bits: u32) -> KeptHash {
        let bits = bits.clamp(1, 64);
        let first = content_hash >> (64 - bits);
        KeptHash { first, bits }
    }

    /// Whether bytes of this hash are those.
    fn is_of(self, bytes_hash: u128) -> bool {
        self.bits > 0 && KeptHash::new(content_hash(bytes_hash), self.bits) == self
    }
}

/// Looks at the files again and moves the shards to where their bytes are now. `done_hash` gives what is
/// kept of a done shard, and `None` for any other.
/// The result replaces the recorded plan, in which only files and places of shards differ; shards keep
/// their numbers, and one whose bytes are gone is empty. Files that are the recorded ones and have no failed shard are
/// not read. Blocks the thread.
///
/// # Errors
/// [`SourceError::Changed`] naming the file if bytes of a done shard were changed, or cannot be found again;
/// other variants if a file cannot be read.
pub fn mend(
    source: &Source,
    shards: &[Shard],
    done_hash: impl Fn(u64) -> Option<KeptHash>,
) -> Result<Planned, SourceError> {
    let reach = source.reach().clone();
    reach.during(|| mend_within(source, shards, done_hash))
}

/// [`mend`], for the reach of this thread.
fn mend_within(
    source: &Source,
    shards: &[Shard],
    done_hash: impl Fn(u64) -> Option<KeptHash>,
) -> Result<Planned, SourceError> {
    let of_files = source.of_files();
    let mut files = source.files().to_vec();
    let mut moved = shards.to_vec();
    for (number, file) in (0_u32..).zip(&mut files) {
        let first = shards.partition_point(|shard| shard.file < number);
        let end = shards.partition_point(|shard| shard.file <= number);
        let failed = shards[first..end]
            .iter()
            .any(|shard| done_hash(shard.number).is_none());
        let mut now = file.clone();
        settle(std::slice::from_mut(&mut now))?;
        if is_unchanged(file, &now, failed)? {
            continue;
        }
        let mending = Mending {
            source: &of_files,
            old: file.clone(),
            new: now.clone(),
        };
        let pieces: Vec<Piece> = shards[first..end]
            .iter()
            .map(|shard| Piece {
                shard: *shard,
                hash: done_hash(shard.number),
            })
            .collect();
        let ranges = source.format()?.places_now(&mending, &pieces)?;
        let hashes = match is_by_content(file) {
            true => mending.hash(&mut now, &ranges)?,
            false => vec![0; ranges.len()],
        };
        identity::check_path(&now)?;
        for (shard, (range, hash)) in moved[first..end].iter_mut().zip(ranges.iter().zip(hashes)) {
            (shard.start, shard.len) = (range.start, range.end - range.start);
            shard.content_hash = hash;
        }
        *file = now;
    }
    Ok(recorded(source, &files, &moved))
}

/// Whether nothing of a file needs to be looked at. One in which a shard failed is, unless its bytes are known.
fn is_unchanged(file: &SourceFile, now: &SourceFile, failed: bool) -> Result<bool, SourceError> {
    if is_by_content(file) {
        return content::is_unchanged(file, now);
    }
    if failed || !identity::is_recorded(file) {
        return Ok(false);
    }
    match identity::check_path(file) {
        Ok(()) => Ok(true),
        Err(SourceError::Stale { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A shard of the file, and its hash if it is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    shard: Shard,
    hash: Option<KeptHash>,
}

/// One file that may have been mended.
pub(crate) struct Mending<'s> {
    source: &'s Source,
    old: SourceFile,
    new: SourceFile,
}

impl Mending<'_> {
    /// Hashes the file as it is now, for it to be known by that, and its shards.
    fn hash(&self, now: &mut SourceFile, ranges: &[Range<u64>]) -> Result<Vec<u64>, SourceError> {
        let file = std::slice::from_ref(&self.new);
        let hashed = content::hash_all(self.source.format()?, file, &[ranges.to_vec()])?;
        let hashed = hashed.into_iter().next().unwrap_or_default();
        (now.content_hash, now.tail_hash) = (hashed.content, hashed.tail);
        Ok(hashed.shards)
    }

    /// What the job file says of the source.
    pub(super) fn spec(&self) -> &SourceSpec {
        self.source.spec()
    }

    /// The file as it is now.
    pub(super) fn file_now(&self) -> &SourceFile {
        &self.new
    }

    /// Where each shard of a text file is now.
    pub(super) fn text_ranges(
        &self,
        pieces: &[Piece],
        dialect: Dialect,
    ) -> Result<Vec<Range<u64>>, SourceError> {
        if Codec::of(&self.old.path) != Codec::Plain {
            return self.compressed(pieces);
        }
        let start = text_start(&self.new, dialect, self.source.schema())?;
        self.text(pieces, dialect, start)
    }

    /// A compressed file is one shard: if that one failed, anything goes, and else its text is the same.
    fn compressed(&self, pieces: &[Piece]) -> Result<Vec<Range<u64>>, SourceError> {
        for hash in pieces.iter().filter_map(|piece| piece.hash) {
            let is_same = match content::text_hash(&self.new) {
                Ok(now) => hash.is_of(now),
                Err(error) if error.is_of_the_bytes() => false,
                Err(error) => return Err(error),
            };
            if !is_same {
                return Err(self.changed("the same text, since its shard is done", "another one"));
            }
        }
        Ok(pieces.iter().map(|_| 0..self.new.len).collect())
    }

    /// Where each shard of a file of groups is: where it was, if the file has as many groups and those of done shards are
    /// the same. `unit` is what groups are called.
    pub(super) fn group_ranges(
        &self,
        pieces: &[Piece],
        outline: &dyn FileOutline,
        unit: &str,
    ) -> Result<Vec<Range<u64>>, SourceError> {
        let found = outline.lens().len();
        let wanted: u64 = pieces.iter().map(|piece| piece.shard.len).sum();
        if found as u64 != wanted {
            return Err(self.changed(&format!("{wanted} {unit}"), &found.to_string()));
        }
        let mut ranges = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let range = piece.shard.start..piece.shard.start + piece.shard.len;
            if let Some(hash) = piece.hash
                && !hash.is_of(outline.digest(&range)?)
            {
                return Err(self.lost(piece.shard));
            }
            ranges.push(range);
        }
        Ok(ranges)
    }

    fn text(
        &self,
        pieces: &[Piece],
        dialect: Dialect,
        start: u64,
    ) -> Result<Vec<Range<u64>>, SourceError> {
        let failed = |source| io_error(&self.new, "cannot be opened", source);
        let mut text = MendedText {
            handle: reach::open(&self.new).map_err(failed)?,
            budget: self
                .new
                .len
                .saturating_mul(MEND_READ_FACTOR_MAX)
                .max(1 << 20),
            buffer: vec![0; 256 * 1024],
        };
        let mut ranges: Vec<Range<u64>> = Vec::with_capacity(pieces.len());
        let mut rest = pieces;
        while !rest.is_empty() {
            let open = rest.iter().take_while(|piece| piece.hash.is_none()).count();
            let from = ranges.last().map_or(start, |last| last.end);
            let (region, after) = rest.split_at(open);
            let to = match after {
                [] => self.new.len,
                _ if region.is_empty() => from,
                _ => self.find(&mut text, from, region, after)?,
            };
            ranges.extend(cut_evenly(&self.new, from..to, region.len(), dialect)?);
            let done = after
                .iter()
                .take_while(|piece| piece.hash.is_some())
                .count();
            let mut at = to;
            for (index, piece) in (0..done).zip(after) {
                let is_last = index + 1 == after.len();
                let Some(len) = self.held(&mut text, at, *piece, is_last)? else {
                    return Err(self.lost(piece.shard));
                };
                ranges.push(at..at + len);
                at += len;
            }
            rest = &after[done..];
        }
        let end = ranges.last().map_or(start, |last| last.end);
        // What follows a done shard that ends the file is the end of its last line.
        if end == self.new.len || text.ends_a_line(&self.new, start, end)? {
            return Ok(ranges);
        }
        Err(self.changed(
            &format!("its end at byte {end}, since all before is done"),
            &format!("{}", self.new.len),
        ))
    }

    /// Where the first of `after`, which is done, begins at or after `from`; `region` lies before it.
    fn find(
        &self,
        text: &mut MendedText,
        from: u64,
        region: &[Piece],
        after: &[Piece],
    ) -> Result<u64, SourceError> {
        let anchor = after[0];
        let region_start = region
            .first()
            .map_or(anchor.shard.start, |piece| piece.shard.start);
        // Nothing behind it can have changed if all behind it is done: then its place is certain, but for the end of
        // the last line, which may have come or gone. Where it is not there, the one that changed is looked for.
        if after.iter().all(|piece| piece.hash.is_some()) {
            let len: u64 = after.iter().map(|piece| piece.shard.len).sum();
            let starts = (-LINE_END_MAX..=LINE_END_MAX).filter_map(|more| {
                let len = len.checked_add_signed(more)?;
                self.new.len.checked_sub(len).filter(|at| *at >= from)
            });
            let mut starts: Vec<u64> = starts.collect();
            starts.sort_by_key(|at| (self.new.len - at).abs_diff(len));
            for at in starts {
                let begins = at == from || text.byte(&self.new, at - 1)?.is_some_and(is_line_end);
                if begins && self.held(text, at, anchor, after.len() == 1)?.is_some() {
                    return Ok(at);
                }
            }
        }
        // A mended value moves what follows by a few bytes: look near the place where it would be had
        // nothing changed, then further away.
        let expected = from + (anchor.shard.start - region_start);
        let certain = certain(after);
        let bits: u32 = bits_of(certain);
        for reach in REACHES {
            if bits < CERTAIN_BITS && reach > UNCERTAIN_REACH_MAX {
                break;
            }
            let near = expected.saturating_sub(reach).max(from)..=expected.saturating_add(reach);
            if let Some(at) = self.find_in(text, from, near, certain)? {
                return Ok(at);
            }
        }
        Err(self.lost(anchor.shard))
    }

    /// Where `pieces` begin among the starts of lines in `near`, or, where they are not there together, the first of
    /// them; `from` is one of the starts.
    fn find_in(
        &self,
        text: &mut MendedText,
        from: u64,
        near: RangeInclusive<u64>,
        pieces: &[Piece],
    ) -> Result<Option<u64>, SourceError> {
        let [anchor, rest @ ..] = pieces else {
            return Ok(None);
        };
        let mut first = None;
        let last = self
            .new
            .len
            .saturating_sub(anchor.shard.len)
            .min(*near.end());
        let mut at = *near.start();
        if at > from {
            let Some(next) = text.line_after(&self.new, at - 1)? else {
                return Ok(None);
            };
            at = next;
        }
        while at <= last {
            if self.holds(text, at, *anchor)? {
                if self.hold(text, at + anchor.shard.len, rest)? {
                    return Ok(Some(at));
                }
                first = first.or(Some(at));
            }
            match text.line_after(&self.new, at)? {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(first)
    }

    /// Whether the bytes of done shards are at `at`, one after the other.
    fn hold(&self, text: &mut MendedText, at: u64, pieces: &[Piece]) -> Result<bool, SourceError> {
        let mut at = at;
        for piece in pieces {
            if !self.holds(text, at, *piece)? {
                return Ok(false);
            }
            at += piece.shard.len;
        }
        Ok(true)
    }

    /// The bytes at `at` that are those of a done shard; `None` where they are not there. Of the last shard of a file the
    /// end of the last line may have come, gone, or become another one: that is no part of any record. It is left out.
    fn held(
        &self,
        text: &mut MendedText,
        at: u64,
        piece: Piece,
        is_last: bool,
    ) -> Result<Option<u64>, SourceError> {
        let len = piece.shard.len;
        if self.holds(text, at, piece)? {
            return Ok(Some(len));
        }
        let Some(kept) = piece.hash.filter(|_| is_last) else {
            return Ok(None);
        };
        // Without the end of the line that was there.
        for len in (0..=LINE_END_MAX.unsigned_abs()).filter_map(|less| len.checked_sub(less)) {
            let Some(end) = at.checked_add(len).filter(|end| *end <= self.new.len) else {
                continue;
            };
            let ends = end == self.new.len || text.ends_a_line(&self.new, at, end)?;
            let is_line = end > at && !text.byte(&self.new, end - 1)?.is_some_and(is_line_end);
            if !ends || !is_line {
                continue;
            }
            let Some(hash) = text.hashed(&self.new, at..end)? else {
                return Err(self.too_many());
            };
            let is_it = |line_end: &&[u8]| {
                let mut hash = hash.clone();
                hash.update(line_end);
                kept.is_of(hash.digest128())
            };
            if LINE_ENDS.iter().any(is_it) {
                return Ok(Some(len));
            }
        }
        Ok(None)
    }

    /// Whether the bytes of a done shard are at `at`.
    fn holds(&self, text: &mut MendedText, at: u64, piece: Piece) -> Result<bool, SourceError> {
        let end = at
            .checked_add(piece.shard.len)
            .filter(|end| *end <= self.new.len);
        let Some(end) = end else { return Ok(false) };
        // A shard ends where a line does: most wrong places are ruled out by one byte.
        if end > at && end < self.new.len {
            let last = text.byte(&self.new, end - 1)?;
            if !last.is_some_and(is_line_end) {
                return Ok(false);
            }
        }
        let Some(hash) = text.hash(&self.new, at..end)? else {
            return Err(self.too_many());
        };
        Ok(piece.hash.is_some_and(|kept| kept.is_of(hash)))
    }

    fn too_many(&self) -> SourceError {
        self.changed(
            "changes in failed shards only",
            "so many that the done ones cannot be told from them",
        )
    }

    fn lost(&self, shard: Shard) -> SourceError {
        let expected = format!(
            "changes in failed shards only; shard {} (byte {} and {} after it when recorded) is done",
            shard.number, shard.start, shard.len
        );
        self.changed(&expected, "other bytes in its place")
    }

    fn changed(&self, expected: &str, found: &str) -> SourceError {
        SourceError::Changed {
            file: self.old.display.clone(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }
}

/// Of shards the first of which is done: as many done ones as it takes to tell their place, or all up to the next that
/// is not done.
fn certain(pieces: &[Piece]) -> &[Piece] {
    let done = pieces.iter().take_while(|piece| piece.hash.is_some());
    let done = done.count();
    let enough = (1..done).find(|count| bits_of(&pieces[..*count]) >= CERTAIN_BITS);
    &pieces[..enough.unwrap_or(done)]
}

fn bits_of(pieces: &[Piece]) -> u32 {
    let kept = pieces.iter().filter_map(|piece| piece.hash);
    kept.map(|hash| hash.bits).sum()
}

/// A file that is looked into at many places, but not without bound.
struct MendedText {
    handle: FileHandle,
    /// Bytes that may still be hashed.
    budget: u64,
    buffer: Vec<u8>,
}

impl MendedText {
    fn seek(&mut self, file: &SourceFile, at: u64) -> Result<(), SourceError> {
        let sought = self.handle.seek(SeekFrom::Start(at));
        sought
            .map(|_| ())
            .map_err(|source| io_error(file, "cannot be read", source))
    }

    fn read(&mut self, file: &SourceFile, len_max: u64) -> Result<usize, SourceError> {
        let len = usize::try_from(len_max)
            .unwrap_or(usize::MAX)
            .min(self.buffer.len());
        let read = self.handle.read(&mut self.buffer[..len]);
        read.map_err(|source| io_error(file, "cannot be read", source))
    }

    fn byte(&mut self, file: &SourceFile, at: u64) -> Result<Option<u8>, SourceError> {
        self.seek(file, at)?;
        Ok((self.read(file, 1)? == 1).then(|| self.buffer[0]))
    }

    /// Where the next line begins.
    fn line_after(&mut self, file: &SourceFile, at: u64) -> Result<Option<u64>, SourceError> {
        self.seek(file, at)?;
        let mut at = at;
        loop {
            let read = self.read(file, 4096)?;
            if read == 0 {
                return Ok(None);
            }
            let is_end = |byte: &u8| is_line_end(*byte);
            if let Some(found) = self.buffer[..read].iter().position(is_end) {
                let end = at + found as u64 + 1;
                let of_two = self.buffer[found] == b'\r' && self.byte(file, end)? == Some(b'\n');
                return Ok(Some(end + u64::from(of_two)));
            }
            at += read as u64;
        }
    }

    /// Whether what lies between `at` and the end of the file ends the line before it, and nothing more; `from` is the
    /// first byte that may be of that line.
    fn ends_a_line(&mut self, file: &SourceFile, from: u64, at: u64) -> Result<bool, SourceError> {
        let Some(rest) = file.len.checked_sub(at).filter(|_| at > from) else {
            return Ok(false);
        };
        if rest == 0 || rest > LINE_END_MAX.unsigned_abs() {
            return Ok(false);
        }
        let last = self.byte(file, at - 1)?;
        self.seek(file, at)?;
        let mut tail = Vec::new();
        while (tail.len() as u64) < rest {
            let read = self.read(file, rest - tail.len() as u64)?;
            if read == 0 {
                return Ok(false);
            }
            tail.extend_from_slice(&self.buffer[..read]);
        }
        Ok(match last {
            // The other half of one end.
            Some(b'\r') => tail == b"\n",
            Some(last) if is_line_end(last) => false,
            _ => LINE_ENDS.contains(&tail.as_slice()),
        })
    }

    /// The hash of some bytes; `None` if the bound is used up.
    fn hash(&mut self, file: &SourceFile, range: Range<u64>) -> Result<Option<u128>, SourceError> {
        Ok(self.hashed(file, range)?.map(|hash| hash.digest128()))
    }

    /// The same, to go on with.
    fn hashed(
        &mut self,
        file: &SourceFile,
        range: Range<u64>,
    ) -> Result<Option<Xxh3>, SourceError> {
        let mut rest = range.end - range.start;
        let Some(budget) = self.budget.checked_sub(rest) else {
            return Ok(None);
        };
        self.budget = budget;
        self.seek(file, range.start)?;
        let mut hash = Xxh3::new();
        while rest > 0 {
            let read = self.read(file, rest)?;
            if read == 0 {
                break;
            }
            hash.update(&self.buffer[..read]);
            rest -= read as u64;
        }
        Ok(Some(hash))
    }
}
