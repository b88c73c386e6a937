//! Names that were not found, and what was probably meant.

use strsim::levenshtein as edits;

/// Names that a message lists.
const LISTED_MAX: usize = 20;

/// The words that follow "no column `x`: " in every message that names a missing column.
pub(crate) fn candidates(missing: &str, present: &[String]) -> String {
    if present.is_empty() {
        return "there are no columns".to_owned();
    }
    let all = listed(missing, present);
    match closest(missing, present) {
        Some(name) => format!("did you mean `{name}`? expected one of {all}"),
        None => format!("expected one of {all}"),
    }
}

/// The names, in their order; of many the nearest, the best first.
fn listed(missing: &str, present: &[String]) -> String {
    let mut shown: Vec<&String> = present.iter().collect();
    let mut rest = String::new();
    if present.len() > LISTED_MAX {
        let wanted = missing.to_lowercase();
        shown.sort_by_cached_key(|name| edits(&wanted, &name.to_lowercase()));
        shown.truncate(LISTED_MAX);
        rest = format!(" and {} others", present.len() - LISTED_MAX);
    }
    let shown: Vec<String> = shown.iter().map(|name| format!("`{name}`")).collect();
    format!("{}{rest}", shown.join(", "))
}

/// The present name that is a slip of the pen away: at most a third of its letters differ.
fn closest<'a>(missing: &str, present: &'a [String]) -> Option<&'a str> {
    let wanted = missing.to_lowercase();
    present
        .iter()
        .map(|name| (edits(&wanted, &name.to_lowercase()), name.as_str()))
        .filter(|(distance, name)| {
            let len = name.chars().count();
            *distance < len && *distance <= len.max(3) / 3
        })
        .min()
        .map(|(_, name)| name)
}

/// Whether a name is a slip of the pen away from another one.
pub(crate) fn is_near(missing: &str, present: &str) -> bool {
    closest(missing, &[present.to_owned()]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let columns = owned(&["carrier", "dep_delay", "month"]);
        assert_eq!(closest("dep_dely", &columns), Some("dep_delay"));
        assert_eq!(closest("Carrier", &columns), Some("carrier"));
        assert_eq!(closest("tailnum", &columns), None);
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
    }

    #[test]
    fn the_message_lists_what_is_there() {
        let columns = owned(&["a", "b"]);
        assert_eq!(candidates("zebra", &columns), "expected one of `a`, `b`");
        assert_eq!(candidates("zebra", &[]), "there are no columns");
        let many: Vec<String> = (0..4096).map(|number| format!("column_{number}")).collect();
        let told = candidates("colum_4095", &many);
        let start = "did you mean `column_4095`? expected one of `column_4095`, ";
        assert!(
            told.starts_with(start) && told.ends_with(" and 4076 others"),
            "{told}"
        );
        assert_eq!(told.matches('`').count(), 2 * (LISTED_MAX + 1));
    }
}
