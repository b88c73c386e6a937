//! What a job is: sources, transforms, merges.

pub mod aggregate;
pub mod columns;
mod groups;
mod names;
mod query;
pub mod run;
pub mod source;
pub mod spec;
pub mod transform;
pub mod upsert;
