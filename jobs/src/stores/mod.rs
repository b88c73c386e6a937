//! Stores of a database as tables: SQL over them (`eciton query`), and their records as rows with columns.
//!
//! A store does not record the types of its fields, and keys and JSON values say their own. So the columns of a store and
//! their types are found by looking at its records: at all of a small store, at the first and the last ones of a large one
//! ([`INFERRED_MAX`]). A later record that does not fit is an error that names it, and never changes an answer silently.
//!
//! A query reads one snapshot of the database. Conditions on the leading fields of a key become ranges of keys, of which
//! nothing else is read; columns that are not needed are not decoded, and values are not even read where keys are enough.
//!
//! | module | is |
//! |---|---|
//! | `query` | planning and running a query |
//! | `table` | a store as a table of DataFusion |
//! | `range` | conditions to ranges of keys |
//! | `columns` over `record` | which columns a store has, and their types |
//! | `rows` | records to Arrow |
//! | `slices` | a store as a source of jobs: ranges of keys, with hashes of their records |
//! | `written` over `value` | rows as CSV, JSON, Parquet and Arrow |

mod columns;
mod error;
mod query;
mod range;
mod record;
mod rows;
mod slices;
mod table;
mod value;
mod written;

pub use arrow::array::RecordBatch;
pub use columns::INFERRED_MAX;
pub use error::QueryError;
pub use query::{Counter, MEMORY_LEN, QueryOptions, ReadCount, Rows, query, records};
pub(crate) use slices::{SliceError, SliceReader, SlicedStore, slice};
pub use value::{Text, texts};
pub use written::{Format, Writer};

#[cfg(test)]
mod tests;
