//! The operators of `[merge.values]`, as written: `sum(dep_delay)`.

use eciton_proto::v1::MergeValue;

use super::names::{check_column, list, suggest};

/// Operators this version merges.
const SUPPORTED: [&str; 5] = ["count", "sum", "min", "max", "avg"];

/// Operators of the contract that this version recognises and refuses.
const KNOWN: [&str; 7] = [
    "first",
    "last",
    "any",
    "bit_or",
    "approx_distinct",
    "approx_quantile",
    "collect_set",
];

/// Reads `operator(column)`; `count()` may go without a column.
///
/// # Errors
/// A sentence saying what was expected, if the text is no call, the operator is unknown or not
/// supported, or the number of arguments is wrong.
pub(super) fn parse(name: &str, text: &str) -> Result<MergeValue, String> {
    let (operator, args) = split_call(text).ok_or_else(|| {
        format!("expected an operator over a column such as `sum(x)`, found `{text}`")
    })?;
    if KNOWN.contains(&operator) {
        return Err(format!(
            "operator `{operator}` is not supported by this version; expected one of {}",
            list(SUPPORTED)
        ));
    }
    if !SUPPORTED.contains(&operator) {
        return Err(format!(
            "unknown operator `{operator}`; expected one of {}{}",
            list(SUPPORTED),
            suggest(operator, SUPPORTED)
        ));
    }
    let column = one_column(operator, args)?;
    Ok(MergeValue {
        name: name.to_owned(),
        operator: operator.to_owned(),
        column: column.to_owned(),
        args: vec![],
    })
}

/// `f( a )` as (`f`, `a`), both trimmed.
fn split_call(text: &str) -> Option<(&str, &str)> {
    let (operator, rest) = text.split_once('(')?;
    let args = rest.trim_end().strip_suffix(')')?;
    let operator = operator.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!operator.is_empty() && operator.chars().all(legal)).then_some((operator, args.trim()))
}

fn one_column<'a>(operator: &str, args: &'a str) -> Result<&'a str, String> {
    if args.is_empty() {
        return if operator == "count" {
            Ok("")
        } else {
            Err(format!(
                "expected one column, `{operator}(column)`, found none"
            ))
        };
    }
    // A quoted name may hold anything; a plain one ends where a list or a call would begin.
    let quoted = args
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let column = quoted.filter(|name| !name.contains('"')).unwrap_or(args);
    if quoted.is_none() && column.contains([',', '(', ')', '"', '*']) {
        return Err(format!(
            "expected one column, `{operator}(column)`, found `{args}`"
        ));
    }
    check_column(column)?;
    Ok(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls() {
        for (text, operator, column) in [
            ("count()", "count", ""),
            (" count ( ) ", "count", ""),
            ("count(x)", "count", "x"),
            ("sum(dep_delay)", "sum", "dep_delay"),
            ("avg( x )", "avg", "x"),
            ("min(\"a, (b)\")", "min", "a, (b)"),
            ("max(größe)", "max", "größe"),
        ] {
            let value = parse("n", text).unwrap();
            assert_eq!(
                (value.operator.as_str(), value.column.as_str()),
                (operator, column)
            );
        }
    }

    #[test]
    fn refusals_say_what_was_expected() {
        for (text, message) in [
            (
                "sum",
                "expected an operator over a column such as `sum(x)`, found `sum`",
            ),
            (
                "sum(x",
                "expected an operator over a column such as `sum(x)`, found `sum(x`",
            ),
            (
                "(x)",
                "expected an operator over a column such as `sum(x)`, found `(x)`",
            ),
            ("sum()", "expected one column, `sum(column)`, found none"),
            (
                "sum(a, b)",
                "expected one column, `sum(column)`, found `a, b`",
            ),
            (
                "count(*)",
                "expected one column, `count(column)`, found `*`",
            ),
            (
                "sun(x)",
                "unknown operator `sun`; expected one of `count`, `sum`, `min`, `max`, `avg` (did you \
                 mean `sum`?)",
            ),
            (
                "approx_quantile(x, 0.95)",
                "operator `approx_quantile` is not supported by this version; expected one of `count`, \
                 `sum`, `min`, `max`, `avg`",
            ),
        ] {
            assert_eq!(parse("n", text).unwrap_err(), message, "{text}");
        }
    }
}
