//! A grouping as keys and merge operators.

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{
    Aggregate, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, lit, when,
};
use eciton_engine::StoreSchema;
use eciton_proto::v1::{MergeSpec, MergeValue};

use super::answer::Operands;
use super::approximate;
use super::merged::{Merged, Origin};
use super::split::{Cut, OperandPlan};
use crate::aggregate::Aggregation;
use crate::columns::Kind;
use crate::transform::TransformError;
use crate::transform::scope::shown;

/// A grouping's operands, by the names of the columns of its rows.
pub(super) struct GroupOperands {
    keys: Vec<String>,
    values: Vec<MergeValue>,
}

/// Cuts at an aggregate without distinct arguments.
pub(super) fn of_aggregate(aggregate: &Aggregate) -> Result<Cut, TransformError> {
    if let Some(grouping @ Expr::GroupingSet(_)) = aggregate.group_expr.first() {
        return Err(TransformError::NotMergeable {
            what: format!("`{}`", shown(grouping)),
            advice: "write a job for each of its groupings, or group by all columns and add up the groups".to_owned(),
        });
    }
    let columns = aggregate.group_expr.len() + aggregate.aggr_expr.len();
    assert_eq!(
        aggregate.schema.fields().len(),
        columns,
        "keys and aggregates"
    );
    let mut builder = GroupsBuilder::new(&aggregate.input);
    for (index, key) in aggregate.group_expr.iter().enumerate() {
        let data_type = aggregate.schema.field(index).data_type().clone();
        builder.key(key.clone().unalias(), data_type)?;
    }
    for (index, expr) in aggregate.aggr_expr.iter().enumerate() {
        let field = aggregate.schema.field(aggregate.group_expr.len() + index);
        builder.aggregate(expr, field.data_type())?;
    }
    builder.build(aggregate.group_expr.is_empty())
}

/// Cuts at a DISTINCT: all columns are keys.
pub(super) fn of_distinct(input: &LogicalPlan) -> Result<Cut, TransformError> {
    let mut builder = GroupsBuilder::new(input);
    for (table, field) in input.schema().iter() {
        let column = Expr::Column((table, field).into());
        builder.key(column, field.data_type().clone())?;
    }
    builder.build(false)
}

/// That an aggregate does not merge.
pub(super) fn not_mergeable(expr: &Expr) -> TransformError {
    TransformError::NotMergeable {
        what: format!("`{}`", shown(expr)),
        advice: "expected count, sum, min, max, avg, bool_and, bool_or, var_pop, var_samp, stddev_pop, stddev_samp, \
             approx_distinct, approx_quantile or approx_median, or any aggregate of distinct values such as \
             `median(DISTINCT x)`; or compute it over the groups of a subquery. A job with `[merge]` instead has \
             `first(x)`, `last(x)`, `bit_or(x)`, `top_k(x, 10)` and `histogram(x, 0, 100, 10)`, too"
            .to_owned(),
    }
}

/// An argument that is NULL where the filter of its aggregate does not hold: every aggregate here leaves NULL out.
pub(super) fn filtered(argument: &Expr, filter: Option<&Expr>) -> Result<Expr, DataFusionError> {
    match filter {
        None => Ok(argument.clone()),
        Some(filter) => when(filter.clone(), argument.clone()).end(),
    }
}

/// Whether operands keep values of a type exactly.
pub(super) fn check_type(what: &str, data_type: &DataType) -> Result<(), TransformError> {
    match Kind::of(data_type) {
        Some(_) => Ok(()),
        None => Err(TransformError::NotMergeable {
            what: format!("{what} of type {data_type}"),
            advice:
                "expected bool, integer, float, decimal, string, bytes, date or timestamp; cast it"
                    .to_owned(),
        }),
    }
}

/// What operands take a value as. A timestamp of nanoseconds would lose some: it is taken as a number.
pub(super) fn encoded(expr: Expr, data_type: &DataType) -> Expr {
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, _) | DataType::Null => {
            cast(expr, DataType::Int64)
        }
        _ => expr,
    }
}

struct GroupsBuilder<'a> {
    input: &'a LogicalPlan,
    /// What the rows have.
    columns: Vec<Expr>,
    keys: Vec<String>,
    values: Vec<MergeValue>,
    merged: Vec<(DataType, Origin)>,
}

