//! `query`: SQL over the stores of a database; and printing rows of columns.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use eciton_engine::Action;
use eciton_jobs::stores::{self, QueryError, QueryOptions, Rows, Writer, texts};

use crate::cli::{Format, Global, Query};
use crate::closed::is_stdout_closed;
use crate::database;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Meter;
use crate::staged::Staged;
use crate::table::{Cell, Table};
use crate::words::{counted, grouped};

/// How often something is asked that is collected meanwhile, or whose columns turn out to be others.
const TRIES_MAX: u32 = 5;
/// Bytes of a query.
const SQL_LEN_MAX: u64 = 1 << 20;

/// Asks the stores of a database.
///
/// # Errors
/// Exit code 2 for a query that cannot be; 1 where it fails on the records, or its output does.
pub(super) async fn query(global: &Global, args: &Query) -> Result<(), Failure> {
    let sql = sql_of(args)?;
    // Whatever is wrong with the output is told before anything is read.
    let printing = Printing::new(global, args.format, args.out.clone())?;
    let mut options = QueryOptions {
        memory_len_max: args.memory,
        inferred: args.inferring.records(),
    };
    let mut tries = 1;
    loop {
        let db = database::read(global).await?;
        let mut rows = match stores::query(&db, &sql, options).await {
            Ok(rows) => rows,
            Err(error) if is_stale(&error) && tries < TRIES_MAX => {
                tries += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if args.explain {
            let mut output = Output::new(global);
            output.bytes(rows.plan().unwrap_or_default().as_bytes())?;
            return Ok(output.finish()?);
        }
        let meter = Meter::spinner("querying");
        let first = first(&mut rows, &meter).await;
        meter.finish();
        match first {
            Err(error) if is_stale(&error) && tries < TRIES_MAX => tries += 1,
            // Nothing is printed yet: it may be asked again with columns that all records fit.
            Err(QueryError::Misfit { .. }) if options.inferred.is_some() => options.inferred = None,
            Err(error) => return Err(error.into()),
            Ok(first) => {
                let printed = printing.print_from(first, &mut rows).await;
                if args.stats {
                    for read in rows.read() {
                        let records = counted(read.records, "record");
                        writeln!(io::stderr(), "read {records} of store `{}`", read.store).ok();
                    }
                }
                return printed;
            }
        }
    }
}

/// Whether the database was changed under a reader, who has to open it anew.
fn is_stale(error: &QueryError) -> bool {
    matches!(error, QueryError::Engine(error) if error.action() == Action::Retry)
}

type Batch = Option<stores::RecordBatch>;

/// The first rows, with a sign of life meanwhile.
async fn first(rows: &mut Rows, meter: &Meter) -> Result<Batch, QueryError> {
    let counts = rows.counter();
    let told = || {
        let records: u64 = counts.read().iter().map(|read| read.records).sum();
        meter.said(format!("{} records read", grouped(records)));
    };
    meter.during(told, rows.next()).await
}

fn sql_of(args: &Query) -> Result<String, Failure> {
    let read = |mut source: Box<dyn Read>, shown: String| {
        let mut text = String::new();
        let read = (&mut source)
            .take(SQL_LEN_MAX + 1)
            .read_to_string(&mut text);
        match read {
            Ok(_) if text.len() as u64 <= SQL_LEN_MAX => Ok(text),
            Ok(_) => Err(Failure::Usage(format!(
                "{shown}: a query is at most 1 MiB long"
            ))),
            Err(error) => Err(Failure::Usage(format!("{shown}: {error}"))),
        }
    };
    match (&args.sql, &args.file) {
        (_, Some(file)) => {
            let shown = file.display().to_string();
            let opened =
                File::open(file).map_err(|error| Failure::Usage(format!("{shown}: {error}")))?;
            read(Box::new(opened), shown)
        }
        (Some(sql), None) if sql == "-" => read(Box::new(io::stdin()), "standard input".to_owned()),
        (Some(sql), None) => Ok(sql.clone()),
        (None, None) => Err(Failure::Usage("expected a query".to_owned())),
    }
}

/// How rows are printed, and where.
pub(super) struct Printing<'g> {
    global: &'g Global,
    /// `None` for an aligned table.
    format: Option<stores::Format>,
    out: Option<PathBuf>,
}

impl<'g> Printing<'g> {
    /// Chooses the format that was asked for, or that fits the output.
    ///
    /// # Errors
    /// [`Failure::Usage`] for formats that contradict each other or the output.
    pub(super) fn new(
        global: &'g Global,
        format: Option<Format>,
        out: Option<PathBuf>,
    ) -> Result<Printing<'g>, Failure> {
        if global.json && format.is_some_and(|format| format != Format::Jsonl) {
            return Err(Failure::Usage(
                "`--json` prints JSON lines: leave out one of `--json` and `--format`".to_owned(),
            ));
        }
        let is_terminal = io::stdout().is_terminal();
        let chosen = match (format, &out) {
            (Some(format), _) => format,
            _ if global.json => Format::Jsonl,
            (None, Some(path)) => by_extension(path)?,
            (None, None) if is_terminal => Format::Table,
            (None, None) => Format::Csv,
        };
        let is_binary = matches!(chosen, Format::Parquet | Format::Arrow);
        if is_binary && out.is_none() && is_terminal {
            return Err(Failure::Usage(
                "this format is no text for a terminal: redirect it, or use `--out FILE`"
                    .to_owned(),
            ));
        }
        let format = match chosen {
            Format::Table => None,
            Format::Csv => Some(stores::Format::Csv),
            Format::Jsonl => Some(stores::Format::Jsonl),
            Format::Json => Some(stores::Format::Json),
            Format::Parquet => Some(stores::Format::Parquet),
            Format::Arrow if is_file(out.as_deref()) => Some(stores::Format::ArrowFile),
            Format::Arrow => Some(stores::Format::Arrow),
        };
        if let (None, Some(path)) = (format, &out) {
            return Err(Failure::Usage(format!(
                "{}: a table is for people; give `--format csv`, or another one, for a file",
                path.display()
            )));
        }
        Ok(Printing {
            global,
            format,
            out,
        })
    }

    /// Prints all rows.
    ///
    /// # Errors
    /// What the rows end with; where the output fails.
    pub(super) async fn print(&self, mut rows: Rows) -> Result<(), Failure> {
        let first = rows.next().await?;
        self.print_from(first, &mut rows).await
    }

    async fn print_from(&self, first: Batch, rows: &mut Rows) -> Result<(), Failure> {
        match self.format {
            None => self.table(first, rows).await,
            Some(format) => match &self.out {
                None => {
                    let done = write(format, BufWriter::new(io::stdout()), first, rows).await;
                    if is_stdout_closed() {
                        return Output::new(self.global).finish().map_err(Failure::from);
                    }
                    done
                }
                Some(path) => {
                    let failed =
                        |error: io::Error| Failure::Work(format!("{}: {error}", path.display()));
                    // Half an answer is none.
                    let mut staged = Staged::begin(path).map_err(failed)?;
                    let written = write(format, BufWriter::new(&mut staged), first, rows).await;
                    written.map_err(|error| match error {
                        Failure::Stream(error) => failed(error),
                        other => other,
                    })?;
                    staged.publish().map_err(failed)
                }
            },
        }
    }

    async fn table(&self, first: Batch, rows: &mut Rows) -> Result<(), Failure> {
        let mut output = Output::new(self.global);
        let fields = rows.schema().fields().iter();
        let names = fields.map(|field| field.name().clone()).collect();
        let mut table = Table::aligned(&mut output, names);
        let mut next = first;
        let mut ended = Ok(());
        while let Some(batch) = next {
            for row in texts(&batch)? {
                let cells = row.into_iter().map(|cell| match cell.text {
                    Some(text) => Cell::of(&text, cell.is_number),
                    None => Cell::text("null"),
                });
                table.row(cells.collect())?;
            }
            next = match rows.next().await {
                Ok(next) => next,
                Err(error) => {
                    ended = Err(error.into());
                    None
                }
            };
        }
        table.finish()?;
        output.finish()?;
        ended
    }
}

