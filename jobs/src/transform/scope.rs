//! Which operators of a query depend on where shards are cut.
//!
//! A query is run over one shard at a time. An operator that treats each row by itself (a projection, a filter, an
//! `unnest`, a join with constants) gives the same rows however the source is cut. Any other one, an aggregate or a
//! `LIMIT` for instance, gives other rows when it sees other shards. Only operators above the scan of `source` count: what
//! a query computes of constants is the same for every shard.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, NullEquality};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use super::error::TransformError;

/// Characters of an operator that a message shows.
const SHOWN_LEN_MAX: usize = 80;

/// An operator whose rows depend on where shards are cut.
pub(crate) struct Dependence<'a> {
    /// The operator as SQL writes it: `LIMIT`, `avg(v)`.
    pub(crate) operator: String,
    pub(crate) kind: OperatorKind,
    /// The operator itself; `None` of a subquery in an expression.
    pub(crate) node: Option<&'a LogicalPlan>,
}

/// What kind of operator it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperatorKind {
    Aggregate,
    Distinct,
    DistinctOn,
    Limit,
    Sort,
    Window,
    SetOperation,
    Join,
    Subquery,
    /// One that is not known here.
    Other,
}

/// The lowest operator, the nearest to `source`, that depends on where shards are cut; `None` if there is none.
///
/// # Errors
/// None in practice: walking a plan cannot fail.
pub(crate) fn lowest(plan: &LogicalPlan) -> Result<Option<Dependence<'_>>, DataFusionError> {
    let path = path(plan)?;
    // What a lateral subquery says depends on the row beside it, so that it is no query of its own.
    if path
        .iter()
        .any(|node| matches!(node, LogicalPlan::Subquery(_)))
    {
        return Ok(Some(Dependence {
            operator: "LATERAL (SELECT ...)".to_owned(),
            kind: OperatorKind::Subquery,
            node: None,
        }));
    }
    for (above, node) in path.iter().enumerate().rev() {
        if let Some(subquery) = subquery_of_source(node)? {
            return Ok(Some(subquery));
        }
        let Some(input) = path.get(above + 1) else {
            continue;
        };
        let is_input = |other: &&LogicalPlan| std::ptr::eq(*other, *input);
        let position = node.inputs().iter().position(is_input).unwrap_or(0);
        if let Some(found) = dependence(node, position) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// That a query depends on where shards are cut, if it does.
pub(super) fn check(plan: &LogicalPlan) -> Result<Option<TransformError>, DataFusionError> {
    Ok(lowest(plan)?.map(|lowest| TransformError::ShardDependent {
        advice: advice(lowest.kind, &lowest.operator),
        operator: lowest.operator,
    }))
}

/// The operators from the root down to the scan of `source`, or to the one in an expression of which it is read.
///
/// # Errors
/// As [`lowest`].
pub(crate) fn path(plan: &LogicalPlan) -> Result<Vec<&LogicalPlan>, DataFusionError> {
    let mut path = vec![plan];
    let mut node = plan;
    loop {
        let mut below = None;
        for input in node.inputs() {
            if reads_source(input)? {
                below = Some(input);
                break;
            }
        }
        let Some(input) = below else {
            return Ok(path);
        };
        path.push(input);
        node = input;
    }
}

/// Whether the table is read anywhere below, in subqueries too.
pub(crate) fn reads_source(plan: &LogicalPlan) -> Result<bool, DataFusionError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found = found || matches!(node, LogicalPlan::TableScan(_));
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}

/// Checks that no `IN (SELECT ...)` or `EXISTS` is left in an optimized plan: one that became no join has no operator,
/// which would fail each shard.
pub(super) fn no_predicate_subquery(plan: &LogicalPlan) -> Result<(), TransformError> {
    let mut left = None;
    let walked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                left = match part {
                    Expr::Exists(_) => Some("EXISTS (SELECT ...)"),
                    Expr::InSubquery(_) => Some("IN (SELECT ...)"),
                    Expr::SetComparison(_) => Some("ANY (SELECT ...)"),
                    _ => left,
                };
                Ok(match left {
                    Some(_) => TreeNodeRecursion::Stop,
                    None => TreeNodeRecursion::Continue,
                })
            })
        })
    });
    walked.map_err(|error| TransformError::from_plan(&error))?;
    match left {
        None => Ok(()),
        Some(left) => Err(TransformError::Plan {
            message: format!(
                "`{left}` is not supported in this place: expected it in WHERE, joined by AND, or a list of literals"
            ),
        }),
    }
}

