//! What DataFusion says of a query, in our words: what is not there, and what to write.

use crate::names;

/// Functions of other databases, and what does the same.
const ELSEWHERE: [(&str, &str); 23] = [
    ("if", "CASE WHEN ... THEN ... ELSE ... END"),
    ("iif", "CASE WHEN ... THEN ... ELSE ... END"),
    ("ifnull", "coalesce(...)"),
    ("isnull", "... IS NULL, or coalesce(...)"),
    (
        "group_concat",
        "string_agg(..., ',') over the groups of a subquery",
    ),
    ("len", "length(...)"),
    ("strftime", "to_char(...)"),
    ("datediff", "CAST(a AS DATE) - CAST(b AS DATE)"),
    ("dateadd", "... + INTERVAL '1 day'"),
    ("year", "extract(year FROM ...)"),
    ("month", "extract(month FROM ...)"),
    ("day", "extract(day FROM ...)"),
    ("hour", "extract(hour FROM ...)"),
    ("countif", "count(*) FILTER (WHERE ...)"),
    ("sumif", "sum(...) FILTER (WHERE ...)"),
    ("mod", "a % b"),
    ("truncate", "trunc(...)"),
    ("row_number", "row_number() OVER (ORDER BY ...)"),
    ("rank", "rank() OVER (ORDER BY ...)"),
    ("dense_rank", "dense_rank() OVER (ORDER BY ...)"),
    ("ntile", "ntile(...) OVER (ORDER BY ...)"),
    ("lag", "lag(...) OVER (ORDER BY ...)"),
    ("lead", "lead(...) OVER (ORDER BY ...)"),
];

/// Our words for a message, if it is a known one.
pub(super) fn plainly(message: &str) -> Option<String> {
    unknown_function(message)
        .or_else(|| one_name(message))
        .or_else(|| wrong_arguments(message))
        .or_else(|| not_there(message))
}

/// What stands between two texts.
fn between<'m>(message: &'m str, before: &str, after: &str) -> Option<&'m str> {
    let (_, rest) = message.split_once(before)?;
    let (found, _) = rest.split_once(after)?;
    Some(found)
}

fn unknown_function(message: &str) -> Option<String> {
    let name = between(message, "Invalid function '", "'")
        .or_else(|| between(message, "table function '", "' not found"))?;
    if message.contains("table function") {
        return Some(format!(
            "no table function `{name}`: the rows of a shard are the table `source`, constants are VALUES"
        ));
    }
    let known = ELSEWHERE
        .iter()
        .find(|(other, _)| name.eq_ignore_ascii_case(other));
    let advice = match (known, between(message, "Did you mean '", "'")) {
        (Some((_, instead)), _) => format!("write {instead}"),
        (None, Some(near)) if names::is_near(name, near) => {
            format!("did you mean `{near}`? The functions are those of DataFusion")
        }
        (None, _) => "the functions are those of DataFusion".to_owned(),
    };
    Some(format!("no function `{name}`: {advice}"))
}

fn one_name(message: &str) -> Option<String> {
    if message.contains("require unique expression names") {
        let first = between(message, "the expression \"", "\" at position")?;
        let second = between(message, "and \"", "\" at position")?;
        return Some(format!(
            "two columns of a SELECT have one name, {} and {}: name one of them, such as `... AS other`",
            in_backticks(first),
            in_backticks(second)
        ));
    }
    let name = between(message, "duplicate unqualified field name ", "\n").or_else(|| {
        message
            .split_once("duplicate unqualified field name ")
            .map(|(_, name)| name)
    });
    if let Some(name) = name {
        let name = crate::transform::scope::unqualified(name.trim_matches(['"', ' ', '.']));
        return Some(format!(
            "two expressions of the query are named `{name}`, since a CAST shows in no name: compute the CAST in a subquery, \
             as in `FROM (SELECT *, CAST(v AS DOUBLE) AS w FROM source)`"
        ));
    }
    let name =
        between(message, "mbiguous reference to unqualified field ", "\n").or_else(|| {
            message
                .split_once("mbiguous reference to unqualified field ")
                .map(|(_, name)| name)
        })?;
    let name = name.trim_matches(['"', ' ', '.']);
    Some(format!(
        "column `{name}` is in several tables: write its table before it, such as `source.{name}`"
    ))
}

/// An expression about as the query has it.
fn in_backticks(expr: &str) -> String {
    let written = crate::transform::scope::unqualified(expr);
    // The planner's own name of `count(*)` stands before the one that is given.
    let written = written.replacen("count(*) AS count(*)", "count(*)", 1);
    format!("`{written}`")
}

