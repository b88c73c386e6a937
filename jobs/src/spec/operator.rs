//! The operators of `[merge.values]`, as written: `sum(dep_delay)`.

use eciton_engine::merge::{
    Column, Inputs, Kind, OPERATORS, Operator, OperatorInfo, Parameter, QUANTILE_PARTS, SET_LEN_MAX,
};
use eciton_proto::v1::MergeValue;

use super::edges;
use super::names::{check_column, list, suggest};

/// Other names of operators.
const ALIASES: [(&str, Operator); 1] = [("any", Operator::First)];

/// The operators that a job may name.
fn names() -> impl Iterator<Item = &'static str> {
    let rows = OPERATORS.iter().filter(|row| row.merges_columns());
    let aliases = ALIASES.iter().map(|(alias, _)| *alias);
    rows.map(|row| row.name).chain(aliases)
}

fn by_name(name: &str) -> Option<Operator> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    if let Some((_, operator)) = alias {
        return Some(*operator);
    }
    let row = OPERATORS.iter().find(|row| row.name == name)?;
    row.merges_columns().then_some(row.operator)
}

/// Reads `operator(column)`, with a further argument where the operator takes one; `count()` may go without a column.
///
/// # Errors
/// A sentence saying what was expected, if the text is no call, the operator is unknown, or the number of arguments is
/// wrong.
pub(super) fn parse(name: &str, text: &str) -> Result<MergeValue, String> {
    let (called, args) = split_call(text).ok_or_else(|| {
        format!("expected an operator over a column such as `sum(x)`, found `{text}`")
    })?;
    let operator = by_name(called).ok_or_else(|| {
        format!(
            "unknown operator `{called}`; expected one of {}{}",
            list(names()),
            suggest(called, names())
        )
    })?;
    let (column, args) = match operator.info().parameter {
        Parameter::None => (one_column(operator.info(), args)?, vec![]),
        Parameter::Edges => {
            let (column, rest) = split_argument(args);
            let rest = edges::arguments(rest.unwrap_or_default())?;
            (one_column(operator.info(), column)?, rest)
        }
        Parameter::Limit | Parameter::Quantile => {
            let (column, argument) = split_argument(args);
            let Some(argument) = argument else {
                return Err(missing(operator, called, args));
            };
            let args = vec![argument.to_owned()];
            let parameter = parameter_of(operator, &args)?;
            (
                one_column(operator.info(), column)?,
                vec![written(operator, parameter)],
            )
        }
    };
    Ok(MergeValue {
        name: name.to_owned(),
        operator: operator.name().to_owned(),
        column: column.to_owned(),
        args,
    })
}

/// The column of a store that an operator makes, from the further arguments of a call.
///
/// # Errors
/// A sentence saying what was expected.
pub(crate) fn column_of(
    name: &str,
    operator: Operator,
    input: Kind,
    args: &[String],
) -> Result<Column, String> {
    let column = match operator.info().parameter {
        Parameter::Edges => Column::histogram(name, input, edges::edges_of(args)?),
        _ => Column::with_parameter(name, operator, input, parameter_of(operator, args)?),
    };
    column.map_err(|error| error.to_string())
}

/// What an operator is told besides its column, from the further arguments of a call: see
/// [`Parameter`].
///
/// # Errors
/// A sentence saying what was expected.
fn parameter_of(operator: Operator, args: &[String]) -> Result<u32, String> {
    match (operator.info().parameter, args) {
        (Parameter::None, []) => Ok(0),
        (Parameter::None, _) => Err(format!(
            "expected one column, `{operator}(column)`, found {} arguments",
            args.len() + 1
        )),
        (Parameter::Limit, [limit]) => {
            let parsed = limit.parse().ok();
            let parsed = parsed.filter(|limit| (1..=SET_LEN_MAX).contains(limit));
            parsed.ok_or_else(|| {
                format!("expected how many values to keep, from 1 to {SET_LEN_MAX}, found `{limit}`")
            })
        }
        (Parameter::Quantile, [quantile]) => parts_of(quantile).ok_or_else(|| {
            format!(
                "expected a quantile from 0 to 1 with at most six decimal places, as 0.95, found `{quantile}`"
            )
        }),
        (Parameter::Limit | Parameter::Quantile | Parameter::Edges, _) => {
            Err(missing(operator, operator.name(), &args.join(", ")))
        }
    }
}

fn missing(operator: Operator, called: &str, args: &str) -> String {
    let form = match operator.info().parameter {
        Parameter::Quantile => format!("`{called}(column, 0.95)`"),
        _ => format!("`{called}(column, 100)`"),
    };
    format!("expected a column and a further argument, {form}, found `{args}`")
}

/// A decimal from 0 to 1 in parts of a million; nothing is rounded.
fn parts_of(text: &str) -> Option<u32> {
    const PLACES: usize = 6;
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let is_decimal = !whole.is_empty()
        && whole
            .bytes()
            .chain(places.bytes())
            .all(|byte| byte.is_ascii_digit())
        && text != format!("{whole}.");
    let places = places.trim_end_matches('0');
    if !is_decimal || places.len() > PLACES || whole.len() > PLACES {
        return None;
    }
    let parts: u32 = format!("{whole}{places:0<PLACES$}").parse().ok()?;
    (parts <= QUANTILE_PARTS).then_some(parts)
}

