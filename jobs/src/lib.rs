//! What a job is: sources, transforms, merges.

pub mod aggregate;
pub mod columns;
pub mod command;
pub mod draft;
mod groups;
mod machine;
mod names;
mod query;
pub mod run;
pub mod source;
pub mod spec;
pub mod stores;
pub mod transform;
pub mod upsert;