fn wrong_arguments(message: &str) -> Option<String> {
    let is_it = message.contains("No function matches")
        || message.contains("match any signature")
        || message.contains("user-defined coercion failed");
    if !is_it {
        return None;
    }
    let name = between(message, "unction '", "'")
        .or_else(|| between(message, "types '", "("))
        .or_else(|| between(message, "'", "'"))?;
    // A function of our own says it itself.
    if let Some(own) = between(
        message,
        "coercion failed with: Error during planning: ",
        ". No function",
    )
    .or_else(|| {
        between(
            message,
            "coercion failed with: Error during planning: ",
            " No function",
        )
    }) {
        return Some(own.trim_end_matches('.').to_owned());
    }
    let mut counts: Vec<&str> = message
        .split(" expects ")
        .skip(1)
        .filter_map(|rest| rest.split_once(" arguments but received"))
        .map(|(count, _)| count)
        .filter(|count| count.len() <= 3)
        .collect();
    counts.dedup();
    let types = between(message, "received ", " (DataType: ");
    if let (Some(found), false) = (types, counts.is_empty()) {
        return Some(format!(
            "`{name}` takes other arguments: expected {} of them, or other types than {found}: cast them",
            counts.join(" or ")
        ));
    }
    if let Some(found) = types {
        return Some(format!(
            "`{name}` takes no argument of type {}: cast it",
            between(message, "(DataType: ", ")").unwrap_or(found)
        ));
    }
    if let Some(found) = between(message, "arguments but received ", ".")
        .or_else(|| {
            message
                .split_once("arguments but received ")
                .map(|(_, found)| found)
        })
        .map(|found| found.split([',', ' ', '.']).next().unwrap_or(found))
        .filter(|_| !counts.is_empty())
    {
        let plural = if counts == ["1"] { "" } else { "s" };
        return Some(format!(
            "`{name}` takes {} argument{plural}, found {found}",
            counts.join(" or ")
        ));
    }
    if message.contains("zero arguments") {
        return Some(format!("`{name}` takes arguments, found none"));
    }
    let call = between(message, "argument types '", "'").unwrap_or(name);
    Some(format!(
        "no function `{name}` takes what `{call}` gives it: expected another number of arguments, or other types: cast them"
    ))
}

/// Clauses and expressions that there are not.
fn not_there(message: &str) -> Option<String> {
    if let Some(column) = between(
        message,
        "must be in GROUP BY or an aggregate function: ",
        "must appear",
    ) {
        let column = between(column, "column \"", "\"").unwrap_or(column);
        let column = crate::transform::scope::unqualified(column);
        return Some(format!(
            "column `{column}` is in SELECT, but neither in GROUP BY nor in an aggregate: write GROUP BY {column}, or an \
             aggregate such as min({column})"
        ));
    }
    let node = between(message, "nsupported ast node in sqltorel: ", " ")
        .or_else(|| between(message, "nsupported ast node in sqltorel: ", "("))
        .or_else(|| between(message, "nsupported ast node ", " "))
        .or_else(|| between(message, "nsupported AST node ", " "));
    if let Some(node) = node {
        let node = node.split(['(', '{', ':']).next().unwrap_or(node);
        return Some(format!(
            "`{node}` is an expression that is not supported: expected operators, CASE, CAST and functions of DataFusion"
        ));
    }
    message.contains("OuterReferenceColumn").then(|| {
        "a subquery that refers to columns of the query around it is not supported in this place: write it as an expression \
         in SELECT, or as a join"
            .to_owned()
    })
}

/// Our words for what the parser says.
pub(super) fn parsed(message: &str) -> String {
    let token = between(
        message,
        "o infix parser for token Word(Word { value: \"",
        "\"",
    );
    token.map_or_else(
        || message.to_owned(),
        |token| format!("expected: an operator, found: {token}"),
    )
}

#[cfg(test)]
mod tests {
    use super::plainly;

    #[test]
    fn known_messages_are_said_plainly() {
        for (said, ours) in [
            (
                "Invalid function 'if'.\nDid you mean 'pi'?",
                "no function `if`: write CASE WHEN ... THEN ... ELSE ... END",
            ),
            (
                "Function 'upper' expects 1 arguments but received 2. No function matches the given name and argument types \
                 'upper(Utf8, Utf8)'. You might need to add explicit type casts.",
                "`upper` takes 1 argument, found 2",
            ),
            (
                "Internal error: Function 'date_trunc' failed to match any signature, errors: Error during planning: Function \
                 'date_trunc' expects 2 arguments but received 1,Error during planning: Function 'date_trunc' expects 2 \
                 arguments but received 1",
                "`date_trunc` takes 2 arguments, found 1",
            ),
            (
                "Function 'sum' failed to match any signature, errors: Error during planning: Function 'sum' requires \
                 Decimal, but received String (DataType: Utf8).,Error during planning: ...",
                "`sum` takes no argument of type Utf8: cast it",
            ),
            (
                "Ambiguous reference to unqualified field k",
                "column `k` is in several tables: write its table before it, such as `source.k`",
            ),
        ] {
            assert_eq!(plainly(said).as_deref(), Some(ours), "{said}");
        }
        assert_eq!(plainly("something else"), None);
    }
}
