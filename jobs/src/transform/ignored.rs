//! Clauses that the parser takes and the planner passes over as if they were not there, or takes for something else.
//!
//! The structs are taken apart field by field: a parser with a field more does not compile until it is known here.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    DuplicateTreatment, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Query,
    Select, Statement, TableFactor, Visit, Visitor,
};

use super::error::TransformError;

/// Checks that a query has none.
///
/// # Errors
/// [`TransformError::Plan`] naming the clause.
pub(super) fn none(statement: &Statement) -> Result<(), TransformError> {
    match statement.visit(&mut Clauses) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break((clause, instead)) => Err(TransformError::Plan {
            message: format!("{clause} is not supported: expected {instead}"),
        }),
    }
}

struct Clauses;

/// A clause, and what to write instead.
type Ignored = (&'static str, &'static str);

/// The first clause that is there.
fn first<const N: usize>(clauses: [(bool, Ignored); N]) -> ControlFlow<Ignored> {
    match clauses.into_iter().find(|(is_there, _)| *is_there) {
        Some((_, clause)) => ControlFlow::Break(clause),
        None => ControlFlow::Continue(()),
    }
}

impl Visitor for Clauses {
    type Break = Ignored;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Ignored> {
        let Query {
            with: _,
            body: _,
            order_by: _,
            limit_clause: _,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators: _,
        } = query;
        first([
            (
                !locks.is_empty(),
                ("FOR UPDATE or SHARE", "no lock: a query only reads"),
            ),
            (fetch.is_some(), ("FETCH", "LIMIT with a number of rows")),
            (for_clause.is_some(), ("FOR XML or JSON", "columns")),
            (settings.is_some(), ("SETTINGS", "a query without it")),
            (format_clause.is_some(), ("FORMAT", "a query without it")),
        ])
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Ignored> {
        let Select {
            select_token: _,
            optimizer_hints: _,
            distinct: _,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection: _,
            exclude,
            into,
            from: _,
            lateral_views,
            prewhere,
            selection: _,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having: _,
            named_window: _,
            qualify: _,
            window_before_qualify: _,
            value_table_mode,
            flavor: _,
        } = select;
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = group_by;
        first([
            (
                select_modifiers.is_some(),
                ("a modifier of SELECT", "SELECT alone"),
            ),
            (top.is_some(), ("TOP", "LIMIT at the end of the query")),
            (
                exclude.is_some(),
                ("EXCLUDE behind the columns", "`* EXCLUDE (...)`"),
            ),
            (into.is_some(), ("INTO", "`[result] store`")),
            (
                !lateral_views.is_empty(),
                ("LATERAL VIEW", "`unnest` in the SELECT list"),
            ),
            (prewhere.is_some(), ("PREWHERE", "WHERE")),
            (
                !connect_by.is_empty(),
                ("CONNECT BY", "a query over the rows alone"),
            ),
            (
                !modifiers.is_empty(),
                ("WITH ROLLUP, CUBE or TOTALS", "GROUP BY with columns alone"),
            ),
            (!cluster_by.is_empty(), ("CLUSTER BY", "a query without it")),
            (
                !distribute_by.is_empty(),
                ("DISTRIBUTE BY", "a query without it"),
            ),
            (!sort_by.is_empty(), ("SORT BY", "ORDER BY")),
            (value_table_mode.is_some(), ("SELECT AS", "columns")),
        ])
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<Ignored> {
        if let Some(instead) = instead_of_table(table) {
            return ControlFlow::Break(instead);
        }
        let TableFactor::Table {
            name: _,
            alias: _,
            args: _,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } = table
        else {
            return ControlFlow::Continue(());
        };
        let plain = "a plain table name";
        first([
            (sample.is_some(), ("TABLESAMPLE", plain)),
            (*with_ordinality, ("WITH ORDINALITY", plain)),
            (version.is_some(), ("FOR SYSTEM_TIME", plain)),
            (!with_hints.is_empty(), ("WITH hints", plain)),
            (!partitions.is_empty(), ("PARTITION", plain)),
            (json_path.is_some(), ("a path behind a table", plain)),
            (!index_hints.is_empty(), ("an index hint", plain)),
        ])
    }

    /// `count(DISTINCT *)` is taken for the distinct values of a constant.
    ///
    /// The planner takes the pattern for a regular expression, which need not match the whole text.
    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Ignored> {
        let is_similar = matches!(expr, Expr::SimilarTo { .. });
        first([
            (
                is_similar,
                ("SIMILAR TO", "LIKE, or `~` with a regular expression"),
            ),
            (
                is_distinct_of_all(expr),
                (
                    "DISTINCT * in an aggregate",
                    "count(*) over a subquery: `SELECT count(*) FROM (SELECT DISTINCT * FROM source)`",
                ),
            ),
            (
                matches!(expr, Expr::Collate { .. }),
                ("COLLATE", "text as it is: it compares by its code points"),
            ),
        ])
    }
}

fn is_distinct_of_all(expr: &Expr) -> bool {
    let Expr::Function(call) = expr else {
        return false;
    };
    let FunctionArguments::List(list) = &call.args else {
        return false;
    };
    let is_all = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(of) => !matches!(of, FunctionArgExpr::Expr(_)),
        _ => false,
    };
    list.duplicate_treatment == Some(DuplicateTreatment::Distinct) && list.args.iter().any(is_all)
}

/// What stands in FROM and is neither a table, a subquery nor a join, and what to write.
fn instead_of_table(table: &TableFactor) -> Option<Ignored> {
    let in_list = "`unnest(...)` in the SELECT list";
    match table {
        TableFactor::UNNEST {
            array_exprs,
            with_offset,
            with_ordinality,
            ..
        } => {
            let has_column = array_exprs
                .iter()
                .any(|array| array.visit(&mut ColumnFinder).is_break());
            if *with_offset || *with_ordinality {
                return Some(("WITH ORDINALITY or OFFSET", in_list));
            }
            has_column.then_some(("`unnest` of a column in FROM", in_list))
        }
        TableFactor::Pivot { .. } => Some((
            "PIVOT",
            "an aggregate for each column: `sum(v) FILTER (WHERE k = 'a') AS a`",
        )),
        TableFactor::Unpivot { .. } => Some(("UNPIVOT", "`unnest([a, b])` in the SELECT list")),
        TableFactor::MatchRecognize { .. } => {
            Some(("MATCH_RECOGNIZE", "a query over the rows alone"))
        }
        TableFactor::Function { lateral: true, .. } => Some(("LATERAL before a function", in_list)),
        TableFactor::JsonTable { .. }
        | TableFactor::OpenJsonTable { .. }
        | TableFactor::XmlTable { .. } => Some(("a table made of a text", "columns of `source`")),
        TableFactor::SemanticView { .. } => Some(("SEMANTIC_VIEW", "columns of `source`")),
        _ => None,
    }
}

/// Stops at a column.
struct ColumnFinder;

impl Visitor for ColumnFinder {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::{DataType, Field, Schema};

