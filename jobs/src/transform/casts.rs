//! Expressions that differ by a `CAST` alone.
//!
//! The planner names `sum(CAST(v AS DOUBLE))` as it names `sum(v)`, and refuses two columns of one name. So where both are
//! in one `SELECT`, the argument of one of them is put into `coalesce`, which gives what it takes and shows in the name. The
//! column is named as it is written.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, OrderBy, Query, Select,
    SelectItem, SetExpr, Statement, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Gives names of their own to calls that differ by a `CAST` alone.
pub(super) fn told_apart(statement: &mut Statement) {
    struct Queries;
    impl VisitorMut for Queries {
        type Break = ();
        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            if let SetExpr::Select(select) = query.body.as_mut() {
                select_told_apart(select, &mut query.order_by);
            }
            ControlFlow::Continue(())
        }
    }
    // Nothing breaks it off.
    let _unbroken = statement.visit(&mut Queries);
}

fn select_told_apart(select: &mut Select, order_by: &mut Option<OrderBy>) {
    let mut calls = Calls::default();
    // Nothing breaks these off.
    let _projection = Visit::visit(&select.projection, &mut calls);
    let _having = Visit::visit(&select.having, &mut calls);
    let _order = Visit::visit(order_by, &mut calls);
    let mut names = calls.names();
    if names.levels.is_empty() {
        return;
    }
    for item in &mut select.projection {
        let before = match item {
            SelectItem::UnnamedExpr(expr) => Some(expr.to_string()),
            _ => None,
        };
        let _item = VisitMut::visit(item, &mut names);
        if let (SelectItem::UnnamedExpr(expr), Some(before)) = (&*item, before)
            && expr.to_string() != before
        {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', before),
            };
        }
    }
    let _having = VisitMut::visit(&mut select.having, &mut names);
    let _order = VisitMut::visit(order_by, &mut names);
}

/// Calls of functions by their text without casts, each with its own text, in their order.
#[derive(Default)]
struct Calls(HashMap<String, Vec<String>>);

impl Visitor for Calls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Function(_)) {
            let text = expr.to_string();
            let alike = self.0.entry(without_casts(expr)).or_default();
            if !alike.contains(&text) {
                alike.push(text);
            }
        }
        ControlFlow::Continue(())
    }
}

impl Calls {
    /// How often the arguments of a call are put into `coalesce`.
    fn names(self) -> CastNames {
        let mut levels = HashMap::new();
        for (plain, mut alike) in self.0 {
            // The one that has no cast keeps its name.
            alike.sort_by_key(|text| *text != plain);
            let each = alike.into_iter().enumerate().skip(1);
            levels.extend(each.map(|(level, text)| (text, level)));
        }
        CastNames { levels }
    }
}

fn without_casts(expr: &Expr) -> String {
    struct Casts;
    impl VisitorMut for Casts {
        type Break = ();
        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Expr::Cast { expr: inner, .. } = expr {
                *expr = (**inner).clone();
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = expr.clone();
    let _unbroken = VisitMut::visit(&mut expr, &mut Casts);
    expr.to_string()
}

struct CastNames {
    levels: HashMap<String, usize>,
}

impl VisitorMut for CastNames {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Some(level) = self.levels.get(&expr.to_string()) else {
            return ControlFlow::Continue(());
        };
        debug_assert!(*level > 0, "the first of them keeps its name");
        if let Expr::Function(call) = expr
            && let FunctionArguments::List(list) = &mut call.args
        {
            for arg in &mut list.args {
                if let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg {
                    wrap(arg, *level);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Puts an argument into so many calls of `coalesce`.
fn wrap(arg: &mut Expr, level: usize) {
    let text = format!("{}{arg}{}", "coalesce(".repeat(level), ")".repeat(level));
    let parsed = Parser::new(&GenericDialect {})
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_expr());
    // What was parsed before is parsed again; else the planner says that there are two of a name.
    if let Ok(parsed) = parsed {
        *arg = parsed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(sql: &str) -> String {
        let mut statements = Parser::parse_sql(&GenericDialect {}, sql).unwrap();
        told_apart(&mut statements[0]);
        statements[0].to_string()
    }

    #[test]
    fn calls_that_differ_by_a_cast_have_names_of_their_own() {
        assert_eq!(
            apart(
                "SELECT sum(CAST(v AS DOUBLE)), sum(v) FROM source ORDER BY sum(CAST(v AS DOUBLE))"
            ),
            "SELECT sum(coalesce(CAST(v AS DOUBLE))) AS \"sum(CAST(v AS DOUBLE))\", sum(v) FROM source ORDER BY \
             sum(coalesce(CAST(v AS DOUBLE)))"
        );
        for same in [
            "SELECT sum(CAST(v AS DOUBLE)) FROM source",
            "SELECT sum(v), sum(w) FROM source",
            "SELECT sum(v) + sum(v), max(CAST(v AS DOUBLE)) FROM source",
        ] {
            assert_eq!(apart(same), same);
        }
    }
}
