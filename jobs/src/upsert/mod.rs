//! One record a row.
//!
//! The key columns make the key; all other columns, in their order, make the value, a JSON object.
//! Of two rows of one key the later one in source order stays: the one of the later file, and in a
//! file the later row. That holds over the whole job, although its shards run at the same time, are
//! repeated after failures, and commit in any order: a row is no put but an operand of the merge
//! operator `latest`, which carries the row's place and keeps the largest. So upserts never conflict,
//! and never read.
//!
//! A place is (job, shard, row). Jobs are numbered when they are submitted, so that a later job's
//! rows win over an earlier one's. Shards are numbered in source order. Rows are numbered as the
//! transform gives them: a query that only filters and computes keeps their order, and where a query
//! says `ORDER BY`, its order counts.
//!
//! The store reads as one of plain JSON values, and takes them by `put`.

mod json;
mod plan;
mod upserter;
mod version;

pub(crate) use json::{JsonColumn, Members, is_writable};
pub use plan::{Upsert, UpsertPlanError};
pub use upserter::{UPSERT_LEN_MAX, UpsertError, Upserter};

#[cfg(test)]
mod tests;
