//! A `[merge]` against the columns that are there.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use eciton_engine::merge::{self, Inputs, Operator, OperatorInfo};
use eciton_engine::{Encoding, Error, StoreSchema};
use eciton_proto::v1::{MergeSpec, MergeValue};

use super::aggregator::Aggregator;
use super::each::Each;
use super::error::AggregationPlanError;
use super::states::{Extremes, FloatSums, Side, States};
use crate::columns::{KeyPlan, Kind};
use crate::spec::column_of;

/// A checked `[merge]`: which columns make the key, which operator runs over which column.
/// Cheap to clone; shared by all shards of a job.
#[derive(Clone)]
pub struct Aggregation {
    inner: Arc<AggregationPlan>,
}

pub(super) struct AggregationPlan {
    pub(super) key: KeyPlan,
    pub(super) values: Vec<Value>,
    /// The columns that values read, each once, with their position in a batch.
    pub(super) columns: Vec<(String, usize)>,
    key_names: Vec<String>,
}

/// One value of the record.
pub(super) struct Value {
    /// What it is in the store.
    target: merge::Column,
    /// What it reads, as a position in `Inner::columns`, and as what; none for `count()`.
    argument: Option<(usize, Kind)>,
}

impl Aggregation {
    /// Finds the columns of `merge` in `schema`, the columns that the transform gives, and checks
    /// their types.
    ///
    /// # Errors
    /// [`AggregationPlanError`], whose message names the operator, the column, its type and what was
    /// expected.
    pub fn plan(merge: &MergeSpec, schema: &Schema) -> Result<Aggregation, AggregationPlanError> {
        let key = KeyPlan::new(&merge.key, schema)?;
        let mut columns = Vec::new();
        let values = merge
            .values
            .iter()
            .map(|value| plan_value(value, schema, &mut columns))
            .collect::<Result<Vec<_>, _>>()?;
        check_len(&values)?;
        let key_names = merge.key.clone();
        Ok(Aggregation {
            inner: Arc::new(AggregationPlan {
                key,
                values,
                columns,
                key_names,
            }),
        })
    }

    /// The schema of the store that takes the operands.
    pub fn store_schema(&self) -> StoreSchema {
        StoreSchema {
            encoding: Encoding::Json,
            key_fields: self.inner.key_names.clone(),
            columns: self
                .inner
                .values
                .iter()
                .map(|value| value.target.clone())
                .collect(),
            ..StoreSchema::default()
        }
    }

    /// Positions in the schema that it was planned for of the columns that it reads.
    pub fn columns(&self) -> impl Iterator<Item = usize> {
        let values = self.inner.columns.iter().map(|(_, index)| *index);
        self.inner.key.positions().chain(values)
    }

    /// Begins a shard.
    pub fn start(&self) -> Aggregator {
        Aggregator::new(Arc::clone(&self.inner))
    }
}

impl Value {
    pub(super) fn operator(&self) -> Operator {
        self.target.operator
    }

    /// The column it reads, as a position in `Inner::columns`; none for `count()`.
    pub(super) fn column(&self) -> Option<usize> {
        self.argument.map(|(column, _)| column)
    }

    /// An empty accumulator. Beside the engine's table this is the one place that knows the operators: how a shard accumulates
    /// a new one is said here.
    pub(super) fn states(&self) -> States {
        let Some((_, kind)) = self.argument else {
            return States::Rows(Vec::new());
        };
        match self.operator() {
            Operator::Count => States::NotNull(Vec::new()),
            Operator::Sum | Operator::Avg => match kind {
                Kind::Float => States::SumFloat(FloatSums::default()),
                Kind::Decimal(scale) => States::SumDecimal(scale, Vec::new()),
                _ => States::SumInt(Vec::new()),
            },
            Operator::Min => bounds(Side::Min, kind),
            Operator::Max => bounds(Side::Max, kind),
            // `operator` lets no whole records pass.
            _ => States::Each(Each::new(&self.target)),
        }
    }
}

