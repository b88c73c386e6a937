//! The columns of a program's output, found by trying the program on the first rows.
//!
//! Where a job file does not declare them in `[command.schema]`, whoever records the job runs its program over the
//! beginning of the first shard, and looks at what it writes, as at the first rows of a file. Only processes do that
//! whose user has named the job file: nobody else's program is run by planning.

use std::ffi::OsString;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use eciton_proto::v1::job_spec::Step;
use eciton_proto::v1::{CommandSpec, ProgramRows, SchemaField};

use crate::command::limits::STDERR_SHOWN_MAX;
use crate::command::{CommandHost, Invocation, ProgramEnd, ProgramInput, Ran, StillWanted, run};
use crate::run::compute::program::{format_of, inherited, seed};
use crate::run::compute::step::columns_of;
use crate::run::records::error::JobError;
use crate::source::{Planned, Shard, Source, open_shard};
use crate::spec::{JobFile, SpecError};
use crate::stores::Writer;

/// Rows of the first shard that the program is given.
const ROWS_MAX: usize = 1000;
/// Bytes that it may write before it is ended: enough to see what its rows are like.
const OUTPUT_LEN_MAX: u64 = 4 * 1024 * 1024;
/// How long it may take.
const TIME_MAX: Duration = Duration::from_secs(30);
/// The key to blame.
const KEY: &str = "command.schema";

static HOST: OnceLock<CommandHost> = OnceLock::new();

/// Lets this process try the programs of job files that it checks. For commands whose user has named the job file.
pub fn permit_trials(host: CommandHost) {
    // Whoever was first has said where.
    HOST.set(host).ok();
}

/// The columns that the program of a job writes; none where it has no program, or its output is not read. Blocks.
///
/// # Errors
/// [`JobError::JobFile`] where they cannot be told.
pub(super) fn output_columns(
    file: &JobFile,
    planned: &Planned,
) -> Result<Vec<SchemaField>, JobError> {
    let Some(Step::Command(command)) = &file.spec().step else {
        return Ok(Vec::new());
    };
    if command.output() == ProgramRows::None {
        return Ok(Vec::new());
    }
    if !command.schema.is_empty() {
        return Ok(command.schema.clone());
    }
    let Some(host) = HOST.get() else {
        let expected = "the columns of the program's output, since this process does not run it while it plans";
        return Err(file
            .error(KEY, format!("missing; expected {expected}"))
            .into());
    };
    let source = planned.source(file.spec().source.clone().unwrap_or_default())?;
    let first = planned.shards()?.into_iter().next();
    Ok(try_out(file, command, host, &source, first)?)
}

fn try_out(
    file: &JobFile,
    command: &CommandSpec,
    host: &CommandHost,
    source: &Source,
    shard: Option<Shard>,
) -> Result<Vec<SchemaField>, SpecError> {
    let failed = |why: String| {
        let advice =
            "; declare its columns in `[command.schema]` to plan the job without trying it";
        file.error(
            KEY,
            format!("the program was tried on the first rows: {why}{advice}"),
        )
    };
    let Some(shard) = shard else {
        return Err(failed("the source has no rows".to_owned()));
    };
    let folder = host
        .scratch()
        .and_then(|scratch| Ok((scratch.program_folder()?, scratch)));
    let (folder, _scratch) = folder.map_err(|error| failed(error.to_string()))?;
    let name = &file.spec().name;
    let mut variables = inherited(&command.env);
    let set = command.set.iter();
    variables.extend(set.map(|set| (set.name.clone(), OsString::from(&set.value))));
    for (name, value) in [
        ("ECITON_JOB", name.clone()),
        ("ECITON_SHARD", shard.number.to_string()),
        ("ECITON_SHARDS", "1".to_owned()),
        ("ECITON_ATTEMPT", "1".to_owned()),
        ("ECITON_SEED", seed(name, shard.number).to_string()),
        ("ECITON_TRIAL", "1".to_owned()),
    ] {
        variables.push((name.to_owned(), value.into()));
    }
    let invocation = Invocation {
        argv: &command.argv,
        variables,
        files: file.program_files(),
        folder: &folder,
        has_input: command.input() != ProgramRows::None,
        has_output: true,
        memory_len_max: command.memory_len_max,
        timeout: Some(TIME_MAX),
        output_len_max: OUTPUT_LEN_MAX,
        stderr_kept: STDERR_SHOWN_MAX,
    };
    let (source, form) = (source.clone(), command.input());
    let feed = move |input| feed(&source, shard, form, input);
    let begun = Instant::now();
    let ran: Ran<Result<(), String>> =
        run(&invocation, feed, |_| StillWanted::Yes).map_err(|error| failed(error.to_string()))?;
    if let Some(Err(why)) = ran.fed {
        return Err(failed(why));
    }
    match ran.end {
        // It has written enough.
        ProgramEnd::Exited(0) | ProgramEnd::Flooded(_) => {}
        ProgramEnd::TimedOut(_) if cut_to_lines(&folder.rows(), command) > 0 => {}
        ProgramEnd::TimedOut(_) => {
            return Err(failed(format!(
                "it wrote no row within {} s",
                begun.elapsed().as_secs()
            )));
        }
        end => {
            let lines = ran.stderr.lines(STDERR_SHOWN_MAX);
            return Err(failed(format!("`{}` {end}: {lines}", command.argv[0])));
        }
    }
    if cut_to_lines(&folder.rows(), command) == 0 {
        return Err(failed("it wrote no row".to_owned()));
    }
    columns_of(command, &folder.rows()).map_err(|error| failed(error.message().to_owned()))
}

/// Cuts off the part of a line that a program was ended in; gives the length that is left.
fn cut_to_lines(rows: &std::path::Path, command: &CommandSpec) -> u64 {
    let Ok(bytes) = std::fs::read(rows) else {
        return 0;
    };
    if command.output() == ProgramRows::ArrowStream {
        return bytes.len() as u64;
    }
    let len = memchr::memrchr(b'\n', &bytes).map_or(0, |at| at + 1);
    // A program may end its last line with its output.
    let is_whole = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes[len..]).is_ok();
    let len = if is_whole { bytes.len() } else { len } as u64;
    if len < bytes.len() as u64
        && let Ok(file) = std::fs::OpenOptions::new().write(true).open(rows)
    {
        file.set_len(len).ok();
    }
    len
}

fn feed(
    source: &Source,
    shard: Shard,
    form: ProgramRows,
    input: Option<ProgramInput>,
) -> Result<(), String> {
    let Some(input) = input else {
        return Ok(());
    };
    let columns: Vec<usize> = (0..source.schema().fields().len()).collect();
    let reader = open_shard(source, shard, &columns).map_err(|error| error.to_string())?;
    let schema = Arc::clone(reader.schema());
    let Ok(mut writer) = Writer::new(format_of(form), &schema, input) else {
        return Ok(());
    };
    let mut left = ROWS_MAX;
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        // It may have seen enough before.
        if writer.write(&batch).is_err() {
            return Ok(());
        }
        if left == 0 {
            break;
        }
    }
    writer.finish().ok();
    Ok(())
}
