//! Where a query is cut in three.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::logical_plan::{FetchType, Limit, SkipType, Sort};
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan};

use super::distinct;
use super::groups::{self, GroupOperands};
use super::layout::Layout;
use super::limits;
use super::merged::{self, Merged};
use super::top::{TOP_ROWS_MAX, TopOperands};
use crate::transform::TransformError;
use crate::transform::scope::{self, Dependence, OperatorKind};

/// The parts of a query.
pub(super) struct QueryParts {
    /// What is done to the rows of a shard: a query over `source`.
    pub(super) rows: LogicalPlan,
    pub(super) operands: OperandPlan,
    pub(super) merged: Merged,
    /// What is done to the merged operands: a query over them.
    pub(super) rest: LogicalPlan,
    pub(super) layout: Layout,
}

/// What the rows of a shard become, by the names of their columns.
pub(super) enum OperandPlan {
    Groups(GroupOperands),
    Top(TopOperands),
}

/// Cuts a checked query.
pub(super) fn split(
    state: &SessionState,
    plan: &LogicalPlan,
) -> Result<QueryParts, TransformError> {
    let failed = |error: DataFusionError| TransformError::from_plan(&error);
    let analyzed = state
        .analyzer()
        .execute_and_check(plan.clone(), state.config_options(), |_, _| {})
        .map_err(failed)?;
    let analyzed = limits::folded(state, analyzed)?;
    let analyzed = analyzed.transform_up(keys_once).map_err(failed)?.data;
    let layout = Layout::of(plan, &analyzed)?;
    let plan = apart(state, analyzed)?;
    let Some(lowest) = scope::lowest(&plan).map_err(failed)? else {
        return Err(TransformError::NotMergeable {
            what: "a query that gives a row for each row of `source`".to_owned(),
            advice: "expected [merge] or [upsert] for its rows, or a query with aggregates, GROUP BY, DISTINCT or LIMIT"
                .to_owned(),
        });
    };
    let Some(node) = lowest.node else {
        return Err(refused(&lowest));
    };
    let cut = match node {
        LogicalPlan::Aggregate(aggregate) => groups::of_aggregate(aggregate),
        LogicalPlan::Distinct(Distinct::All(input)) if lowest.kind == OperatorKind::Distinct => {
            groups::of_distinct(input)
        }
        LogicalPlan::Sort(sort) => {
            let rows = rows_after(&plan, sort)?;
            TopOperands::of_sort(sort, rows)
        }
        LogicalPlan::Limit(limit) => {
            order_is_kept(&limit.input)?;
            TopOperands::of_input(&limit.input, &[], rows_of(limit)?)
        }
        _ => return Err(refused(&lowest)),
    }?;
    // Of a limit only what is below it is replaced: it may still skip rows.
    let (target, schema) = match node {
        LogicalPlan::Limit(limit) => (limit.input.as_ref(), limit.input.schema()),
        other => (other, other.schema()),
    };
    let scan = merged::scan_as(&cut.merged, schema).map_err(failed)?;
    let rest = replaced(&plan, target, scan).map_err(failed)?;
    Ok(QueryParts {
        rows: cut.rows,
        operands: cut.operands,
        merged: cut.merged.named(schema),
        rest,
        layout,
    })
}

/// A grouping by each of its keys once: `GROUP BY k, k` has one column of them.
fn keys_once(node: LogicalPlan) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    let LogicalPlan::Aggregate(aggregate) = node else {
        return Ok(Transformed::no(node));
    };
    let mut keys: Vec<Expr> = Vec::with_capacity(aggregate.group_expr.len());
    for key in &aggregate.group_expr {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    if keys.len() == aggregate.group_expr.len() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let Aggregate {
        input, aggr_expr, ..
    } = aggregate;
    let once = Aggregate::try_new(input, keys, aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(once)))
}

/// A grouping or limit, as what is below it and what it becomes.
pub(super) struct Cut {
    pub(super) rows: LogicalPlan,
    pub(super) operands: OperandPlan,
    pub(super) merged: Merged,
}

