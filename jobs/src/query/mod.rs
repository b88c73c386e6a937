//! One query over a whole source.
//!
//! A job with neither `[merge]` nor `[upsert]` gives the answer that its query gives over all rows of the source, however
//! that is cut into shards. The query is taken apart in three:
//!
//! 1. **rows**: what treats each row by itself, up to the first grouping or limit. It runs per shard.
//! 2. **operands**: the grouping or limit itself, as operands that merge: partial aggregates by key, or the first rows of
//!    each shard in the order of the query. They are committed with the shard's mark, into a store of the job's own.
//! 3. **rest**: what the query says of the groups (`HAVING`, expressions over aggregates, `ORDER BY`, windows, further
//!    groupings). It runs once over the merged operands, when all shards are done.
//!
//! The rest sees the same merged operands however the source was cut, and so gives the same answer. What cannot be taken
//! apart exactly is refused when the job is submitted.
//!
//! What is recorded of a job is its query, as written. Every process takes it apart by itself, by the same rules; the
//! store of the operands carries a fingerprint of the parts, so that processes whose rules differ never add up operands
//! of different meaning.
//!
//! | module | is |
//! |---|---|
//! | `answer` | a planned query: its parts, ready to run |
//! | `split` | where the query is cut in three |
//! | `distinct` | `agg(DISTINCT x)` as two groupings |
//! | `groups` | a grouping as keys and merge operators |
//! | `approximate` | quantiles and spreads of SQL as merge operators |
//! | `top` | the first rows in an order |
//! | `merged` | merged operands as rows for the rest |
//! | `layout` | the rows of the answer as records |

mod answer;
mod approximate;
mod distinct;
mod groups;
mod layout;
mod limits;
mod mean;
mod merged;
mod split;
mod top;

pub(crate) use answer::{Answer, Operands, PlannedAnswer};
pub(crate) use merged::MergedError;
pub(crate) use top::{TopError, TopRows};
