//! `agg(DISTINCT x)` as two groupings: the distinct values become keys of the lower one, which merges, and are aggregated
//! by the upper one, which sees the merged groups.
//!
//! ```text
//! SELECT k, count(*), count(DISTINCT x) FROM source GROUP BY k
//! SELECT k, sum(n), count(DISTINCT x) FROM (SELECT k, x, count(*) AS n FROM source GROUP BY k, x) GROUP BY k
//! ```

use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::{
    Aggregate, AggregateUDF, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, ident,
    lit, when,
};

use super::groups::{filtered, not_mergeable};
use super::mean::decimal_mean;
use super::merged::decimal_places;
use crate::transform::scope::shown;
use crate::transform::{TransformError, narrowed_sum};

/// The aggregate as two, if it has distinct arguments.
pub(super) fn two_groupings(
    state: &SessionState,
    aggregate: &Aggregate,
) -> Result<Option<LogicalPlan>, TransformError> {
    let is_distinct = |expr: &Expr| matches!(expr.clone().unalias(), Expr::AggregateFunction(call) if call.params.distinct);
    if !aggregate.aggr_expr.iter().any(is_distinct)
        || matches!(aggregate.group_expr.first(), Some(Expr::GroupingSet(_)))
    {
        return Ok(None);
    }
    let mut two = Two::new(state, aggregate);
    for expr in &aggregate.aggr_expr {
        let Expr::AggregateFunction(call) = expr.clone().unalias() else {
            return Err(not_mergeable(expr));
        };
        two.add(expr, call)?;
    }
    two.build(aggregate)
        .map(Some)
        .map_err(|error| TransformError::from_plan(&error))
}

/// Aggregates of distinct values that depend on nothing but which values there are, and that leave NULL out.
const PLAIN: [&str; 11] = [
    "count", "sum", "avg", "min", "max", "median", "bool_and", "bool_or", "bit_and", "bit_or",
    "bit_xor",
];

/// What integers are added up as: any of them has at most 20 digits, and more rows than there can be do not fill the rest.
const WIDE: DataType = DataType::Decimal128(20, 0);

struct Two<'a> {
    state: &'a SessionState,
    input: &'a LogicalPlan,
    /// Keys of the lower grouping: those of the query, then the distinct arguments.
    keys: Vec<Expr>,
    /// Aggregates of the lower grouping.
    lower: Vec<Expr>,
    /// Aggregates of the upper grouping.
    upper: Vec<Expr>,
    /// What the query's aggregates are, in terms of the upper ones.
    results: Vec<Expr>,
}

