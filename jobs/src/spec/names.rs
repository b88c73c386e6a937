//! Names a job file may give, and what a misspelt one was meant to be.

use super::limits::{COLUMN_NAME_LEN_MAX, JOB_NAME_LEN_MAX, STORE_NAME_LEN_MAX};

/// Checks the name of a job.
pub(super) fn check_job(name: &str) -> Result<(), String> {
    check("job", name, JOB_NAME_LEN_MAX)
}

/// Checks the name of a store that a job writes.
pub(super) fn check_store(name: &str) -> Result<(), String> {
    if name.starts_with('_') {
        return Err(format!(
            "names beginning with `_` are the system's own, found `{name}`"
        ));
    }
    check("store", name, STORE_NAME_LEN_MAX)
}

fn check(what: &str, name: &str, len_max: usize) -> Result<(), String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return Err(format!(
            "expected the name of a {what}, found an empty string"
        ));
    }
    if name.len() > len_max {
        return Err(format!(
            "a {what}'s name is at most {len_max} bytes long, found {}",
            name.len()
        ));
    }
    if name.starts_with(['.', '-']) || !name.chars().all(legal) {
        return Err(format!(
            "a {what}'s name has ASCII letters, digits, `.`, `_` and `-` only and does not begin with \
             `.` or `-`, found `{}`",
            name.escape_debug()
        ));
    }
    Ok(())
}

/// Checks the name of a column or of a part of a record.
pub(super) fn check_column(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("expected a name, found an empty string".to_owned());
    }
    if name.len() > COLUMN_NAME_LEN_MAX {
        return Err(format!(
            "a name is at most {COLUMN_NAME_LEN_MAX} bytes long, found {}",
            name.len()
        ));
    }
    Ok(())
}

/// `` `a`, `b`, `c` ``
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// `` (did you mean `x`?)`` with a space before it, or nothing if no name is near.
pub(super) fn suggest<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(|name| (distance(found, name), name))
        .filter(|(distance, name)| *distance <= 2 && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}

/// Edits (insert, delete, replace, swap neighbors) between two names, saturating for long ones.
fn distance(a: &str, b: &str) -> usize {
    match a.len().abs_diff(b.len()) > 2 || a.len() > 64 {
        true => usize::MAX,
        false => strsim::osa_distance(a, b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_at_their_edges() {
        assert_eq!(check_job("a"), Ok(()));
        assert_eq!(check_job(&"a".repeat(JOB_NAME_LEN_MAX)), Ok(()));
        assert!(check_job(&"a".repeat(JOB_NAME_LEN_MAX + 1)).is_err());
        assert_eq!(check_store(&"a".repeat(STORE_NAME_LEN_MAX)), Ok(()));
        assert!(check_store(&"a".repeat(STORE_NAME_LEN_MAX + 1)).is_err());
        assert_eq!(check_column(&"ä".repeat(COLUMN_NAME_LEN_MAX / 2)), Ok(()));
        assert!(check_column(&"a".repeat(COLUMN_NAME_LEN_MAX + 1)).is_err());
        for bad in ["", "-a", ".a", "a b", "a/b", "ä"] {
            assert!(check_job(bad).is_err(), "{bad:?} passed");
        }
        assert!(check_store("_jobs").is_err());
        assert_eq!(check_job("_jobs"), Ok(()));
    }

    #[test]
    fn near_names_are_suggested() {
        let names = ["shard_size", "shard_len", "paths", "to"];
        assert_eq!(
            suggest("shard_sise", names),
            " (did you mean `shard_size`?)"
        );
        assert_eq!(
            suggest("shrad_size", names),
            " (did you mean `shard_size`?)"
        );
        assert_eq!(suggest("path", names), " (did you mean `paths`?)");
        assert_eq!(suggest("x", names), "");
        assert_eq!(suggest("colour", names), "");
    }
}
