//! An `[upsert]` against the columns that are there.

use std::sync::Arc;

use arrow::datatypes::Schema;
use eciton_engine::merge::Latest;
use eciton_engine::{Encoding, StoreSchema};
use eciton_proto::v1::{DeleteSpec, UpsertSpec};

use super::json;
use super::upserter::Upserter;
use super::version::VersionColumn;
use crate::columns::{KeyError, KeyPlan};

/// A checked `[upsert]`: which columns make the key, which the value. Cheap to clone; shared by all
/// shards of a job.
#[derive(Clone)]
pub struct Upsert {
    inner: Arc<UpsertPlan>,
}

pub(super) struct UpsertPlan {
    pub(super) key: KeyPlan,
    /// The columns of the value, with their positions in a batch.
    pub(super) values: Vec<(String, usize)>,
    /// The column of the version, by which rows of a key are ordered.
    pub(super) version: Option<VersionColumn>,
    store_schema: StoreSchema,
}

/// What is wrong with an `[upsert]` for the columns that are there.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpsertPlanError {
    /// A column of `key` is missing or cannot be part of a key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// A column of the value has no JSON form.
    #[error(
        "column `{column}` of type {data_type} has no form as a value: expected bool, integer, float, decimal, string, bytes, date, timestamp, or lists and structs of those (a query can cast it or leave it out)"
    )]
    Type {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// The column of `version` is missing, has no order that a store keeps, or is part of the key.
    #[error("{0}")]
    Version(String),
    /// The engine refused the store's columns.
    #[error(transparent)]
    Store(#[from] eciton_engine::Error),
}

impl UpsertPlanError {
    /// The key of the job file that is to blame.
    pub fn key(&self) -> &'static str {
        match self {
            UpsertPlanError::Key(_) => "upsert.key",
            UpsertPlanError::Version(_) => "upsert.version",
            UpsertPlanError::Type { .. } | UpsertPlanError::Store(_) => "upsert",
        }
    }
}

impl Upsert {
    /// Finds the key columns of `upsert` in `schema`, the columns that the transform gives, and
    /// checks that the others can be written.
    ///
    /// # Errors
    /// [`UpsertPlanError`], whose message names the column, its type and what was expected.
    pub fn plan(upsert: &UpsertSpec, schema: &Schema) -> Result<Upsert, UpsertPlanError> {
        Upsert::plan_without(upsert, schema, &[])
    }

    fn plan_without(
        upsert: &UpsertSpec,
        schema: &Schema,
        others: &[usize],
    ) -> Result<Upsert, UpsertPlanError> {
        let key = KeyPlan::new(&upsert.key, schema)?;
        let in_key: Vec<usize> = key.positions().collect();
        let mut values = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            if in_key.contains(&index) || others.contains(&index) {
                continue;
            }
            if !json::is_writable(field.data_type()) {
                return Err(UpsertPlanError::Type {
                    column: field.name().clone(),
                    data_type: field.data_type().to_string(),
                });
            }
            values.push((field.name().clone(), index));
        }
        let version = match upsert.version.as_str() {
            "" => None,
            name => {
                Some(VersionColumn::find(name, schema, &in_key).map_err(UpsertPlanError::Version)?)
            }
        };
        let store_schema = StoreSchema {
            encoding: Encoding::Json,
            key_fields: upsert.key.clone(),
            columns: match &version {
                None => Latest::columns()?,
                // Another order of records is another kind of store: jobs of both kinds do not mix.
                Some(version) => vec![version.store_column()?],
            },
            ..StoreSchema::default()
        };
        Ok(Upsert {
            inner: Arc::new(UpsertPlan {
                key,
                values,
                version,
                store_schema,
            }),
        })
    }

    /// Finds the key columns of `delete` in `schema`, and the one of the version; the others say nothing.
    ///
    /// # Errors
    /// As [`Upsert::plan`].
    pub fn plan_delete(delete: &DeleteSpec, schema: &Schema) -> Result<Upsert, UpsertPlanError> {
        let names = |name: &String| delete.key.contains(name) || *name == delete.version;
        let upsert = UpsertSpec {
            store: delete.store.clone(),
            key: delete.key.clone(),
            version: delete.version.clone(),
            ..UpsertSpec::default()
        };
        let fields = schema.fields().iter();
        let others = fields.enumerate().filter(|(_, field)| !names(field.name()));
        let others: Vec<usize> = others.map(|(at, _)| at).collect();
        Upsert::plan_without(&upsert, schema, &others)
    }

    /// Whether rows are ordered by a version.
    pub fn is_versioned(&self) -> bool {
        self.inner.version.is_some()
    }

    /// The schema of the store that takes the records.
    pub fn store_schema(&self) -> StoreSchema {
        self.inner.store_schema.clone()
    }

    /// Begins a shard. `job` is the job's number in its database, `shard` the shard's number in the
    /// job: with the row's number they are the place that decides which version of a record stays.
    pub fn start(&self, job: u64, shard: u64) -> Upserter {
        Upserter::new(Arc::clone(&self.inner), job, shard)
    }
}
