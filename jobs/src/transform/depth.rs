//! How large and how deep a query may be.
//!
//! What recurses into a query needs stack for each of its levels, and much of planning takes time by the square of
//! them. So a query is measured before anything recurses into it. Chains of `AND` and of `OR`, which generated
//! queries have, are no depth: they are turned into balanced trees.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, ObjectName, Query, Statement as SqlStatement, TableFactor, Value,
    ValueWithSpan, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::error::TransformError;

/// Words, values and signs of a query.
pub const SQL_TOKENS_MAX: usize = 100_000;
/// Levels of an expression: `a + b + c` has two; a chain of `AND` or of `OR` counts as few.
pub const SQL_DEPTH_MAX: usize = 500;
/// Levels of the deepest expressions of a query and of those that it reads from, together: they may become one.
pub const SQL_DEPTH_SUM_MAX: usize = 1_000;
/// Tables that a query reads, each as often as it is read, also through `WITH`.
pub const SQL_TABLES_MAX: usize = 200;
/// `UNION`, `INTERSECT` and `EXCEPT` in a query.
pub const SQL_SETS_MAX: usize = 200;

/// What was measured of a query.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measure {
    /// Bytes of the texts in it.
    pub(super) literals_len: usize,
}

/// The number of tokens of a text; 0 if it is no SQL, which the parser says better.
pub(super) fn tokens(sql: &str) -> Result<usize, TransformError> {
    let dialect = datafusion::sql::sqlparser::dialect::GenericDialect {};
    let Ok(tokens) = Tokenizer::new(&dialect, sql).tokenize() else {
        return Ok(0);
    };
    let said = |token: &&Token| !matches!(token, Token::Whitespace(_));
    let count = tokens.iter().filter(said).count();
    within("words, values and signs", count, SQL_TOKENS_MAX)?;
    let is_set = |token: &&Token| {
        let Token::Word(word) = token else {
            return false;
        };
        matches!(
            word.keyword,
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT
        )
    };
    let sets = tokens.iter().filter(is_set).count();
    within("`UNION`, `INTERSECT` and `EXCEPT`", sets, SQL_SETS_MAX)?;
    Ok(count)
}

fn within(what: &'static str, found: usize, max: usize) -> Result<(), TransformError> {
    match found <= max {
        true => Ok(()),
        false => Err(TransformError::TooLarge { what, found, max }),
    }
}

/// Turns chains of `AND` and `OR` into balanced trees, and measures what is left. Recurses as deep as the
/// statement is.
pub(super) fn measured(statement: &mut Statement) -> Result<Measure, TransformError> {
    let Statement::Statement(sql) = statement else {
        return Ok(Measure::default());
    };
    balance(sql);
    let mut measuring = Measuring::default();
    let broken = Visit::visit(&**sql, &mut measuring);
    if let ControlFlow::Break(error) = broken {
        return Err(error);
    }
    Ok(Measure {
        literals_len: measuring.literals_len,
    })
}

#[derive(Default)]
struct Measuring {
    depth: usize,
    /// Of each query at work, the innermost one last.
    deepest: Vec<usize>,
    /// Of all queries that are complete.
    depth_sum: usize,
    literals_len: usize,
    /// What each query at work reads, the innermost one last.
    tables: Vec<usize>,
    /// Queries of `WITH` that were met and not left yet: by their address, their name.
    named: HashMap<usize, String>,
    /// What a name of `WITH` reads. Where two have a name, the larger one.
    weights: HashMap<String, usize>,
}

