//! `export`: the records of a store as files.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eciton_engine::storage::{Created, Name, ObjectWriter, Storage};
use eciton_engine::{Action, ScanRange};
use eciton_jobs::stores::{self, QueryError, RecordBatch, Rows, Writer};
use parking_lot::Mutex;
use serde_json::json;

use crate::cli::Global;
use crate::closed::is_stdout_closed;
use crate::database;
use crate::export_flags::{Export, FileFormat};
use crate::failure::Failure;
use crate::keys;
use crate::output::Output;
use crate::progress::Meter;
use crate::staged::{Staged, StagedFolder};
use crate::words::{counted, grouped};

/// How often an export starts over: because its records were collected meanwhile, or its columns turned out to be others.
const TRIES_MAX: u32 = 5;

/// Writes the records of a store to a file, a folder, a bucket or standard output.
///
/// # Errors
/// Exit code 2 for a format, a target or a store that cannot be; 1 where reading or writing fails.
pub(super) async fn export(global: &Global, args: &Export) -> Result<(), Failure> {
    let target = Target::of(&args.to)?;
    let format = format_of(args, &target)?;
    if global.json && matches!(target, Target::Stdout) {
        return Err(Failure::Usage(
            "`--json` prints what was exported: give `--to FILE`, so that the records go elsewhere"
                .to_owned(),
        ));
    }
    let is_binary = matches!(format, FileFormat::Parquet | FileFormat::Arrow);
    if is_binary && matches!(target, Target::Stdout) && io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "this format is no text for a terminal: redirect it, or use `--to FILE`".to_owned(),
        ));
    }
    if let Some(prefix) = &args.prefix {
        keys::check(prefix)?;
    }
    let mut inferred = args.inferring.records();
    let mut tries = 1;
    let exported = loop {
        let tried = once(global, args, &target, format, inferred).await;
        let is_again = tries < TRIES_MAX && target.takes_back();
        match tried {
            Err(Failure::Query(QueryError::Misfit { .. })) if is_again && inferred.is_some() => {
                inferred = None;
            }
            Err(Failure::Query(QueryError::Engine(error)) | Failure::Engine(error))
                if is_again && error.action() == Action::Retry => {}
            done => break done?,
        }
        tries += 1;
    };
    if let Target::Stdout = target {
        return Ok(());
    }
    let told = json!({
        "store": args.store,
        "to": args.to,
        "format": format.extension(),
        "records": exported.records,
        "files": exported.files,
        "bytes": exported.bytes,
    });
    let text = format!(
        "{} of store `{}` exported to {} ({}, {} bytes)",
        counted(exported.records, "record"),
        args.store,
        args.to,
        counted(exported.files, "file"),
        grouped(exported.bytes)
    );
    let mut output = Output::new(global);
    output.either(&told, &text)?;
    Ok(output.finish()?)
}

/// Where records go.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Stdout,
    File(PathBuf),
    Folder(PathBuf),
    /// The address of what an object lies in, and its name there.
    Bucket {
        place: String,
        name: Name,
    },
}

impl Target {
    /// Whether what was written to it can be thrown away: not what a pipe has taken.
    fn takes_back(&self) -> bool {
        match self {
            Target::Stdout => false,
            Target::File(path) => fs::metadata(path).is_ok_and(|is| is.is_file()) || !path.exists(),
            Target::Folder(_) | Target::Bucket { .. } => true,
        }
    }

    fn of(to: &str) -> Result<Target, Failure> {
        if to == "-" {
            return Ok(Target::Stdout);
        }
        if let Some((scheme, rest)) = to.split_once("://") {
            let told = |why: &str| Failure::Usage(format!("`--to {to}`: {why}"));
            if !["s3", "gs", "az"].contains(&scheme) {
                return Err(told(
                    "expected an address that begins with s3://, gs:// or az://",
                ));
            }
            let (place, name) = rest
                .rsplit_once('/')
                .filter(|(place, name)| !place.is_empty() && !name.is_empty())
                .ok_or_else(|| {
                    told("expected the name of an object, as s3://bucket/flights.parquet; a folder of files is written to disks only")
                })?;
            let name = Name::parse(name).ok_or_else(|| {
                told("the name of an object has letters, digits, `-`, `_` and `.`")
            })?;
            let place = format!("{scheme}://{place}");
            return Ok(Target::Bucket { place, name });
        }
        let path = PathBuf::from(to);
        Ok(match to.ends_with('/') || path.is_dir() {
            true => Target::Folder(path),
            false => Target::File(path),
        })
    }
}