    use crate::transform::Transform;

    #[test]
    fn what_the_planner_would_pass_over_is_refused_by_name() {
        let fields = vec![
            Field::new("k", DataType::Utf8, true),
            Field::new("v", DataType::Int64, true),
        ];
        let schema = Arc::new(Schema::new(fields));
        for (sql, clause) in [
            (
                "SELECT k, count(*) FROM source GROUP BY k WITH ROLLUP",
                "WITH ROLLUP",
            ),
            (
                "SELECT k, count(*) FROM source GROUP BY k WITH TOTALS",
                "TOTALS",
            ),
            ("SELECT k FROM source PREWHERE v > 1", "PREWHERE"),
            (
                "SELECT k FROM source START WITH v = 1 CONNECT BY PRIOR v = v",
                "CONNECT BY",
            ),
            ("SELECT k FROM source PARTITION (p0)", "PARTITION"),
            ("SELECT k FROM source FETCH FIRST 3 ROWS ONLY", "FETCH"),
            ("SELECT TOP 3 k FROM source", "TOP"),
            (
                "SELECT k, x FROM source CROSS JOIN unnest([v, v]) AS u(x)",
                "`unnest` of a column",
            ),
            (
                "SELECT k, x FROM source, LATERAL unnest([v]) AS u(x)",
                "LATERAL before a function",
            ),
            ("SELECT count(DISTINCT *) AS n FROM source", "DISTINCT *"),
            (
                "SELECT * FROM source PIVOT (sum(v) FOR k IN ('a', 'b'))",
                "PIVOT",
            ),
            ("SELECT k COLLATE \"de\" FROM source", "COLLATE"),
            ("SELECT k FROM source FOR UPDATE", "FOR UPDATE"),
            ("SELECT k FROM source SETTINGS a = 1", "SETTINGS"),
            (
                "SELECT k FROM source TABLESAMPLE (10 PERCENT)",
                "TABLESAMPLE",
            ),
            ("SELECT k FROM source WHERE k SIMILAR TO 'a%'", "SIMILAR TO"),
            (
                "SELECT k FROM (SELECT k FROM source PREWHERE v > 1)",
                "PREWHERE",
            ),
        ] {
            let refused = Transform::plan(Some(sql), Arc::clone(&schema)).map(drop);
            let message = refused.unwrap_err().to_string();
            assert!(message.contains(clause), "{sql}: {message}");
            assert!(message.contains("is not supported"), "{sql}: {message}");
        }
        let plain = "SELECT k, v FROM source AS s WHERE k LIKE 'a%' AND k ~ 'b'";
        assert!(Transform::plan(Some(plain), schema).is_ok());
    }
}
