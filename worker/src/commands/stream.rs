//! `stream ls|read|write|cut|rm`: values of any length under a key, by range.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use eciton_engine::limits::STREAM_CHUNK_LEN_MAX;
use eciton_engine::{Db, Key, Position, Store, StreamWriter};
use serde_json::{Value, json};

use super::record::{refuse_system, tell_deleted, writable};
use crate::cli::{Get, Global, Place, Stream, StreamPart, StreamWrite};
use crate::database::{self, Absent};
use crate::failure::Failure;
use crate::keys;
use crate::output::Output;
use crate::words::{counted, grouped};

/// Bytes that are taken from the input at a time.
const PIECE_LEN: usize = 4 * STREAM_CHUNK_LEN_MAX;

/// Does a `stream` command.
///
/// # Errors
/// [`Failure::NoStore`], [`Failure::NoStream`], ranges beyond the stream; what the engine, the input or the
/// output refuses.
pub(super) async fn stream(global: &Global, args: Stream) -> Result<(), Failure> {
    match args {
        Stream::Ls { store } => list(global, &store).await,
        Stream::Read { at, part, out } => read(global, &at, part, out.as_deref()).await,
        Stream::Write(args) => write(global, args).await,
        Stream::Cut { at, range } => cut(global, &at, range.into()).await,
        Stream::Rm { at } => remove(global, &at).await,
    }
}

async fn list(global: &Global, store: &str) -> Result<(), Failure> {
    let db = database::read(global).await?;
    let store = database::store(&db, store).await?;
    let snapshot = db.snapshot();
    let mut output = Output::new(global);
    let mut streams = snapshot.streams(&store);
    while let Some(key) = streams.next().await? {
        let stream = snapshot.stream(&store, &key).await?;
        let len = stream.map_or(0, |stream| stream.len());
        let key = store.key_to_json(&key)?;
        output.either(&json!({"key": key, "len": len}), &format!("{key}\t{len}"))?;
    }
    Ok(output.finish()?)
}

async fn read(
    global: &Global,
    at: &Get,
    part: StreamPart,
    out: Option<&Path>,
) -> Result<(), Failure> {
    keys::check(&at.key)?;
    if global.json && out.is_none() {
        let ways = "bytes are no lines of JSON: give --out FILE, or leave --json out";
        return Err(Failure::Usage(ways.to_owned()));
    }
    let db = database::read(global).await?;
    let store = database::store(&db, &at.store).await?;
    let key = keys::parse(&store, &at.key)?;
    let stream = db.snapshot().stream(&store, &key).await?;
    let stream = stream.ok_or_else(|| none(&store, &key))?;
    let len = stream.len();
    let from = part.from.unwrap_or(0);
    if from > len {
        return Err(beyond(from, len));
    }
    let mut left = part.len.unwrap_or(u64::MAX).min(len - from);
    let bytes = left;
    let mut chunks = stream.chunks(from);
    let mut sink = Sink::open(global, out)?;
    while left > 0 {
        let Some(chunk) = chunks.next().await? else {
            break;
        };
        let taken = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        sink.write(&chunk[..taken])?;
        left -= taken as u64;
    }
    let key = store.key_to_json(&key)?;
    sink.finish(global, &json!({"key": key, "len": len, "bytes": bytes}))
}

/// Where bytes that are read go.
enum Sink {
    Output(Output),
    File(File, PathBuf),
}

impl Sink {
    fn open(global: &Global, out: Option<&Path>) -> Result<Sink, Failure> {
        let Some(path) = out else {
            return Ok(Sink::Output(Output::new(global)));
        };
        let file = File::create(path).map_err(|cause| with_path(path, &cause))?;
        Ok(Sink::File(file, path.to_owned()))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Sink::Output(output) => Ok(output.bytes(bytes)?),
            Sink::File(file, path) => file
                .write_all(bytes)
                .map_err(|cause| with_path(path, &cause)),
        }
    }

    fn finish(self, global: &Global, json: &Value) -> Result<(), Failure> {
        match self {
            Sink::Output(output) => Ok(output.finish()?),
            Sink::File(_, path) => {
                let mut output = Output::new(global);
                let bytes = counted(json["bytes"].as_u64().unwrap_or(0), "byte");
                let text = format!("{bytes} to {}", path.display());
                output.either(json, &text)?;
                Ok(output.finish()?)
            }
        }
    }
}