impl Measuring {
    fn add_tables(&mut self, count: usize) -> ControlFlow<TransformError> {
        let Some(tables) = self.tables.last_mut() else {
            return ControlFlow::Continue(());
        };
        *tables = tables.saturating_add(count);
        match within("tables read", *tables, SQL_TABLES_MAX) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Visitor for Measuring {
    type Break = TransformError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<TransformError> {
        self.tables.push(0);
        self.deepest.push(self.depth);
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        for table in tables {
            let name = table.alias.name.value.clone();
            self.named
                .insert(std::ptr::from_ref(&*table.query) as usize, name);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<TransformError> {
        let read = self.tables.pop().unwrap_or(0);
        // What stands around this query is counted where it stands.
        let deepest = self.deepest.pop().unwrap_or(0).saturating_sub(self.depth);
        self.depth_sum = self.depth_sum.saturating_add(deepest);
        let sum = within(
            "levels in its expressions together",
            self.depth_sum,
            SQL_DEPTH_SUM_MAX,
        );
        if let Err(error) = sum {
            return ControlFlow::Break(error);
        }
        let address = std::ptr::from_ref(query) as usize;
        if let Some(name) = self.named.remove(&address) {
            let weight = self.weights.entry(name).or_default();
            *weight = read.max(1).max(*weight);
            return ControlFlow::Continue(());
        }
        self.add_tables(read.max(1))
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<TransformError> {
        let name = match relation.0.as_slice() {
            [part] => part.as_ident().map(|Ident { value, .. }| value.as_str()),
            _ => None,
        };
        let weight = name.and_then(|name| self.weights.get(name)).copied();
        self.add_tables(weight.unwrap_or(1))
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<TransformError> {
        match table {
            // These are met as relations and queries.
            TableFactor::Table { .. } | TableFactor::Derived { .. } => ControlFlow::Continue(()),
            _ => self.add_tables(1),
        }
    }

    fn pre_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<TransformError> {
        self.depth += 1;
        if let Some(deepest) = self.deepest.last_mut() {
            *deepest = self.depth.max(*deepest);
        }
        match within("levels in an expression", self.depth, SQL_DEPTH_MAX) {
            Ok(()) => ControlFlow::Continue(()),
            // How many there are in all, nobody has counted.
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<TransformError> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<TransformError> {
        let len = match &value.value {
            Value::Number(..) | Value::Boolean(_) | Value::Null | Value::Placeholder(_) => 0,
            text => text.to_string().len(),
        };
        self.literals_len = self.literals_len.saturating_add(len);
        ControlFlow::Continue(())
    }
}

/// Turns chains of one connective, which the parser makes as deep as they are long, into trees that are as shallow as
/// possible. The order of the operands stays.
fn balance(statement: &mut SqlStatement) {
    struct Balancing;
    impl VisitorMut for Balancing {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let Expr::BinaryOp { op, .. } = expr else {
                return ControlFlow::Continue(());
            };
            if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
                let op = op.clone();
                let chain = std::mem::replace(expr, Expr::Value(Value::Null.into()));
                *expr = tree(operands(chain, &op), &op);
            }
            ControlFlow::Continue(())
        }
    }
    // Nothing breaks it off.
    let _unbroken = VisitMut::visit(statement, &mut Balancing);
}

/// The operands of a chain, in their order.
fn operands(chain: Expr, of: &BinaryOperator) -> Vec<Expr> {
    let mut found = Vec::new();
    let mut rest = vec![chain];
    while let Some(expr) = rest.pop() {
        match expr {
            // Taken from the right, so that the left end comes last.
            Expr::BinaryOp { left, op, right } if op == *of => rest.extend([*left, *right]),
            operand => found.push(operand),
        }
    }
    found.reverse();
    found
}

fn tree(operands: Vec<Expr>, op: &BinaryOperator) -> Expr {
    let mut level = operands;
    while level.len() > 1 {
        let mut next = Vec::with_capacity(level.len().div_ceil(2));
        let mut pairs = level.into_iter();
        while let Some(left) = pairs.next() {
            next.push(match pairs.next() {
                Some(right) => Expr::BinaryOp {
                    left: Box::new(left),
                    op: op.clone(),
                    right: Box::new(right),
                },
                None => left,
            });
        }
        level = next;
    }
    level.pop().unwrap_or(Expr::Value(Value::Null.into()))
}
