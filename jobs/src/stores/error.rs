//! Why a query over stores fails.

use eciton_engine::Error as EngineError;

use crate::names;
use crate::transform::TransformError;

/// What is wrong with a query over stores, or with what it met.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It is no single SELECT.
    #[error("a query only reads: expected one SELECT, found {found}")]
    NotOneSelect {
        /// What it is instead.
        found: String,
    },
    /// It names a store that is not there.
    #[error("no store `{name}`: {}{hint}", stores(name, present))]
    NoStore {
        /// The name.
        name: String,
        /// The stores that there are.
        present: Vec<String>,
        /// What may have been meant.
        hint: String,
    },
    /// The SQL does not fit, or cannot be computed.
    #[error("{0}")]
    Query(#[from] TransformError),
    /// It needs more memory than it may have.
    #[error(
        "the query needs more than {max_mib} MiB ({what}); give it more with `--memory`, as `--memory 1GiB`"
    )]
    Memory {
        /// The limit.
        max_mib: u64,
        /// What asked for the last piece.
        what: String,
    },
    /// A record does not fit the columns that were inferred from others.
    #[error(
        "record {key} of store `{store}`: {found}, which the records that its columns were inferred from do not have; \
         `--infer all` reads every record first"
    )]
    Misfit {
        /// The store.
        store: String,
        /// The record's key, as JSON.
        key: String,
        /// What does not fit.
        found: String,
    },
    /// The database failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// What was asked for cannot be written so.
    #[error("{0}")]
    Format(String),
    /// Standard output or a file failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl QueryError {
    /// Whether the query, or its call, is to blame and not the data or the system.
    pub fn is_call(&self) -> bool {
        match self {
            QueryError::NotOneSelect { .. }
            | QueryError::NoStore { .. }
            | QueryError::Format(_) => true,
            QueryError::Query(error) => !matches!(
                error,
                TransformError::Execute { .. }
                    | TransformError::Io { .. }
                    | TransformError::Memory { .. }
            ),
            QueryError::Memory { .. }
            | QueryError::Misfit { .. }
            | QueryError::Engine(_)
            | QueryError::Io(_) => false,
        }
    }
}

fn stores(name: &str, present: &[String]) -> String {
    match present.is_empty() {
        true => "the database has no stores".to_owned(),
        false => names::candidates(name, present),
    }
}