fn format_of(args: &Export, target: &Target) -> Result<FileFormat, Failure> {
    let named = match target {
        Target::Stdout | Target::Folder(_) => None,
        Target::File(path) => path.extension().and_then(|text| text.to_str()),
        Target::Bucket { name, .. } => Path::new(name.as_str())
            .extension()
            .and_then(|text| text.to_str()),
    };
    let by_name = named.and_then(FileFormat::by_extension);
    match (args.format, by_name, target) {
        (Some(format), _, _) | (None, Some(format), _) => Ok(format),
        (None, None, Target::Stdout | Target::Folder(_)) => Ok(FileFormat::Csv),
        (None, None, _) => Err(Failure::Usage(format!(
            "{}: its name does not tell a format; give `--format csv`, `jsonl`, `parquet` or `arrow`",
            args.to
        ))),
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
struct Exported {
    records: u64,
    files: u64,
    bytes: u64,
}

async fn once(
    global: &Global,
    args: &Export,
    target: &Target,
    format: FileFormat,
    inferred: Option<u64>,
) -> Result<Exported, Failure> {
    let db = database::read(global).await?;
    let store = database::store(&db, &args.store).await?;
    let prefix = args.prefix.as_deref();
    let range = ScanRange {
        prefix: prefix.map(|text| keys::parse(&store, text)).transpose()?,
        ..ScanRange::all()
    };
    let rows = stores::records(&db, &store, &range, inferred).await?;
    let meter = Meter::spinner("exporting");
    let mut writing = Exporting {
        rows,
        rest: None,
        format: format.written(!matches!(target, Target::Stdout)),
        exported: Exported::default(),
        meter: &meter,
    };
    let done = match target {
        Target::Stdout => writing.fill_stdout(global).await,
        Target::File(path) => writing.fill_file(path, u64::MAX).await,
        Target::Folder(path) => {
            writing
                .fill_folder(path, format.extension(), args.rows_per_file)
                .await
        }
        Target::Bucket { place, name } => writing.fill_bucket(place, name).await,
    };
    meter.finish();
    done?;
    Ok(writing.exported)
}

/// An export under way.
struct Exporting<'m> {
    rows: Rows,
    /// What the last file had no room for.
    rest: Option<RecordBatch>,
    format: stores::Format,
    exported: Exported,
    meter: &'m Meter,
}

impl Exporting<'_> {
    async fn fill_stdout(&mut self, global: &Global) -> Result<(), Failure> {
        let mut sink = Sink::Stdout(io::stdout());
        let done = self.write(&mut sink, u64::MAX).await;
        if is_stdout_closed() {
            return Ok(Output::new(global).finish()?);
        }
        done
    }

    async fn fill_file(&mut self, path: &Path, rows_max: u64) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::Work(format!("{}: {error}", path.display()));
        let mut sink = Sink::File(Staged::begin(path).map_err(failed)?);
        let written = self.write(&mut sink, rows_max).await;
        written.map_err(|error| at(path, error))?;
        let Sink::File(staged) = sink else {
            unreachable!("a file was begun")
        };
        staged.publish().map_err(failed)
    }

    /// A folder of files, which appears with all of them.
    async fn fill_folder(
        &mut self,
        path: &Path,
        extension: &str,
        rows_max: u64,
    ) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::Work(format!("{}: {error}", path.display()));
        let staged = StagedFolder::begin(path).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty => Failure::Usage(format!(
                "{}: the folder has files already: remove it, or name another one",
                path.display()
            )),
            _ => failed(error),
        })?;
        for number in 0.. {
            let file = staged.path().join(format!("part-{number:05}.{extension}"));
            self.fill_file(&file, rows_max).await?;
            if !self.has_more().await? {
                break;
            }
        }
        staged.publish().map_err(failed)
    }

    async fn fill_bucket(&mut self, place: &str, name: &Name) -> Result<(), Failure> {
        let storage: Arc<dyn Storage> = database::bucket_to_write(place).await?;
        if storage.stat(name).await?.is_some() {
            return Err(is_taken(place, name));
        }
        let mut sink = Sink::Bucket(storage.writer(name).await?);
        self.write(&mut sink, u64::MAX).await?;
        let Sink::Bucket(writer) = sink else {
            unreachable!("an object was begun")
        };
        match writer.finish().await? {
            Created::New => Ok(()),
            Created::Exists => Err(is_taken(place, name)),
        }
    }
}