async fn write(global: &Global, args: StreamWrite) -> Result<(), Failure> {
    let mut input = Input::open(args.file.as_deref())?;
    let absent = if args.create {
        Absent::Create
    } else {
        Absent::Refuse
    };
    changing(global, &args.at, absent, args.create, async |stream| {
        let mut at = match args.place() {
            Place::Whole => {
                stream.delete().await?;
                0
            }
            Place::End => stream.len(),
            Place::Over(at) | Place::Before(at) => at,
            Place::Instead(range) => {
                within(&range, stream.len())?;
                stream.cut(range.clone()).await?;
                range.start
            }
        };
        if at > stream.len() {
            return Err(beyond(at, stream.len()));
        }
        let mut written = 0;
        loop {
            let piece = input.next()?;
            // Nothing at all is a stream, too: an empty one.
            if piece.is_empty() && (written > 0 || stream.exists()) {
                return Ok(written);
            }
            match args.place() {
                Place::Over(_) => stream.write_at(at, piece).await?,
                _ => stream.insert_at(at, piece).await?,
            }
            at += piece.len() as u64;
            written += piece.len() as u64;
        }
    })
    .await
}

async fn cut(global: &Global, at: &Get, range: Range<u64>) -> Result<(), Failure> {
    changing(global, at, Absent::Refuse, false, async |stream| {
        within(&range, stream.len())?;
        stream.cut(range.clone()).await?;
        Ok(0)
    })
    .await
}

async fn remove(global: &Global, at: &Get) -> Result<(), Failure> {
    refuse_system(&at.store)?;
    keys::check(&at.key)?;
    let (key, found) = database::writing(global, Absent::Refuse, async |db: Db| {
        let store = database::store(&db, &at.store).await?;
        let key = keys::parse(&store, &at.key)?;
        let mut transaction = db.begin();
        let mut stream = transaction.stream(&store, &key).await?;
        let found = stream.exists();
        if found {
            stream.delete().await?;
            transaction.commit().await?;
        }
        Ok((store.key_to_json(&key)?, found))
    })
    .await?;
    tell_deleted(global, &key, found)
}

/// Changes a stream in a transaction of its own and tells what it is afterwards. `change` says how many
/// bytes it wrote. Nobody else has the database open for writing, so no commit is lost to another.
async fn changing(
    global: &Global,
    at: &Get,
    absent: Absent,
    create: bool,
    change: impl AsyncFnOnce(&mut StreamWriter<'_>) -> Result<u64, Failure>,
) -> Result<(), Failure> {
    refuse_system(&at.store)?;
    keys::check(&at.key)?;
    let changed = database::writing(global, absent, async |db: Db| {
        let store = writable(&db, &at.store, create).await?;
        let key = keys::parse(&store, &at.key)?;
        let mut transaction = db.begin();
        let mut stream = transaction.stream(&store, &key).await?;
        let written = change(&mut stream).await?;
        let len = stream.len();
        let Position(position) = transaction.commit().await?.position;
        let key = store.key_to_json(&key)?;
        Ok(json!({"key": key, "len": len, "written": written, "position": position}))
    })
    .await?;
    let mut output = Output::new(global);
    let number = |name: &str| changed[name].as_u64().unwrap_or(0);
    let (written, len) = (counted(number("written"), "byte"), grouped(number("len")));
    let text = format!("wrote {written}, now {len}");
    output.either(&changed, &text)?;
    Ok(output.finish()?)
}

/// Bytes on their way into a stream.
struct Input {
    source: Box<dyn Read>,
    path: PathBuf,
    piece: Vec<u8>,
}

impl Input {
    /// A file, or standard input.
    fn open(path: Option<&Path>) -> Result<Input, Failure> {
        let source: Box<dyn Read> = match path {
            None => Box::new(io::stdin().lock()),
            Some(path) => Box::new(File::open(path).map_err(|cause| with_path(path, &cause))?),
        };
        Ok(Input {
            source,
            path: path.unwrap_or(Path::new("standard input")).to_owned(),
            piece: Vec::new(),
        })
    }

    /// The next bytes; none at the end.
    fn next(&mut self) -> Result<&[u8], Failure> {
        self.piece.clear();
        let mut limited = (&mut self.source).take(PIECE_LEN as u64);
        let read = limited.read_to_end(&mut self.piece);
        read.map_err(|cause| with_path(&self.path, &cause))?;
        Ok(&self.piece)
    }
}

fn none(store: &Store, key: &Key) -> Failure {
    let key = store.key_to_json(key).map(|key| key.to_string());
    Failure::NoStream {
        key: key.unwrap_or_default(),
        store: store.name().to_owned(),
    }
}

fn within(range: &Range<u64>, len: u64) -> Result<(), Failure> {
    if range.end > len {
        return Err(beyond(range.end, len));
    }
    Ok(())
}

fn beyond(offset: u64, len: u64) -> Failure {
    let len = counted(len, "byte");
    Failure::Usage(format!("{offset} lies beyond the stream's {len}"))
}

fn with_path(path: &Path, cause: &io::Error) -> Failure {
    Failure::Stream(io::Error::new(
        cause.kind(),
        format!("{}: {cause}", path.display()),
    ))
}
