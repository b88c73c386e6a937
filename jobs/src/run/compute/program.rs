//! Computing one shard with a program: its rows in, the rows that come out to the job's results.

use std::ffi::OsString;
use std::io::{self, BufWriter};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eciton_proto::v1::{ProgramLog, ProgramRows};
use parking_lot::Mutex;

use super::attempt::{Attempt, Computed, ShardResults};
use super::checkpoint::{CHECKPOINT_FILE, CheckpointFile};
use super::error::AttemptError;
use super::gather::{Gathered, Gathering, OverflowSink};
use super::pipeline::Sink;
use super::program_context::ProgramContext;
use super::results::Results;
use super::step::ProgramStep;
use crate::aggregate::Aggregator;
use crate::command::limits::{SAVES_APART, STDERR_SHOWN_MAX, STDOUT_LEN_MAX};
use crate::command::{
    CommandError, Invocation, ProgramEnd, ProgramInput, Ran, StillWanted, Tail, run,
};
use crate::run::records::clock::now_ms;
use crate::source::formats;
use crate::source::{Shard, ShardReader, Source, SourceError, content_hash, open_shard};
use crate::stores::{Format as WriterFormat, QueryError, Writer};
use crate::transform::Interrupt;

/// Bytes that are written to a program at once.
const INPUT_BLOCK_LEN: usize = 64 * 1024;

/// The source of a shard after a program was fed with it.
struct FedSource {
    reader: ShardReader,
}

/// Why a program was not fed.
enum FeedError {
    Source(SourceError),
    /// A value that the format has no form for.
    Value(String),
    /// Nobody wants the results any more.
    Interrupted,
}

/// The seed of a shard's randomness: the same for every attempt, every worker and every run of a job of this name.
pub(crate) fn seed(job: &str, shard: u64) -> u64 {
    // Not negative where it is read with 64 bits and a sign.
    xxhash_rust::xxh3::xxh3_64_with_seed(job.as_bytes(), shard) >> 1
}