/// Checks that a record of these values fits a store, whatever is merged.
fn check_len(values: &[Value]) -> Result<(), AggregationPlanError> {
    let columns: Vec<merge::Column> = values.iter().map(|value| value.target.clone()).collect();
    let Err(error) = merge::check_columns(&columns) else {
        return Ok(());
    };
    let known = columns
        .iter()
        .filter_map(|column| Some((column.len_max()?, &column.name)));
    let (value_len, value) = known.max().map_or((0, ""), |(len, name)| (len, name));
    Err(match error {
        Error::Limit { got, max, .. } => AggregationPlanError::TooLarge {
            value: value.to_owned(),
            value_len,
            len: got,
            max,
        },
        other => AggregationPlanError::Column {
            value: value.to_owned(),
            message: other.to_string(),
        },
    })
}

fn bounds(side: Side, kind: Kind) -> States {
    match kind {
        Kind::Null => States::Nothing,
        Kind::Bool => States::MinMaxBool(side, Vec::new()),
        Kind::Int => States::MinMaxInt(side, Vec::new()),
        Kind::Uint => States::MinMaxUint(side, Vec::new()),
        Kind::Float => States::MinMaxFloat(side, Vec::new()),
        Kind::Decimal(scale) => States::MinMaxDecimal(side, scale, Vec::new()),
        Kind::Str => States::MinMaxStr(side, Extremes::default()),
        Kind::Bytes => States::MinMaxBytes(side, Extremes::default()),
        Kind::Date => States::MinMaxDate(side, Vec::new()),
        Kind::Timestamp => States::MinMaxTimestamp(side, Vec::new()),
    }
}

fn plan_value(
    value: &MergeValue,
    schema: &Schema,
    columns: &mut Vec<(String, usize)>,
) -> Result<Value, AggregationPlanError> {
    let info = operator(value)?;
    let operator = info.operator;
    if value.column.is_empty() && info.inputs == Inputs::Rows {
        return Ok(Value {
            target: target(value, operator, merge::Kind::Any)?,
            argument: None,
        });
    }
    let Some(index) = schema
        .fields()
        .iter()
        .position(|field| *field.name() == value.column)
    else {
        return Err(AggregationPlanError::Missing {
            value: value.name.clone(),
            column: value.column.clone(),
            columns: schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
        });
    };
    let kind = check_type(value, info, schema.field(index).data_type())?;
    let known = columns.iter().position(|(_, known)| *known == index);
    let column = known.unwrap_or_else(|| {
        columns.push((value.column.clone(), index));
        columns.len() - 1
    });
    // What is counted does not show in the count, so that the same store takes any of it.
    let input = if info.inputs == Inputs::Rows {
        merge::Kind::Any
    } else {
        kind.into()
    };
    Ok(Value {
        target: target(value, operator, input)?,
        argument: Some((column, kind)),
    })
}

fn target(
    value: &MergeValue,
    operator: Operator,
    input: merge::Kind,
) -> Result<merge::Column, AggregationPlanError> {
    let refused = |message: String| AggregationPlanError::Column {
        value: value.name.clone(),
        message,
    };
    column_of(&value.name, operator, input, &value.args).map_err(refused)
}

fn operator(value: &MergeValue) -> Result<&'static OperatorInfo, AggregationPlanError> {
    let known = Operator::parse(&value.operator).ok();
    known
        .map(Operator::info)
        .filter(|info| info.merges_columns())
        .ok_or_else(|| AggregationPlanError::Operator {
            value: value.name.clone(),
            operator: value.operator.clone(),
        })
}

/// Whether the operator takes the column, and as what.
fn check_type(
    value: &MergeValue,
    info: &OperatorInfo,
    data_type: &DataType,
) -> Result<Kind, AggregationPlanError> {
    let kind = Kind::of(data_type);
    if let Some(kind) = kind.filter(|kind| info.inputs.include((*kind).into())) {
        return Ok(kind);
    }
    let expected = match info.inputs {
        Inputs::Numbers => {
            "an integer, a float or a decimal (give the column a type in [source.schema], or cast it \
             in [transform] sql)"
        }
        Inputs::Integers => {
            "an integer (give the column a type in [source.schema], or cast it in [transform] sql)"
        }
        Inputs::Bools => {
            "bool (give the column a type in [source.schema], or compare it in [transform] sql: `x > 0 AS \
             late`)"
        }
        Inputs::Rows | Inputs::Values | Inputs::WholeRecords => {
            "bool, integer, float, decimal, string, bytes, date or timestamp"
        }
    };
    Err(AggregationPlanError::Type {
        value: value.name.clone(),
        operator: value.operator.clone(),
        column: value.column.clone(),
        data_type: data_type.to_string(),
        expected,
    })
}
