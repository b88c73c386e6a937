//! What a query does with a column of its source, as far as its text tells.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, SelectItem, SetExpr, Statement, TableFactor, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::plan::planning;

/// The name under which a query gives a column as it is, if it does nothing else with the column. `None` also for a query
/// of which that cannot be told.
pub(crate) fn only_output_of(sql: &str, column: &str) -> Option<String> {
    planning(sql, || Ok(found(sql, column))).ok().flatten()
}

fn found(sql: &str, column: &str) -> Option<String> {
    let statements = Parser::parse_sql(&GenericDialect {}, sql).ok()?;
    let [Statement::Query(query)] = statements.as_slice() else {
        return None;
    };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let [from] = select.from.as_slice() else {
        return None;
    };
    let is_plain = query.with.is_none()
        && query.order_by.is_none()
        && select.distinct.is_none()
        && from.joins.is_empty()
        && matches!(from.relation, TableFactor::Table { .. });
    let mut uses = Uses { column, count: 0 };
    let _whole: ControlFlow<()> = query.visit(&mut uses);
    let mut outputs = select.projection.iter().filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) if is_column(expr, column) => Some((column, 0)),
        SelectItem::ExprWithAlias { expr, alias } if is_column(expr, column) => {
            Some((alias.value.as_str(), 0))
        }
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => Some((column, 1)),
        _ => None,
    });
    let (name, implied) = outputs.next()?;
    let is_once = outputs.next().is_none() && uses.count + implied == 1;
    (is_plain && is_once).then(|| name.to_owned())
}

struct Uses<'c> {
    column: &'c str,
    count: usize,
}

impl Visitor for Uses<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.count += usize::from(is_column(expr, self.column));
        ControlFlow::Continue(())
    }
}

fn is_column(expr: &Expr, column: &str) -> bool {
    let is_it = |name: &Ident| name.value.eq_ignore_ascii_case(column);
    match expr {
        Expr::Identifier(name) => is_it(name),
        Expr::CompoundIdentifier(names) => names.last().is_some_and(is_it),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::only_output_of;

    #[test]
    fn a_column_that_is_given_once_is_told_from_one_that_is_looked_at() {
        for (sql, name) in [
            ("SELECT k, v FROM source", Some("v")),
            (
                "SELECT k, source.v AS amount FROM source WHERE k > 1",
                Some("amount"),
            ),
            ("SELECT * FROM source", Some("v")),
            ("SELECT k FROM source", None),
            ("SELECT v AS k, v FROM source", None),
            ("SELECT *, v AS w FROM source", None),
            ("SELECT k, v + 0 AS v FROM source", None),
            ("SELECT k, v FROM source WHERE v <> '7'", None),
            (
                "SELECT k, v FROM source WHERE k IN (SELECT v FROM source)",
                None,
            ),
            ("SELECT DISTINCT k, v FROM source", None),
            (
                "SELECT k, v FROM source JOIN (VALUES (1)) t(v) USING (v)",
                None,
            ),
            ("SELECT k, v FROM (SELECT k, v FROM source)", None),
            ("SELECT k, v FROM source UNION ALL SELECT 1, 2", None),
            ("no query", None),
        ] {
            assert_eq!(only_output_of(sql, "v").as_deref(), name, "{sql}");
        }
    }
}