impl Attempt<'_> {
    /// Runs the program over a shard, and gathers what it has written.
    pub(super) fn compute_with(
        &self,
        step: &ProgramStep,
        shard: Shard,
        spare: Option<Box<Aggregator>>,
    ) -> Result<Computed, AttemptError> {
        let Some(context) = &self.program else {
            let why = "it runs a program, which this process may not";
            return Err(AttemptError::lasting(why));
        };
        let io = |error: &CommandError| AttemptError::Shard {
            message: error.to_string(),
            transient: (error.is_transient() || context.has_others)
                && context.retry.tries_again_after_io(),
        };
        let scratch = context.program.scratch();
        let scratch = scratch.map_err(|error| io(&CommandError::Scratch(error)))?;
        let folder = scratch.program_folder();
        let folder = folder.map_err(|error| io(&CommandError::Scratch(error)))?;
        let left = (context.checkpoint)().map_err(AttemptError::Fatal)?;
        let checkpoint = CheckpointFile::restore(&folder.work(), left);
        let mut checkpoint = checkpoint.map_err(|error| io(&CommandError::Scratch(error)))?;
        let command = &step.command;
        let invocation = Invocation {
            argv: &command.argv,
            variables: self.variables(step, shard, context, &folder.work()),
            files: &context.program.files,
            folder: &folder,
            has_input: command.input() != ProgramRows::None,
            has_output: command.output() != ProgramRows::None,
            memory_len_max: command.memory_len_max,
            timeout: (command.timeout_ms > 0).then(|| Duration::from_millis(command.timeout_ms)),
            output_len_max: STDOUT_LEN_MAX,
            stderr_kept: context.stderr_kept,
        };
        let started_ms = now_ms();
        let log = |stderr: &Tail, end: Option<ProgramEnd>, error: &str| ProgramLog {
            shard: shard.number,
            attempt: context.attempt,
            started_ms,
            ended_ms: if end.is_some() { now_ms() } else { 0 },
            exit_code: end.and_then(ProgramEnd::code),
            signal: end.map_or(0, ProgramEnd::signal),
            error: error.to_owned(),
            stderr: stderr.bytes(),
            stderr_len: stderr.len(),
            worker: worker(),
        };
        let rows_read = Arc::new(AtomicU64::new(0));
        let feed = self.feed(shard, command.input(), &rows_read);
        let (mut told, mut saved_len, mut saved) = (0, 0, Instant::now());
        let look = |stderr: &Mutex<Tail>| {
            self.tell_rows(&rows_read, &mut told);
            if saved.elapsed() >= SAVES_APART {
                saved = Instant::now();
                if !(context.is_wanted)() {
                    return StillWanted::No;
                }
                save_checkpoint(context, &mut checkpoint);
                let stderr = stderr.lock();
                if stderr.len() > saved_len {
                    saved_len = stderr.len();
                    let log = log(&stderr, None, "");
                    drop(stderr);
                    (context.save)(&log);
                }
            }
            match (self.interrupt)() {
                true => StillWanted::No,
                false => StillWanted::Yes,
            }
        };
        let ran = run(&invocation, feed, look).map_err(|error| {
            let error = io(&error);
            (context.save)(&log(
                &Tail::new(0),
                Some(ProgramEnd::Exited(127)),
                error.message(),
            ));
            error
        })?;
        self.tell_rows(&rows_read, &mut told);
        if !ran.end.is_success() {
            save_checkpoint(context, &mut checkpoint);
        }
        let Ran { end, fed, stderr } = ran;
        let failed = |error: AttemptError| {
            let error = error.with_stderr(&stderr);
            (context.save)(&log(&stderr, Some(end), error.message()));
            error
        };
        let fed = match self.judged(step, context, end, fed) {
            Ok(Some(fed)) => fed,
            Ok(None) => return self.interrupted(),
            Err(error) => return Err(failed(error)),
        };
        let gathered = self.gather_rows(step, &folder.rows(), shard, spare);
        let Some((results, groups)) = gathered.map_err(failed)? else {
            return self.interrupted();
        };
        let log = (stderr.len() > 0).then(|| Arc::new(log(&stderr, Some(end), "")));
        self.computed(&fed, shard, (results, groups), (log, checkpoint.parts))
    }

    /// The results of a shard that a program has computed.
    fn computed(
        &self,
        fed: &FedSource,
        shard: Shard,
        (results, groups): Gathered,
        (log, checkpoint_parts): (Option<Arc<ProgramLog>>, u32),
    ) -> Result<Computed, AttemptError> {
        let reader = &fed.reader;
        let bytes_hash = reader.bytes_hash().ok_or_else(|| {
            AttemptError::lasting(format!("shard {} was not read to its end", shard.number))
        })?;
        let has_files = !self.pipeline.source.files().is_empty();
        Ok(Computed::Results(Box::new(ShardResults {
            results,
            groups,
            rows_read: reader.rows_read(),
            rows_skipped: reader.rows_skipped(),
            values_ignored: reader.values_ignored(),
            content_hash: match has_files {
                true => content_hash(bytes_hash),
                false => 0,
            },
            checkpoint_parts,
            log,
        })))
    }

    /// What came of a program: the source that it was fed with, or `None` where nobody wants its results any more.
    fn judged(
        &self,
        step: &ProgramStep,
        context: &ProgramContext<'_>,
        end: ProgramEnd,
        fed: Option<Result<FedSource, FeedError>>,
    ) -> Result<Option<FedSource>, AttemptError> {
        let program = step.program();
        let fed = match fed {
            Some(Err(FeedError::Source(error))) => return Err(error.into()),
            Some(Err(FeedError::Value(why))) => {
                let message = format!("the rows cannot be given to `{program}`: {why}");
                return Err(AttemptError::lasting(message));
            }
            Some(Err(FeedError::Interrupted)) => return Ok(None),
            Some(Ok(fed)) => Some(fed),
            None => None,
        };
        if end.class().is_some() {
            return Err(AttemptError::Program {
                message: format!("program `{program}` {end}"),
                transient: context.retry.tries_again(end),
            });
        }
        match fed {
            _ if end == ProgramEnd::BrokenOff || (self.interrupt)() => Ok(None),
            Some(fed) => Ok(Some(fed)),
            None => Err(AttemptError::lasting(format!(
                "the rows cannot be given to `{program}`: reading them broke off"
            ))),
        }
    }

    /// The results of what a program has written; `None` where nobody wants them any more.
    fn gather_rows(
        &self,
        step: &ProgramStep,
        rows: &Path,
        shard: Shard,
        spare: Option<Box<Aggregator>>,
    ) -> Result<Option<Gathered>, AttemptError> {
        if matches!(self.pipeline.sink, Sink::Nothing) {
            return Ok(Some((Results::new(0), None)));
        }
        let (source, parts) = step.rows(rows).map_err(written)?;
        let numbers = (self.job_number, shard.number);
        let lens = (usize::MAX, self.results_len_max);
        let mut gathering = Gathering::new(self.pipeline, numbers, spare, lens);
        let into = OverflowSink {
            store: self.store,
            runtime: self.runtime,
            admit: self.admit,
        };
        let columns = self.pipeline.transform.source_columns();
        let mut first_part = None;
        for part in parts {
            first_part.get_or_insert(part);
            let reader = open_shard(&source, part, columns).map_err(written)?;
            let reader = Arc::new(Mutex::new(reader));
            let pushed = self.gather_batches(&reader, &mut gathering, &into, &|error| {
                self.placed(&source, part, &reader, error)
            })?;
            if !pushed {
                return Ok(None);
            }
        }
        let ended = gathering.end(&into);
        ended.map_err(|error| match first_part {
            Some(part) => {
                let reader =
                    open_shard(&source, part, columns).map(|reader| Arc::new(Mutex::new(reader)));
                match reader {
                    Ok(reader) => self.placed(&source, part, &reader, error),
                    Err(_) => error,
                }
            }
            None => error,
        })
    }

    /// Feeds a program with the rows of a shard, and reads the shard to its end, however many it takes.
    fn feed(
        &self,
        shard: Shard,
        form: ProgramRows,
        rows_read: &Arc<AtomicU64>,
    ) -> impl FnOnce(Option<ProgramInput>) -> Result<FedSource, FeedError> + Send + 'static {
        let (source, rows_read) = (self.pipeline.source.clone(), Arc::clone(rows_read));
        let interrupt = Arc::clone(&self.interrupt);
        move |input| feed(&source, shard, form, input, &interrupt, &rows_read)
    }

    fn tell_rows(&self, rows_read: &AtomicU64, told: &mut u64) {
        let rows = rows_read.load(Ordering::Relaxed);
        if rows > *told {
            (self.rows_read)(rows - *told);
            *told = rows;
        }
    }

    fn variables(
        &self,
        step: &ProgramStep,
        shard: Shard,
        context: &ProgramContext<'_>,
        work: &Path,
    ) -> Vec<(String, OsString)> {
        let command = &step.command;
        let mut variables = inherited(&command.env);
        let set = command.set.iter();
        variables.extend(set.map(|set| (set.name.clone(), OsString::from(&set.value))));
        let mut own = |name: &str, value: String| {
            variables.push((format!("ECITON_{name}"), value.into()));
        };
        let checkpoint = work.join(CHECKPOINT_FILE);
        own("CHECKPOINT", checkpoint.display().to_string());
        own("JOB", context.job.to_owned());
        own("SHARD", shard.number.to_string());
        own("SHARDS", context.shards.to_string());
        own("ATTEMPT", context.attempt.to_string());
        own("SEED", seed(context.job, shard.number).to_string());
        let source = &self.pipeline.source;
        let format = formats::by_number(source.spec().format);
        if format.is_some_and(|format| format.about().uses("from")) {
            let from = i128::from(source.spec().from) + i128::from(shard.start);
            own("FROM", from.to_string());
            own("TO", (from + i128::from(shard.len)).to_string());
        } else if let Ok(file) = source.file(shard) {
            own("FILE", file.path.clone());
        }
        variables
    }
}