impl Exporting<'_> {
    /// Writes a file of `rows_max` rows at most.
    async fn write(&mut self, sink: &mut Sink, rows_max: u64) -> Result<(), Failure> {
        let buffer = Buffer::default();
        let mut writer = Writer::new(self.format, self.rows.schema(), buffer.clone())?;
        let mut room = rows_max;
        while room > 0 {
            let Some(batch) = self.next().await? else {
                break;
            };
            let now =
                usize::try_from(room).map_or(batch.num_rows(), |room| room.min(batch.num_rows()));
            if now < batch.num_rows() {
                self.rest = Some(batch.slice(now, batch.num_rows() - now));
            }
            writer.write(&batch.slice(0, now))?;
            room -= now as u64;
            self.exported.records += now as u64;
            self.drain(&buffer, sink).await?;
            self.meter
                .said(format!("{} records", grouped(self.exported.records)));
        }
        writer.finish()?;
        self.drain(&buffer, sink).await?;
        self.exported.files += 1;
        Ok(())
    }

    /// The next rows: what the last file had no room for comes first.
    async fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        match self.rest.take() {
            Some(batch) => Ok(Some(batch)),
            None => Ok(self.rows.next().await?),
        }
    }

    /// Whether another file has rows.
    async fn has_more(&mut self) -> Result<bool, Failure> {
        self.rest = loop {
            match self.next().await? {
                Some(batch) if batch.num_rows() == 0 => {}
                other => break other,
            }
        };
        Ok(self.rest.is_some())
    }

    async fn drain(&mut self, buffer: &Buffer, sink: &mut Sink) -> Result<(), Failure> {
        let bytes = std::mem::take(&mut *buffer.0.lock());
        self.exported.bytes += bytes.len() as u64;
        sink.write(&bytes).await
    }
}

/// What takes the bytes of a file.
enum Sink {
    Stdout(io::Stdout),
    File(Staged),
    Bucket(Box<dyn ObjectWriter>),
}

impl Sink {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self {
            Sink::Stdout(out) => {
                out.write_all(bytes)?;
                Ok(out.flush()?)
            }
            Sink::File(file) => Ok(file.write_all(bytes)?),
            Sink::Bucket(writer) => Ok(writer.write(bytes).await?),
        }
    }
}

/// What a format has written and no sink has taken yet.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A failure of writing names its file.
fn at(path: &Path, failure: Failure) -> Failure {
    match failure {
        Failure::Stream(error) => Failure::Work(format!("{}: {error}", path.display())),
        other => other,
    }
}

fn is_taken(place: &str, name: &Name) -> Failure {
    Failure::Usage(format!(
        "`{place}/{name}` is there already, and no object in a bucket is replaced: remove it, or name another one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_read() {
        let name = |text: &str| Name::parse(text).unwrap();
        for (to, target) in [
            ("-", Target::Stdout),
            ("x.csv", Target::File("x.csv".into())),
            ("out/", Target::Folder("out/".into())),
            (".", Target::Folder(".".into())),
            (
                "s3://bucket/a/b.parquet",
                Target::Bucket {
                    place: "s3://bucket/a".into(),
                    name: name("b.parquet"),
                },
            ),
        ] {
            assert_eq!(Target::of(to).unwrap(), target, "{to}");
        }
        for to in [
            "s3://bucket",
            "s3://bucket/",
            "s3://b/folder/",
            "http://b/x.csv",
        ] {
            let refused = Target::of(to);
            assert!(
                matches!(refused, Err(Failure::Usage(_))),
                "{to}: {refused:?}"
            );
        }
    }
}