/// The plan with the lowest grouping made two, if it has distinct arguments.
fn apart(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan, TransformError> {
    let failed = |error: DataFusionError| TransformError::from_plan(&error);
    let two = match scope::lowest(&plan).map_err(failed)? {
        Some(Dependence {
            node: Some(node @ LogicalPlan::Aggregate(aggregate)),
            ..
        }) => distinct::two_groupings(state, aggregate)?.map(|two| (node.clone(), two)),
        _ => None,
    };
    match two {
        Some((node, two)) => replaced(&plan, &node, two).map_err(failed),
        None => Ok(plan),
    }
}

/// The plan with `node`, which reads `source` and so is there once, replaced.
fn replaced(
    plan: &LogicalPlan,
    node: &LogicalPlan,
    by: LogicalPlan,
) -> Result<LogicalPlan, DataFusionError> {
    let mut by = Some(by);
    let replaced = plan.clone().transform_down(|at| {
        if at == *node
            && let Some(by) = by.take()
        {
            return Ok(Transformed::new(by, true, TreeNodeRecursion::Stop));
        }
        Ok(Transformed::no(at))
    })?;
    // What is known of a column (whether it can be NULL) may have become less.
    let replaced = replaced
        .data
        .transform_up(|at| Ok(Transformed::yes(at.recompute_schema()?)))?;
    Ok(replaced.data)
}

/// How many rows a limit keeps of those that come first, with those that it skips.
fn rows_of(limit: &Limit) -> Result<usize, TransformError> {
    let failed = |error: DataFusionError| TransformError::from_plan(&error);
    let fetch = limit.get_fetch_type().map_err(failed)?;
    let skip = limit.get_skip_type().map_err(failed)?;
    let refused = |what: &str, advice: String| TransformError::NotMergeable {
        what: what.to_owned(),
        advice,
    };
    let (FetchType::Literal(Some(fetch)), SkipType::Literal(skip)) = (fetch, skip) else {
        let advice = "expected a LIMIT with a number beside it: the rows that a shard has to keep";
        return Err(refused("OFFSET without a LIMIT", advice.to_owned()));
    };
    let rows = fetch.saturating_add(skip);
    if rows > TOP_ROWS_MAX {
        let advice = format!(
            "it keeps {rows} rows of each shard, expected at most {TOP_ROWS_MAX} with those that OFFSET skips; write the \
             rows with [upsert] instead"
        );
        return Err(refused("LIMIT", advice));
    }
    debug_assert!(
        fetch <= rows && skip <= rows,
        "{fetch} and {skip} of {rows}"
    );
    Ok(rows)
}

/// How many rows the limit above a sort keeps.
fn rows_after(plan: &LogicalPlan, sort: &Sort) -> Result<usize, TransformError> {
    let path = scope::path(plan).map_err(|error| TransformError::from_plan(&error))?;
    let above = path
        .iter()
        .rev()
        .skip_while(|node| !matches!(node, LogicalPlan::Sort(at) if at == sort))
        .skip(1);
    for node in above {
        match node {
            // Neither changes how many rows there are, nor their order.
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) => {}
            LogicalPlan::Limit(limit) => {
                order_is_kept(&sort.input)?;
                return rows_of(limit);
            }
            _ => break,
        }
    }
    Err(TransformError::NotMergeable {
        what: "ORDER BY without a LIMIT".to_owned(),
        advice: "a store has the order of its keys; add a LIMIT, or write the rows with [upsert] by a key that begins \
             with the columns of the order"
            .to_owned(),
    })
}

/// Rows that tie keep their order in the source, which a join does not, nor a subquery that is planned as one.
fn order_is_kept(plan: &LogicalPlan) -> Result<(), TransformError> {
    let failed = |error: DataFusionError| TransformError::from_plan(&error);
    for node in scope::path(plan).map_err(failed)? {
        if matches!(node, LogicalPlan::Join(_)) || scope::has_subquery(node).map_err(failed)? {
            return Err(TransformError::NotMergeable {
                what: "LIMIT over a join or a subquery".to_owned(),
                advice: "a join gives its rows in no order, so that it is not known which come first; write it as a \
                         CASE or as a list of literals, or the rows with [upsert]"
                    .to_owned(),
            });
        }
    }
    Ok(())
}

/// What is known to be no grouping that merges.
fn refused(lowest: &Dependence<'_>) -> TransformError {
    let advice = match lowest.kind {
        OperatorKind::Window => {
            "it would need all rows of `source` in one place; group or limit them first, then a window over the groups \
             works"
        }
        OperatorKind::SetOperation => {
            "write one job for each part, or a WHERE or GROUP BY that does the same"
        }
        OperatorKind::Subquery => {
            "compute what the subquery says in a job of its own, and write its answer as a literal"
        }
        OperatorKind::Join => {
            "join so that each row of `source` comes out by itself: as an inner join, or with `source` on the side \
             whose rows are kept"
        }
        OperatorKind::DistinctOn => "use GROUP BY with min and max, or ORDER BY with LIMIT",
        _ => "expected a query with GROUP BY, DISTINCT or LIMIT over rows of `source`",
    };
    TransformError::NotMergeable {
        what: format!("`{}`", lowest.operator),
        advice: advice.to_owned(),
    }
}