/// Whether an expression of this node has a subquery. It may be planned as a join.
pub(crate) fn has_subquery(node: &LogicalPlan) -> Result<bool, DataFusionError> {
    let mut found = false;
    node.apply_expressions(|expr| {
        found = found || expr.exists(|part| Ok(is_subquery(part)))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Exists(_) | Expr::InSubquery(_) | Expr::ScalarSubquery(_) | Expr::SetComparison(_)
    )
}

/// A subquery in an expression of this node that reads `source`: it would see one shard of it.
fn subquery_of_source(node: &LogicalPlan) -> Result<Option<Dependence<'_>>, DataFusionError> {
    let mut found = None;
    node.apply_expressions(|expr| {
        expr.apply(|part| {
            let (operator, subquery) = match part {
                Expr::Exists(exists) => ("EXISTS (SELECT ...)", &exists.subquery),
                Expr::InSubquery(within) => ("IN (SELECT ...)", &within.subquery),
                Expr::ScalarSubquery(subquery) => ("(SELECT ...)", subquery),
                Expr::SetComparison(compared) => ("ANY (SELECT ...)", &compared.subquery),
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            if reads_source(&subquery.subquery)? {
                found = Some(operator);
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(found.map(|operator| Dependence {
        operator: operator.to_owned(),
        kind: OperatorKind::Subquery,
        node: None,
    }))
}

/// Whether a node whose input at `position` reads `source` depends on the cuts.
fn dependence(node: &LogicalPlan, position: usize) -> Option<Dependence<'_>> {
    let (kind, operator) = match node {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Unnest(_) => return None,
        LogicalPlan::Aggregate(aggregate) => {
            let first = aggregate.aggr_expr.first();
            let shown = first.map_or("GROUP BY".to_owned(), shown);
            (OperatorKind::Aggregate, shown)
        }
        LogicalPlan::Distinct(Distinct::On(_)) => {
            (OperatorKind::DistinctOn, "DISTINCT ON".to_owned())
        }
        LogicalPlan::Distinct(Distinct::All(input)) => match set_operation(input) {
            Some(name) => (OperatorKind::SetOperation, name.to_owned()),
            None => (OperatorKind::Distinct, "DISTINCT".to_owned()),
        },
        LogicalPlan::Limit(limit) => {
            let name = match limit.fetch {
                Some(_) => "LIMIT",
                None => "OFFSET",
            };
            (OperatorKind::Limit, name.to_owned())
        }
        LogicalPlan::Sort(_) => (OperatorKind::Sort, "ORDER BY".to_owned()),
        LogicalPlan::Window(window) => {
            let first = window.window_expr.first();
            (OperatorKind::Window, first.map_or("OVER".to_owned(), shown))
        }
        LogicalPlan::Union(_) => (OperatorKind::SetOperation, "UNION".to_owned()),
        LogicalPlan::Join(join) => {
            if let Some(name) = set_operation(node) {
                (OperatorKind::SetOperation, format!("{name} ALL"))
            } else if keeps_rows_apart(join.join_type, position) {
                return None;
            } else {
                (
                    OperatorKind::Join,
                    format!("{} JOIN", join.join_type).to_uppercase(),
                )
            }
        }
        other => (OperatorKind::Other, other.display().to_string()),
    };
    Some(Dependence {
        operator,
        kind,
        node: Some(node),
    })
}

/// Whether a join with constants treats each row of `source`, its input at `position`, by itself. It does not where
/// constants come out for which no row was found, or once however many rows were found: a shard does not know of the
/// rows of another one.
fn keeps_rows_apart(join: JoinType, position: usize) -> bool {
    match join {
        JoinType::Inner => true,
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            position == 0
        }
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            position == 1
        }
        JoinType::Full => false,
    }
}

/// `INTERSECT` and `EXCEPT` are planned as joins for which NULL equals NULL.
fn set_operation(node: &LogicalPlan) -> Option<&'static str> {
    let node = match node {
        LogicalPlan::Distinct(Distinct::All(input)) => input,
        other => other,
    };
    match node {
        LogicalPlan::Union(_) => Some("UNION"),
        LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => {
            match join.join_type {
                JoinType::LeftSemi => Some("INTERSECT"),
                JoinType::LeftAnti => Some("EXCEPT"),
                _ => None,
            }
        }
        _ => None,
    }
}

/// An expression about as the query writes it.
pub(crate) fn shown(expr: &Expr) -> String {
    let text = unqualified(&expr.schema_name().to_string());
    match text.char_indices().nth(SHOWN_LEN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A name that the planner made without the table's name in it: `avg(source.v)` is `avg(v)`.
pub(crate) fn unqualified(name: &str) -> String {
    name.replace("source.", "")
        .replace("count(Int64(1))", "count(*)")
}

/// Why the operator is refused, and what to write instead, for a query that feeds `[merge]` or `[upsert]`.
fn advice(kind: OperatorKind, operator: &str) -> String {
    match kind {
        OperatorKind::Aggregate => format!(
            "select its rows and put `{operator}` into [merge.values], or drop [merge] and [upsert] and let the query say \
             the whole answer"
        ),
        OperatorKind::Distinct => "make the columns the key of [merge], or drop [merge] and [upsert] and let the query say the \
             whole answer"
            .to_owned(),
        OperatorKind::Limit | OperatorKind::Sort => {
            "drop [merge] and [upsert] and let a query with ORDER BY and LIMIT say the whole answer".to_owned()
        }
        OperatorKind::Window | OperatorKind::DistinctOn => {
            "compute it from the results of a job, or with min and max in [merge.values]".to_owned()
        }
        OperatorKind::SetOperation => "write one job for each part, or a WHERE that does the same".to_owned(),
        OperatorKind::Join => "join so that each row of `source` comes out by itself: as an inner join, or with `source` on the \
             side whose rows are kept"
            .to_owned(),
        OperatorKind::Subquery => {
            "compute what the subquery says in a job of its own, and write its answer as a literal".to_owned()
        }
        OperatorKind::Other => "write a query that treats each row by itself".to_owned(),
    }
}
