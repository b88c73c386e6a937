//! The edges of a histogram, as written: `[0, 15, 60]`, or `0, 100, 10` for ten bins from 0 to 100.

use eciton_engine::merge::Edges;

/// What a histogram is told besides its column.
const FORMS: &str = "`histogram(column, [0, 15, 60])` or `histogram(column, 0, 100, 10)`";

/// Reads what follows the column, as the further arguments of a call: one list, or two ends and a number of bins.
///
/// # Errors
/// A sentence saying what was expected.
pub(super) fn arguments(text: &str) -> Result<Vec<String>, String> {
    let args: Vec<String> = match text.strip_prefix('[') {
        Some(rest) => {
            let inner = rest.strip_suffix(']').ok_or_else(|| expected(text))?;
            let edges: Vec<&str> = inner.split(',').map(str::trim).collect();
            vec![format!("[{}]", edges.join(", "))]
        }
        None => text.split(',').map(|arg| arg.trim().to_owned()).collect(),
    };
    edges_of(&args)?;
    Ok(args)
}

/// The edges that the further arguments of a call say.
///
/// # Errors
/// A sentence saying what was expected.
pub(super) fn edges_of(args: &[String]) -> Result<Edges, String> {
    let edges = match args {
        [list] => {
            let inner = list
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            let inner = inner.ok_or_else(|| expected(list))?;
            let edges = inner.split(',').map(|edge| number(edge.trim()));
            Edges::new(&edges.collect::<Result<Vec<_>, _>>()?)
        }
        [low, high, bins] => {
            let (low, high) = (number(low)?, number(high)?);
            let bins = bins.parse().map_err(|_| {
                format!("expected a number of bins from 1 to 1024, found `{bins}`: {FORMS}")
            })?;
            Edges::spaced(low, high, bins)
        }
        _ => return Err(expected(&args.join(", "))),
    };
    edges.map_err(|error| error.to_string())
}

fn expected(found: &str) -> String {
    format!("expected a column and the edges of bins, {FORMS}, found `{found}`")
}

/// A finite number; nothing else that a float is called.
fn number(text: &str) -> Result<f64, String> {
    let is_plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    let parsed = text.parse().ok().filter(|_| is_plain);
    parsed
        .filter(|number: &f64| number.is_finite())
        .ok_or_else(|| format!("expected a number as an edge of a bin, found `{text}`: {FORMS}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_edges() {
        let edges = |text: &str| edges_of(&arguments(text).unwrap()).unwrap();
        assert_eq!(edges("[0, 15,60 ]").as_slice(), [0.0, 15.0, 60.0]);
        assert_eq!(edges("[-1.5e3]").as_slice(), [-1500.0]);
        assert_eq!(edges("0,100, 4").as_slice(), [0.0, 25.0, 50.0, 75.0, 100.0]);
        assert_eq!(arguments("[0,  15,60 ]").unwrap(), ["[0, 15, 60]"]);
        assert_eq!(arguments(" 0,100 ,4").unwrap(), ["0", "100", "4"]);
    }

    #[test]
    fn what_says_no_edges_is_told() {
        for (text, told) in [
            ("", "the edges of bins"),
            ("[1, 2", "the edges of bins"),
            ("1, 2", "the edges of bins"),
            ("[]", "a number as an edge"),
            ("[1, x]", "a number as an edge of a bin, found `x`"),
            ("[1, inf]", "a number as an edge of a bin, found `inf`"),
            ("[1, 1e999]", "a number as an edge of a bin, found `1e999`"),
            ("[2, 1]", "do not ascend"),
            ("0, 1, 0", "no bins"),
            ("0, 1, 1025", "1025"),
            ("0, 1, -1", "a number of bins from 1 to 1024"),
        ] {
            let error = arguments(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
