//! Why a transform cannot be planned or run.

use std::error::Error;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use super::words;
use crate::names;

/// What is wrong with a query, or with what it met in a shard. Found when planning unless a
/// variant says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TransformError {
    /// The text is no SQL.
    #[error("{}{message}", at(*line, *column))]
    Parse {
        /// What was expected and found.
        message: String,
        /// The line within the query, from 1, where it is known.
        line: Option<u64>,
        /// The column within the line, from 1, where it is known.
        column: Option<u64>,
    },
    /// It is SQL, but not one query.
    #[error("expected one SELECT query over the table `source`, found {found}")]
    NotOneSelect {
        /// What it is instead.
        found: String,
    },
    /// It reads another table.
    #[error("no table `{name}`: the rows of a shard are the table `source`")]
    UnknownTable {
        /// The table's name.
        name: String,
    },
    /// It names a column that is not there.
    #[error("no column `{name}`: {}", names::candidates(name, columns))]
    UnknownColumn {
        /// The name that was not found.
        name: String,
        /// The columns that are there.
        columns: Vec<String>,
    },
    /// It reads the shard never, or more than once.
    #[error(
        "expected the query to read `source` once, it reads it {times} times: a shard is read once, front to back"
    )]
    SourceReads {
        /// How often it names `source`.
        times: usize,
    },
    /// It may answer differently when a shard is computed again.
    #[error(
        "`{function}()` may differ when a shard is computed again, so that a job would not give the same result twice; {advice}"
    )]
    NotRepeatable {
        /// The function.
        function: String,
        /// What to write instead.
        advice: &'static str,
    },
    /// Its rows depend on where shards are cut.
    #[error(
        "`{operator}` sees one shard at a time, so that the result would depend on `source.shard_size`: {advice}; or set `scope = \"shard\"` in [transform] if rows per shard are meant"
    )]
    ShardDependent {
        /// The operator, as SQL writes it.
        operator: String,
        /// What to write instead.
        advice: String,
    },
    /// It says the whole answer of a job, and that cannot be put together from shards.
    #[error("{what} cannot be put together exactly from shards: {advice}")]
    NotMergeable {
        /// The part of the query.
        what: String,
        /// What to write instead.
        advice: String,
    },
    /// It is larger or deeper than what a query may be.
    #[error("expected a query of at most {max} {what}, found {found} or more")]
    TooLarge {
        /// What was counted.
        what: &'static str,
        /// How many were found until then.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// Types, functions or clauses do not fit.
    #[error("{message}")]
    Plan {
        /// What does not fit.
        message: String,
    },
    /// While a shard ran: its rows cannot be computed (a cast, an overflow, a division by zero).
    /// The same shard fails again.
    #[error("the query failed: {message}")]
    Execute {
        /// What failed.
        message: String,
    },
    /// While a shard ran: the system refused something, such as a temporary file of a large sort. The
    /// same shard may succeed later.
    #[error("the query could not use its temporary files: {message}")]
    Io {
        /// What the system said.
        message: String,
    },
    /// While a shard ran: the query needs more memory than a shard may have.
    #[error(
        "the query needs more than {max_mib} MiB for this shard ({message}); expected a smaller shard_size or a query that keeps less"
    )]
    Memory {
        /// The limit.
        max_mib: u64,
        /// What asked for the last piece.
        message: String,
    },
}

/// Why the rows of a transform ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E: Error + 'static> {
    /// The source of the rows failed; its error as it was.
    #[error(transparent)]
    Source(E),
    /// The query failed.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// It was to end early.
    #[error("the query was broken off")]
    Interrupted,
}

/// The place in the query, as the beginning of a message.
fn at(line: Option<u64>, column: Option<u64>) -> String {
    match (line, column) {
        (Some(line), Some(column)) => format!("line {line}, column {column} of the query: "),
        _ => String::new(),
    }
}

