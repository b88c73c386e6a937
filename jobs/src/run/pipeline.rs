//! What a job does to a shard, planned once.

use eciton_engine::db::StoreSchema;
use eciton_proto::v1::JobSpec;
use eciton_proto::v1::job_spec::{Sink as SinkSpec, Step};

use crate::aggregate::Aggregation;
use crate::source::Source;
use crate::transform::Transform;
use crate::upsert::Upsert;

/// Source, transform and sink of a job, checked against each other.
pub(super) struct Pipeline {
    pub(super) source: Source,
    pub(super) transform: Transform,
    pub(super) sink: Sink,
    pub(super) store_name: String,
}

/// What becomes of the transform's rows.
pub(super) enum Sink {
    Merge(Aggregation),
    Upsert(Upsert),
}

/// A key of the job file that does not fit the columns, and what was expected.
#[derive(Debug)]
pub(super) struct Misfit {
    pub(super) key: String,
    pub(super) message: String,
}

impl Misfit {
    fn new(key: impl Into<String>, message: impl ToString) -> Misfit {
        Misfit {
            key: key.into(),
            message: message.to_string(),
        }
    }
}

impl Pipeline {
    /// Plans a job over the columns that its source has. Reads and writes nothing.
    pub(super) fn plan(spec: &JobSpec, source: Source) -> Result<Pipeline, Misfit> {
        let sql = match &spec.step {
            None => None,
            Some(Step::Transform(transform)) => Some(transform.sql.as_str()),
            Some(Step::Command(_)) => {
                return Err(Misfit::new("command", "not supported by this version"));
            }
        };
        let mut transform = Transform::plan(sql, source.schema().clone())
            .map_err(|error| Misfit::new("transform.sql", error))?;
        let (sink, store_name) = match &spec.sink {
            Some(SinkSpec::Merge(merge)) => {
                let aggregate = |transform: &Transform| {
                    Aggregation::plan(merge, transform.output_schema())
                        .map_err(|error| Misfit::new(error.key(), error))
                };
                let read: Vec<usize> = aggregate(&transform)?.columns().collect();
                transform = transform.reading(|column| read.contains(&column));
                (Sink::Merge(aggregate(&transform)?), merge.store.clone())
            }
            Some(SinkSpec::Upsert(upsert)) => {
                let planned = Upsert::plan(upsert, transform.output_schema())
                    .map_err(|error| Misfit::new(error.key(), error))?;
                (Sink::Upsert(planned), upsert.store.clone())
            }
            None => return Err(Misfit::new("merge", "expected [merge] or [upsert]")),
        };
        Ok(Pipeline {
            source,
            transform,
            sink,
            store_name,
        })
    }

    /// What the store of the results must be.
    pub(super) fn store_schema(&self) -> StoreSchema {
        match &self.sink {
            Sink::Merge(aggregation) => aggregation.store_schema(),
            Sink::Upsert(upsert) => upsert.store_schema(),
        }
    }

    /// The key of the job file that names the store.
    pub(super) fn store_key(&self) -> &'static str {
        match &self.sink {
            Sink::Merge(_) => "merge.store",
            Sink::Upsert(_) => "upsert.store",
        }
    }
}