/// Stores the checkpoint of a program, if there is a new one.
fn save_checkpoint(context: &ProgramContext<'_>, file: &mut CheckpointFile) {
    if let Some(content) = file.changed()
        && let Some(parts) = (context.save_checkpoint)(&content)
    {
        file.parts = file.parts.max(parts);
    }
}

/// Variables of this process that a program is to have, as far as they are set.
pub(crate) fn inherited(names: &[String]) -> Vec<(String, OsString)> {
    let found = |name: &String| Some((name.clone(), std::env::var_os(name)?));
    names.iter().filter_map(found).collect()
}

/// What a program has written is its own fault, and another attempt would write it again.
fn written(error: SourceError) -> AttemptError {
    AttemptError::Program {
        message: error.to_string(),
        transient: false,
    }
}

/// The machine and the process, for people.
fn worker() -> String {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy().into_owned();
    format!("{host}, process {}", std::process::id())
}

fn feed(
    source: &Source,
    shard: Shard,
    form: ProgramRows,
    input: Option<ProgramInput>,
    interrupt: &Interrupt,
    rows_read: &AtomicU64,
) -> Result<FedSource, FeedError> {
    let columns: Vec<usize> = match form {
        // Only the bytes count then.
        ProgramRows::None => Vec::new(),
        _ => (0..source.schema().fields().len()).collect(),
    };
    let mut reader = open_shard(source, shard, &columns).map_err(FeedError::Source)?;
    let mut writer = match input {
        Some(input) => {
            let schema = Arc::clone(reader.schema());
            let out = BufWriter::with_capacity(INPUT_BLOCK_LEN, input);
            kept(Writer::new(format_of(form), &schema, out))?
        }
        None => None,
    };
    while let Some(batch) = reader.next() {
        let batch = batch.map_err(FeedError::Source)?;
        rows_read.store(reader.rows_read(), Ordering::Relaxed);
        if interrupt() {
            return Err(FeedError::Interrupted);
        }
        if let Some(out) = &mut writer
            && kept(out.write(&batch))?.is_none()
        {
            // It wants no more; what is left is read all the same, since the whole shard counts.
            writer = None;
        }
    }
    if let Some(writer) = writer {
        kept(writer.finish())?;
    }
    Ok(FedSource { reader })
}

pub(crate) fn format_of(form: ProgramRows) -> WriterFormat {
    match form {
        ProgramRows::ArrowStream => WriterFormat::Arrow,
        _ => WriterFormat::Jsonl,
    }
}

/// What was written; `None` where the program reads no more.
fn kept<T>(written: Result<T, QueryError>) -> Result<Option<T>, FeedError> {
    match written {
        Ok(value) => Ok(Some(value)),
        Err(QueryError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        Err(error) => Err(FeedError::Value(error.to_string())),
    }
}

impl AttemptError {
    /// The text of the error.
    fn message(&self) -> &str {
        match self {
            AttemptError::Shard { message, .. } | AttemptError::Program { message, .. } => message,
            AttemptError::Source(_) => "the source cannot be read",
            AttemptError::Fatal(_) => "the database failed",
        }
    }

    /// The error with the last lines that the program has written to its standard error.
    fn with_stderr(self, stderr: &Tail) -> AttemptError {
        let lines = stderr.lines(STDERR_SHOWN_MAX);
        match self {
            AttemptError::Program { message, transient } if !lines.is_empty() => {
                AttemptError::Program {
                    message: format!("{message}: {lines}"),
                    transient,
                }
            }
            error => error,
        }
    }
}