impl TransformError {
    /// Whether the same rows may be computed later although nothing was changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, TransformError::Io { .. })
    }

    /// An error met while planning.
    pub(crate) fn from_plan(error: &DataFusionError) -> TransformError {
        let inner = innermost(error);
        if let Some(message) = words::plainly(&inner.to_string()) {
            return TransformError::Plan { message };
        }
        match inner {
            DataFusionError::SQL(parser, _) => TransformError::from_parser(&parser.to_string()),
            DataFusionError::SchemaError(schema, _) => TransformError::from_schema(schema),
            other => TransformError::from_plan_message(&message_of(other)),
        }
    }

    /// An error met while a shard ran.
    pub(crate) fn from_run(error: &DataFusionError, memory_len_max: usize) -> TransformError {
        let inner = innermost(error);
        match inner {
            DataFusionError::ResourcesExhausted(message) => TransformError::Memory {
                max_mib: (memory_len_max >> 20) as u64,
                message: first_line(message),
            },
            DataFusionError::IoError(error) => TransformError::Io {
                message: error.to_string(),
            },
            _ => TransformError::Execute {
                message: beyond_nanos(first_line(&message_of(inner))),
            },
        }
    }

    /// The parser writes `... at Line: 1, Column: 8`; the place is taken out of its sentence.
    fn from_parser(text: &str) -> TransformError {
        let text = text.strip_prefix("sql parser error: ").unwrap_or(text);
        let (message, place) = text.rsplit_once(" at Line: ").unwrap_or((text, ""));
        let mut numbers = place
            .split(", Column: ")
            .map(|number| number.trim().parse().ok());
        TransformError::Parse {
            message: lower_first(&words::parsed(message)),
            line: numbers.next().flatten(),
            column: numbers.next().flatten(),
        }
    }

    fn from_schema(error: &SchemaError) -> TransformError {
        match error {
            SchemaError::FieldNotFound {
                field,
                valid_fields,
            } => TransformError::UnknownColumn {
                name: match &field.relation {
                    // The column is there, the table is not.
                    Some(table) if valid_fields.iter().any(|known| known.name == field.name) => {
                        format!("{table}.{}", field.name)
                    }
                    _ => field.name.clone(),
                },
                columns: valid_fields
                    .iter()
                    .map(|column| column.name.clone())
                    .collect(),
            },
            other => TransformError::Plan {
                message: lower_first(&other.to_string()),
            },
        }
    }

    fn from_plan_message(message: &str) -> TransformError {
        let table = message
            .strip_prefix("table '")
            .and_then(|rest| rest.split_once("' not found"))
            .map(|(table, _)| table.rsplit('.').next().unwrap_or(table).to_owned());
        match table {
            Some(name) => TransformError::UnknownTable { name },
            None => TransformError::Plan {
                message: first_line(message),
            },
        }
    }
}

/// What to do where a time is beyond the years that nanoseconds reach.
fn beyond_nanos(message: String) -> String {
    let is_it = message.contains("converted value exceeds the representable i64 range")
        || message.contains("can be represented as nanoseconds");
    match is_it {
        true => format!(
            "{message}; write CAST(... AS TIMESTAMP) of the date or text: it has microseconds, which reach all years"
        ),
        false => message,
    }
}

/// The error under contexts, shared pointers, diagnostics and collections, which only wrap it.
fn innermost(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            innermost(inner)
        }
        DataFusionError::Shared(inner) => innermost(inner),
        DataFusionError::Collection(errors) => errors.first().map_or(error, innermost),
        _ => error,
    }
}

/// The words of an error without the name of its kind.
fn message_of(error: &DataFusionError) -> String {
    error.message().into_owned()
}

/// One line without its backtrace, beginning in lower case. Where it announces more, what comes last.
fn first_line(message: &str) -> String {
    let mut lines = message.lines().map(str::trim);
    let first = lines.next().unwrap_or_default().trim_end_matches('.');
    match (first.strip_suffix(':'), lines.next_back()) {
        (Some(announced), Some(last)) => lower_first(&format!("{announced}: {last}")),
        _ => lower_first(first),
    }
}

fn lower_first(message: &str) -> String {
    let mut chars = message.chars();
    match (chars.next(), chars.clone().next()) {
        // A word in capitals (a keyword, a name) stays as it is.
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => message.to_owned(),
    }
}
