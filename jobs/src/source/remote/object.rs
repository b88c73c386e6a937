//! One object, read by ranges as if it were a file.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use eciton_proto::v1::SourceFile;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};
use parking_lot::Mutex;

use super::address::Address;
use super::client::{changed, client, failure, wait};

/// Bytes that are asked for after a leap.
const WINDOW_LEN_MIN: usize = 64 * 1024;
/// Bytes that are asked for at once, at most.
const WINDOW_LEN_MAX: usize = 8 * 1024 * 1024;
/// Times that a range is asked for, where its answer breaks off.
const TRIES_MAX: u32 = 4;
/// How long it takes until a range is asked for again; twice as long each time.
const PAUSE: Duration = Duration::from_millis(100);

/// An object as it was recorded. Whoever reads it reads that version of it or nothing.
#[derive(Debug)]
pub(in crate::source) struct RemoteFile {
    object: Arc<RemoteObject>,
    window: Mutex<ReadAhead>,
}

#[derive(Debug)]
struct RemoteObject {
    store: Arc<dyn ObjectStore>,
    path: Path,
    len: u64,
    etag: String,
    modified: Option<DateTime<Utc>>,
}

/// What was read ahead.
#[derive(Debug, Default)]
struct ReadAhead {
    /// Byte that is read next.
    at: u64,
    /// Byte of the first one held.
    begin: u64,
    held: Bytes,
    /// Bytes that are asked for next.
    wanted: usize,
}

/// Describes an object as it is now.
///
/// # Errors
/// [`io::ErrorKind::NotFound`]; what the store or the network says.
pub(super) fn look(address: &Address, follows: bool) -> io::Result<SourceFile> {
    let path = address.path().map_err(invalid)?;
    let store = client(address, follows)?;
    let found = wait(async move {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        store.get_opts(&path, options).await.map(|got| got.meta)
    })?;
    Ok(described(
        &address.to_string(),
        &found.map_err(|e| failure(&e))?,
    ))
}

/// What a store tells of an object, as it is recorded.
pub(super) fn described(url: &str, meta: &ObjectMeta) -> SourceFile {
    SourceFile {
        path: url.to_owned(),
        display: url.to_owned(),
        len: meta.size,
        mtime_ms: meta.last_modified.timestamp_millis(),
        mtime_ns: meta.last_modified.timestamp_nanos_opt().unwrap_or(0),
        etag: meta.e_tag.clone().unwrap_or_default(),
        ..SourceFile::default()
    }
}

pub(super) fn invalid(told: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, told)
}

/// Whether two tags of one object are of the same version. Listings and answers may differ in quotes.
pub(in crate::source) fn is_same_tag(one: &str, other: &str) -> bool {
    one.trim_matches('"') == other.trim_matches('"')
}

impl RemoteFile {
    /// A recorded object. Nothing is sent yet: the first read finds out whether it is still the recorded one.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for what is no address; [`io::ErrorKind::PermissionDenied`] without credentials.
    pub(super) fn recorded(file: &SourceFile, follows: bool) -> io::Result<RemoteFile> {
        let address = Address::parse(&file.path).map_err(invalid)?;
        let path = address.path().map_err(invalid)?;
        Ok(RemoteFile {
            object: Arc::new(RemoteObject {
                store: client(&address, follows)?,
                path,
                len: file.len,
                etag: file.etag.clone(),
                modified: (file.mtime_ns != 0)
                    .then(|| DateTime::from_timestamp_nanos(file.mtime_ns)),
            }),
            window: Mutex::new(ReadAhead {
                wanted: WINDOW_LEN_MIN,
                ..ReadAhead::default()
            }),
        })
    }

    fn read_at_window(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut window = self.window.lock();
        let len = self.object.len;
        if buffer.is_empty() || window.at >= len {
            return Ok(0);
        }
        let end = window.begin + window.held.len() as u64;
        if !(window.begin..end).contains(&window.at) {
            let goes_on = window.at == end && !window.held.is_empty();
            window.wanted = match goes_on {
                true => (window.wanted * 2).min(WINDOW_LEN_MAX),
                false => WINDOW_LEN_MIN,
            };
            let wanted = window.wanted.max(buffer.len()).min(WINDOW_LEN_MAX) as u64;
            let range = window.at..len.min(window.at.saturating_add(wanted));
            window.held = self.object.fetch(range)?;
            window.begin = window.at;
        }
        let from = usize::try_from(window.at - window.begin).unwrap_or(usize::MAX);
        let held = window.held.get(from..).unwrap_or_default();
        let read = held.len().min(buffer.len());
        assert!(read > 0, "bytes from {} of {len} were fetched", window.at);
        buffer[..read].copy_from_slice(&held[..read]);
        window.at += read as u64;
        Ok(read)
    }

    fn seek_to(&self, to: SeekFrom) -> io::Result<u64> {
        let mut window = self.window.lock();
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.object.len.checked_add_signed(by),
            SeekFrom::Current(by) => window.at.checked_add_signed(by),
        };
        window.at = at.ok_or_else(|| invalid("a place before the beginning".to_owned()))?;
        Ok(window.at)
    }
}

impl RemoteObject {
    /// The bytes of a range, all of them, of the recorded version.
    fn fetch(self: &Arc<Self>, range: std::ops::Range<u64>) -> io::Result<Bytes> {
        debug_assert!(
            range.start < range.end && range.end <= self.len,
            "{range:?}"
        );
        let mut tries = 1;
        loop {
            let (object, wanted) = (Arc::clone(self), range.clone());
            let fetched = wait(async move { object.fetch_once(wanted).await })?;
            match fetched {
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionReset && tries < TRIES_MAX =>
                {
                    sleep(PAUSE * 2_u32.pow(tries - 1));
                    tries += 1;
                }
                fetched => return fetched,
            }
        }
    }

    async fn fetch_once(&self, range: std::ops::Range<u64>) -> io::Result<Bytes> {
        // A weak tag never matches a condition; what the answer says of itself is compared below.
        let is_strong = !self.etag.is_empty() && !self.etag.starts_with("W/");
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            if_match: is_strong.then(|| self.etag.clone()),
            ..GetOptions::default()
        };
        let got = self.store.get_opts(&self.path, options).await;
        let got = got.map_err(|error| failure(&error))?;
        let etag = got.meta.e_tag.as_deref().unwrap_or_default();
        let is_same = match self.etag.is_empty() {
            true => self
                .modified
                .is_none_or(|time| time == got.meta.last_modified),
            false => is_same_tag(&self.etag, etag),
        };
        if !is_same || got.meta.size != self.len {
            return Err(changed("it is another object by now"));
        }
        if got.range != range {
            let (told, asked) = (&got.range, &range);
            return Err(short(format!("bytes {told:?} came instead of {asked:?}")));
        }
        let bytes = got.bytes().await.map_err(|error| failure(&error))?;
        // The end of an answer is no end of the object.
        match bytes.len() as u64 == range.end - range.start {
            true => Ok(bytes),
            false => Err(short(format!("{} bytes came of {range:?}", bytes.len()))),
        }
    }
}

/// An answer that is shorter than it should be.
fn short(told: String) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, told)
}

impl Read for &RemoteFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_at_window(buffer)
    }
}

impl Seek for &RemoteFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.seek_to(to)
    }
}