async fn write<W: Write + Send>(
    format: stores::Format,
    out: W,
    first: Batch,
    rows: &mut Rows,
) -> Result<(), Failure> {
    let mut writer = Writer::new(format, rows.schema(), out)?;
    let mut next = first;
    while let Some(batch) = next {
        writer.write(&batch)?;
        next = match rows.next().await {
            Ok(next) => next,
            Err(error) => {
                // What was printed so far is not lost on the reader of lines.
                if format != stores::Format::Parquet {
                    writer.finish()?;
                }
                return Err(error.into());
            }
        };
    }
    Ok(writer.finish()?)
}

/// Whether an answer of Arrow goes to a file that is read at any place: not to a pipe, and not to what is called a stream.
fn is_file(out: Option<&Path>) -> bool {
    out.is_some_and(|path| {
        path.extension()
            .is_none_or(|extension| extension != "arrows")
    })
}

fn by_extension(path: &Path) -> Result<Format, Failure> {
    let extension = path
        .extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    Ok(match extension.as_deref() {
        Some("csv") => Format::Csv,
        Some("jsonl" | "ndjson") => Format::Jsonl,
        Some("json") => Format::Json,
        Some("parquet" | "pq") => Format::Parquet,
        Some("arrow" | "arrows" | "feather" | "ipc") => Format::Arrow,
        _ => {
            return Err(Failure::Usage(format!(
                "{}: its name does not tell a format; give `--format csv`, `jsonl`, `json`, `parquet` or `arrow`",
                path.display()
            )));
        }
    })
}