impl<'a> Two<'a> {
    fn new(state: &'a SessionState, aggregate: &'a Aggregate) -> Two<'a> {
        let keys = aggregate.group_expr.iter().enumerate();
        let keys = keys.map(|(index, key)| key.clone().unalias().alias(key_name(index)));
        Two {
            state,
            input: &aggregate.input,
            keys: keys.collect(),
            lower: Vec::new(),
            upper: Vec::new(),
            results: Vec::new(),
        }
    }

    fn add(&mut self, expr: &Expr, call: AggregateFunction) -> Result<(), TransformError> {
        let AggregateFunction { func, params } = call;
        let ([argument], true) = (params.args.as_slice(), params.order_by.is_empty()) else {
            return Err(not_mergeable(expr));
        };
        let argument = filtered(argument, params.filter.as_deref())
            .map_err(|error| TransformError::from_plan(&error))?;
        if params.distinct {
            if !PLAIN.contains(&func.name()) {
                return Err(TransformError::NotMergeable {
                    what: format!("`{expr}`"),
                    advice: format!("DISTINCT is for {}", PLAIN.join(", ")),
                });
            }
            let key = self.key_of(argument);
            let upper = self.push_upper(aggregate_of(&func, ident(key), true));
            self.results.push(upper);
            return Ok(());
        }
        let result = match func.name() {
            "count" => {
                let part = self.push_lower(aggregate_of(&func, argument, false));
                let counts = self.push_upper(aggregate_of(&self.sum(expr)?, part, false));
                // Of no group at all there is no sum.
                when(counts.clone().is_null(), lit(0_i64))
                    .otherwise(counts)
                    .map_err(|error| TransformError::from_plan(&error))
            }
            "sum" if self.is_whole(&argument) => self.wide_sum(expr, argument),
            "sum" | "min" | "max" | "bool_and" | "bool_or" => {
                let part = self.push_lower(aggregate_of(&func, argument, false));
                Ok(self.push_upper(aggregate_of(&func, part, false)))
            }
            "avg" => self.average(expr, argument),
            _ => return Err(not_mergeable(expr)),
        };
        self.results.push(result?);
        Ok(())
    }

    fn is_whole(&self, argument: &Expr) -> bool {
        let found = argument.get_type(self.input.schema());
        found.is_ok_and(|data_type| data_type.is_integer())
    }

    /// A sum of integers: sums of groups may be beyond their type although their own sum is not, so that they are
    /// decimals until then.
    fn wide_sum(&mut self, expr: &Expr, argument: Expr) -> Result<Expr, TransformError> {
        let failed = |error: DataFusionError| TransformError::from_plan(&error);
        let result = expr.get_type(self.input.schema()).map_err(failed)?;
        let sum = self.sums_of(expr, cast(argument, WIDE))?;
        Ok(narrowed_sum(sum, &result, shown(expr)))
    }

    /// The sum over all groups of the lower grouping.
    fn sums_of(&mut self, expr: &Expr, argument: Expr) -> Result<Expr, TransformError> {
        let sum = self.sum(expr)?;
        let part = self.push_lower(aggregate_of(&sum, argument, false));
        Ok(self.push_upper(aggregate_of(&sum, part, false)))
    }

    /// An average: a sum divided by a count.
    fn average(&mut self, expr: &Expr, argument: Expr) -> Result<Expr, TransformError> {
        let failed = |error: DataFusionError| TransformError::from_plan(&error);
        let schema = self.input.schema();
        let data_type = argument.get_type(schema).map_err(failed)?;
        let result = expr.get_type(schema).map_err(failed)?;
        let of_sum = match (data_type.is_integer(), decimal_places(&data_type)) {
            (true, _) => cast(argument.clone(), WIDE),
            (_, Some(places)) => {
                let widest = DataType::Decimal128(DECIMAL128_MAX_PRECISION, places);
                cast(argument.clone(), widest)
            }
            (false, None) => argument.clone(),
        };
        let sum = self.sums_of(expr, of_sum)?;
        let counted = aggregate_of(&self.function("count", expr)?, argument, false);
        let counts = self.push_lower(counted);
        let counts = self.push_upper(aggregate_of(&self.sum(expr)?, counts, false));
        match (decimal_places(&result), &result) {
            (Some(places), DataType::Decimal128(precision, _)) => {
                Ok(decimal_mean(sum, counts, *precision, places, shown(expr)))
            }
            (Some(places), _) => Ok(decimal_mean(
                sum,
                counts,
                DECIMAL128_MAX_PRECISION,
                places,
                shown(expr),
            )),
            (None, DataType::Float64) => {
                let float = |part| cast(part, DataType::Float64);
                Ok(float(sum) / float(counts))
            }
            _ => Err(not_mergeable(expr)),
        }
    }

    fn sum(&self, expr: &Expr) -> Result<Arc<AggregateUDF>, TransformError> {
        self.function("sum", expr)
    }

    fn function(&self, name: &str, expr: &Expr) -> Result<Arc<AggregateUDF>, TransformError> {
        let found = self.state.aggregate_functions().get(name);
        found.cloned().ok_or_else(|| not_mergeable(expr))
    }

    /// The name of the lower grouping's key that a distinct argument is.
    fn key_of(&mut self, argument: Expr) -> String {
        let is_it = |key: &Expr| key.clone().unalias() == argument;
        let known = self.keys.iter().position(is_it);
        let index = known.unwrap_or_else(|| {
            let name = key_name(self.keys.len());
            self.keys.push(argument.alias(name));
            self.keys.len() - 1
        });
        key_name(index)
    }

    fn push_lower(&mut self, aggregate: Expr) -> Expr {
        let name = format!("__lower{}", self.lower.len());
        self.lower.push(aggregate.alias(&name));
        ident(name)
    }

    fn push_upper(&mut self, aggregate: Expr) -> Expr {
        let name = format!("__upper{}", self.upper.len());
        self.upper.push(aggregate.alias(&name));
        ident(name)
    }

    fn build(self, aggregate: &Aggregate) -> Result<LogicalPlan, DataFusionError> {
        let own_keys = aggregate.group_expr.len();
        assert!(own_keys <= self.keys.len(), "the query's keys come first");
        assert_eq!(self.results.len(), aggregate.aggr_expr.len());
        let keys: Vec<Expr> = (0..own_keys).map(|index| ident(key_name(index))).collect();
        let schema = aggregate.schema.as_ref();
        let upper = LogicalPlanBuilder::from(self.input.clone())
            .aggregate(self.keys, self.lower)?
            .aggregate(keys.clone(), self.upper)?
            .build()?;
        let columns = keys.into_iter().chain(self.results).enumerate();
        let columns = columns.map(|(index, column)| {
            let (table, field) = schema.qualified_field(index);
            let column = match column.get_type(upper.schema())? == *field.data_type() {
                true => column,
                false => cast(column, field.data_type().clone()),
            };
            Ok(column.alias_qualified(table.cloned(), field.name()))
        });
        let columns = columns.collect::<Result<Vec<_>, DataFusionError>>()?;
        LogicalPlanBuilder::from(upper).project(columns)?.build()
    }
}

fn key_name(index: usize) -> String {
    format!("__key{index}")
}

fn aggregate_of(func: &Arc<AggregateUDF>, argument: Expr, distinct: bool) -> Expr {
    Expr::AggregateFunction(AggregateFunction {
        func: Arc::clone(func),
        params: AggregateFunctionParams {
            args: vec![argument],
            distinct,
            filter: None,
            order_by: Vec::new(),
            null_treatment: None,
        },
    })
}