impl<'a> GroupsBuilder<'a> {
    fn new(input: &'a LogicalPlan) -> GroupsBuilder<'a> {
        // The first operator counts rows, so that there always is one.
        let rows = MergeValue {
            operator: "count".to_owned(),
            ..MergeValue::default()
        };
        GroupsBuilder {
            input,
            columns: Vec::new(),
            keys: Vec::new(),
            values: vec![rows],
            merged: Vec::new(),
        }
    }

    fn key(&mut self, expr: Expr, data_type: DataType) -> Result<(), TransformError> {
        check_type(&format!("a key `{}`", shown(&expr)), &data_type)?;
        let name = format!("k{}", self.keys.len());
        self.columns.push(encoded(expr, &data_type).alias(&name));
        self.merged.push((data_type, Origin::Key(self.keys.len())));
        self.keys.push(name);
        Ok(())
    }

    fn aggregate(&mut self, expr: &Expr, output: &DataType) -> Result<(), TransformError> {
        let Expr::AggregateFunction(AggregateFunction { func, params }) = expr.clone().unalias()
        else {
            return Err(not_mergeable(expr));
        };
        let quantile = approximate::quantile_of(func.name(), &params);
        let (argument, quantile) = match (quantile, params.args.as_slice()) {
            _ if params.distinct => return Err(not_mergeable(expr)),
            (Some((argument, quantile)), _) => (argument, Some(quantile)),
            (None, [argument]) if params.order_by.is_empty() => (argument, None),
            (None, _) => return Err(not_mergeable(expr)),
        };
        let failed = |error: DataFusionError| TransformError::from_plan(&error);
        let input = argument.get_type(self.input.schema()).map_err(failed)?;
        let is_constant = matches!(argument, Expr::Literal(value, _) if !value.is_null());
        let whole = params.filter.is_none() && is_constant;
        let argument = filtered(argument, params.filter.as_deref()).map_err(failed)?;
        let name = func.name();
        let origin = match name {
            // `count(*)`: the rows of the group, which are counted anyway.
            "count" if whole => Origin::Value(0),
            "count" => {
                // What is counted is whether it is NULL, whatever its type.
                let seen = when(argument.is_not_null(), lit(true))
                    .end()
                    .map_err(failed)?;
                Origin::Value(self.value("count", seen))
            }
            "sum" | "min" | "max" | "avg" | "bool_and" | "bool_or" => {
                check_type(&format!("`{}`", shown(expr)), &input)?;
                let argument = encoded(argument, &input);
                match (name, Kind::of(&input)) {
                    ("avg", Some(Kind::Decimal(_))) => Origin::DecimalAverage {
                        sum: self.value("sum", argument.clone()),
                        count: self.value("count", argument),
                    },
                    ("min" | "bool_and", _) => Origin::Value(self.value("min", argument)),
                    ("max" | "bool_or", _) => Origin::Value(self.value("max", argument)),
                    (_, Some(Kind::Int | Kind::Uint | Kind::Float | Kind::Decimal(_))) => {
                        Origin::Value(self.value(name, argument))
                    }
                    _ => return Err(not_mergeable(expr)),
                }
            }
            "approx_distinct" => {
                check_type(&format!("`{}`", shown(expr)), &input)?;
                Origin::Value(self.value(name, encoded(argument, &input)))
            }
            _ => {
                let is_number = matches!(
                    Kind::of(&input),
                    Some(Kind::Int | Kind::Uint | Kind::Float | Kind::Decimal(_))
                );
                match (quantile, approximate::spread_of(name)) {
                    (Some(quantile), _) if is_number => Origin::Approximate(self.value_of(
                        "approx_quantile",
                        argument,
                        vec![quantile],
                    )),
                    (_, Some(operator)) if is_number => {
                        Origin::Value(self.value(operator, argument))
                    }
                    _ => return Err(not_mergeable(expr)),
                }
            }
        };
        check_type(&format!("`{}`", shown(expr)), output)?;
        self.merged.push((output.clone(), origin));
        Ok(())
    }

    /// Adds an operator over an expression; its position among the values of an operand.
    fn value(&mut self, operator: &str, argument: Expr) -> usize {
        self.value_of(operator, argument, Vec::new())
    }

    /// The same of an operator that is told something besides.
    fn value_of(&mut self, operator: &str, argument: Expr, args: Vec<String>) -> usize {
        let column = format!("v{}", self.columns.len());
        self.columns.push(argument.alias(&column));
        self.values.push(MergeValue {
            name: column.clone(),
            operator: operator.to_owned(),
            column,
            args,
        });
        self.values.len() - 1
    }

    fn build(mut self, is_one_group: bool) -> Result<Cut, TransformError> {
        let failed = |error: DataFusionError| TransformError::from_plan(&error);
        // The first value counts rows, and has no column.
        let columns = self.keys.len() + self.values.len() - 1;
        assert_eq!(self.columns.len(), columns, "columns of keys and values");
        assert!(
            !is_one_group || self.keys.is_empty(),
            "one group has no key"
        );
        if self.columns.is_empty() {
            // A batch without columns says nothing of its rows.
            self.columns.push(lit(true).alias("row"));
        }
        let rows = LogicalPlanBuilder::from(self.input.clone())
            .project(self.columns)
            .and_then(LogicalPlanBuilder::build)
            .map_err(failed)?;
        Ok(Cut {
            rows,
            operands: OperandPlan::Groups(GroupOperands {
                keys: self.keys,
                values: self.values,
            }),
            merged: Merged::groups(self.merged, is_one_group),
        })
    }
}

impl OperandPlan {
    /// The operands over rows with these columns, and the schema of their store, one of whose columns has the name `tag`.
    pub(super) fn plan(
        self,
        tag: &str,
        rows: &Schema,
    ) -> Result<(Operands, StoreSchema), TransformError> {
        match self {
            OperandPlan::Groups(groups) => groups.plan(tag, rows),
            OperandPlan::Top(top) => top.plan(tag, rows),
        }
    }
}

impl GroupOperands {
    fn plan(mut self, tag: &str, rows: &Schema) -> Result<(Operands, StoreSchema), TransformError> {
        tag.clone_into(&mut self.values[0].name);
        let spec = MergeSpec {
            key: self.keys,
            values: self.values,
            ..MergeSpec::default()
        };
        let aggregation = Aggregation::plan(&spec, rows).map_err(|error| TransformError::Plan {
            message: error.to_string(),
        })?;
        let schema = aggregation.store_schema();
        Ok((Operands::Groups(aggregation), schema))
    }
}