/// A parameter as one text, so that one job has one specification.
fn written(operator: Operator, parameter: u32) -> String {
    match operator.info().parameter {
        Parameter::Quantile => {
            let (whole, places) = (parameter / QUANTILE_PARTS, parameter % QUANTILE_PARTS);
            let places = format!("{places:06}");
            match places.trim_end_matches('0') {
                "" => whole.to_string(),
                places => format!("{whole}.{places}"),
            }
        }
        Parameter::Limit | Parameter::Edges | Parameter::None => parameter.to_string(),
    }
}

/// `column, argument` in two, both trimmed. A quoted name may have commas.
fn split_argument(args: &str) -> (&str, Option<&str>) {
    let quoted = args.strip_prefix('"').and_then(|rest| rest.find('"'));
    let from = quoted.map_or(0, |end| end + 2);
    match args[from..].find(',') {
        None => (args, None),
        Some(comma) => {
            let (column, argument) = args.split_at(from + comma);
            (column.trim(), Some(argument[1..].trim()))
        }
    }
}

/// `f( a )` as (`f`, `a`), both trimmed.
fn split_call(text: &str) -> Option<(&str, &str)> {
    let (operator, rest) = text.split_once('(')?;
    let args = rest.trim_end().strip_suffix(')')?;
    let operator = operator.trim();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!operator.is_empty() && operator.chars().all(legal)).then_some((operator, args.trim()))
}

fn one_column<'a>(info: &OperatorInfo, args: &'a str) -> Result<&'a str, String> {
    let operator = info.name;
    if args.is_empty() {
        return match info.inputs {
            Inputs::Rows => Ok(""),
            _ => Err(format!(
                "expected one column, `{operator}(column)`, found none"
            )),
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
            ("first(x)", "first", "x"),
            ("any(x)", "first", "x"),
            ("approx_distinct(x)", "approx_distinct", "x"),
            ("approx_quantile(x, 0.95)", "approx_quantile", "x"),
            ("collect_set(\"a, b\" , 3)", "collect_set", "a, b"),
            ("top_k(x, 5)", "top_k", "x"),
            ("histogram(\"a, b\", [0, 1.5])", "histogram", "a, b"),
            ("histogram(x, 0, 10, 5)", "histogram", "x"),
            ("stddev_samp(x)", "stddev_samp", "x"),
            ("bool_and(x)", "bool_and", "x"),
        ] {
            let value = parse("n", text).unwrap();
            assert_eq!(
                (value.operator.as_str(), value.column.as_str()),
                (operator, column)
            );
        }
    }

    #[test]
    fn a_further_argument_has_one_form() {
        for (text, args) in [
            ("approx_quantile(x, 0.950)", "0.95"),
            ("approx_quantile(x,1)", "1"),
            ("approx_quantile(x, 0.0)", "0"),
            ("approx_quantile(x, 0.000001)", "0.000001"),
            ("collect_set(x, 010)", "10"),
        ] {
            let value = parse("n", text).unwrap();
            assert_eq!(value.args, [args], "{text}");
            let operator = Operator::parse(&value.operator).unwrap();
            assert!(parameter_of(operator, &value.args).is_ok(), "{text}");
        }
        assert_eq!(
            parameter_of(Operator::ApproxQuantile, &["0.95".into()]),
            Ok(950_000)
        );
        for argument in [
            "1.5",
            "-0.5",
            ".5",
            "1.",
            "0.1234567",
            "95%",
            "",
            "1e-1",
            "0,5",
        ] {
            let text = format!("approx_quantile(x, {argument})");
            let told = parse("n", &text).unwrap_err();
            assert!(told.contains("from 0 to 1"), "{text}: {told}");
        }
        for argument in ["0", "10001", "-1", "1.5", "x"] {
            let text = format!("collect_set(x, {argument})");
            let told = parse("n", &text).unwrap_err();
            assert!(told.contains("from 1 to 10000"), "{text}: {told}");
        }
        assert!(parameter_of(Operator::Sum, &["1".into()]).is_err());
        assert!(parameter_of(Operator::CollectSet, &[]).is_err());
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
                "unknown operator `sun`; expected one of `count`, `sum`, `min`, `max`, `avg`, `first`, `last`, \
                 `bit_or`, `collect_set`, `approx_distinct`, `approx_quantile`, `top_k`, `histogram`, `bool_and`, \
                 `bool_or`, `var_pop`, `var_samp`, `stddev_pop`, `stddev_samp`, `any` (did you mean `sum`?)",
            ),
            (
                "approx_quantile(x)",
                "expected a column and a further argument, `approx_quantile(column, 0.95)`, found `x`",
            ),
            (
                "collect_set()",
                "expected a column and a further argument, `collect_set(column, 100)`, found ``",
            ),
            (
                "latest(x)",
                "unknown operator `latest`; expected one of `count`, `sum`, `min`, `max`, `avg`, `first`, `last`, \
                 `bit_or`, `collect_set`, `approx_distinct`, `approx_quantile`, `top_k`, `histogram`, `bool_and`, \
                 `bool_or`, `var_pop`, `var_samp`, `stddev_pop`, `stddev_samp`, `any` (did you mean `last`?)",
            ),
        ] {
            assert_eq!(parse("n", text).unwrap_err(), message, "{text}");
        }
    }
}
