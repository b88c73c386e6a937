//! SQL over the rows of one shard.
//!
//! A [`Transform`] is planned once for a job and run once for each shard. The shard's rows are the
//! table `source`; everything the query says (a `GROUP BY`, an `ORDER BY`, a `LIMIT`, a window) is
//! said of **one shard**, never of the whole source: what spans shards is the merge's work.
//!
//! A shard may be computed twice (a killed worker, a lost lease), and the second computation must
//! give the first one's rows. So a query that may answer differently the next time is refused when
//! it is planned: volatile functions (`random()`, `uuid()`), and those that read the clock
//! (`now()`, `current_date`), because the shards of one job run at different times.
//!
//! A shard is read once, front to back, while the query runs; so the query may name `source` once.
//!
//! Identifiers are taken as they are written, quoted or not: a column is named exactly as in the
//! file's header. Function names and keywords are free in their case.

mod around;
mod bare;
mod casts;
mod check;
mod checked;
mod deep;
mod depth;
mod error;
mod exact;
mod guard;
mod ignored;
mod input;
mod interrupt;
mod moments;
mod output;
mod over;
mod plan;
mod query;
mod rewrite;
pub(crate) mod scope;
mod sizes;
mod words;

pub(crate) use bare::only_output_of;
pub(crate) use deep::STACK_LEN;
pub use depth::{SQL_DEPTH_MAX, SQL_DEPTH_SUM_MAX, SQL_SETS_MAX, SQL_TABLES_MAX, SQL_TOKENS_MAX};
pub use error::{RunError, TransformError};
use exact::is_utc;
pub(crate) use exact::narrowed_sum;
pub use input::BatchIter;
pub use interrupt::{Interrupt, never};
pub use output::Output;
pub(crate) use over::{Over, plan_over, tables_of};
pub(crate) use plan::{Session, planning};
pub use plan::{TRANSFORM_MEMORY_LEN_MAX, Transform};

#[cfg(test)]
mod tests;
