//! The keys of `[run]` about failed attempts and failed shards, and `[run.needs]`.

use eciton_proto::v1::{Resource, RetryOn, RunSpec};

use super::error::SpecError;
use super::limits::{FINAL_EXIT_CODES_MAX, RESOURCE_AMOUNT_MAX, RESOURCES_MAX, SHARDS_MAX};
use super::names::{list, suggest};
use super::section::Section;

/// Keys of `[run]` that are read here.
pub(super) const KEYS: [&str; 4] = ["retry_on", "final_exit_codes", "max_failed", "needs"];

/// Millionths of a whole.
const WHOLE_PPM: u32 = 1_000_000;

/// What attempts can fail of, by the names of `run.retry_on`.
const CLASSES: [(&str, RetryOn); 4] = [
    ("exit", RetryOn::Exit),
    ("signal", RetryOn::Signal),
    ("timeout", RetryOn::Timeout),
    ("io", RetryOn::Io),
];

/// Reads the keys.
///
/// # Errors
/// [`SpecError`] at the key to blame.
pub(super) fn read(section: &Section<'_>, run: &mut RunSpec) -> Result<(), SpecError> {
    read_retry_on(section, run)?;
    read_final_codes(section, run)?;
    read_max_failed(section, run)?;
    run.needs = read_needs(section)?;
    Ok(())
}

fn read_retry_on(section: &Section<'_>, run: &mut RunSpec) -> Result<(), SpecError> {
    let names = CLASSES.map(|(name, _)| name);
    let expected = format!("an array of {}", list(names));
    let Some(entries) = section.strings("retry_on", &expected)? else {
        return Ok(());
    };
    let mut classes = Vec::new();
    for entry in &entries {
        let found = CLASSES.iter().find(|(name, _)| *name == entry.value);
        let Some((_, class)) = found else {
            let (found, hint) = (entry.value.escape_debug(), suggest(&entry.value, names));
            return Err(entry.error(format!("expected {expected}, found `{found}`{hint}")));
        };
        classes.push(i32::from(*class));
    }
    classes.sort_unstable();
    classes.dedup();
    // All of them is the default, which is encoded as nothing.
    run.retry_on = match classes.len() {
        0 => vec![RetryOn::Never.into()],
        len if len == CLASSES.len() => Vec::new(),
        _ => classes,
    };
    Ok(())
}

fn read_final_codes(section: &Section<'_>, run: &mut RunSpec) -> Result<(), SpecError> {
    let expected = "an array of exit codes from 1 to 255 such as [64]";
    let Some(entries) = section.integers("final_exit_codes", expected)? else {
        return Ok(());
    };
    if entries.len() > FINAL_EXIT_CODES_MAX {
        let message = format!(
            "expected at most {FINAL_EXIT_CODES_MAX} codes, found {}",
            entries.len()
        );
        return Err(section.error("final_exit_codes", message));
    }
    let mut codes = Vec::with_capacity(entries.len());
    for entry in entries {
        let code = i32::try_from(entry.value)
            .ok()
            .filter(|code| (1..=255).contains(code));
        codes.push(
            code.ok_or_else(|| entry.error(format!("expected {expected}, found {}", entry.value)))?,
        );
    }
    codes.sort_unstable();
    codes.dedup();
    run.final_exit_codes = codes;
    Ok(())
}

fn read_max_failed(section: &Section<'_>, run: &mut RunSpec) -> Result<(), SpecError> {
    let expected = "a number of shards, or a share of them such as \"1%\"";
    let Some(entry) = section.string_or_integer("max_failed", expected)? else {
        return Ok(());
    };
    let wrong = || entry.error(format!("expected {expected}, found `{}`", entry.value));
    match entry.value.strip_suffix('%') {
        Some(percent) => run.max_failed_ppm = ppm(percent.trim()).ok_or_else(wrong)?,
        None => {
            let shards = entry
                .value
                .parse()
                .ok()
                .filter(|shards| *shards <= SHARDS_MAX);
            run.max_failed = shards.ok_or_else(wrong)?;
        }
    }
    Ok(())
}

/// Millionths of a whole that a percentage is, with at most four digits after the point.
fn ppm(percent: &str) -> Option<u32> {
    let (whole, part) = percent.split_once('.').unwrap_or((percent, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 3
        || part.len() > 4
        || !is_number(whole)
        || !is_number(part)
    {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let part: u32 = format!("{part:0<4}").parse().ok()?;
    Some(whole * 10_000 + part).filter(|ppm| *ppm <= WHOLE_PPM)
}

fn read_needs(section: &Section<'_>) -> Result<Vec<Resource>, SpecError> {
    let Some(table) = section.table("needs", &[])? else {
        return Ok(Vec::new());
    };
    let names = table.names();
    if names.len() > RESOURCES_MAX {
        let message = format!(
            "expected at most {RESOURCES_MAX} resources, found {}",
            names.len()
        );
        return Err(section.error("needs", message));
    }
    let mut needs = Vec::with_capacity(names.len());
    for name in names {
        check_resource(&name).map_err(|message| table.error(&name, message))?;
        let expected = format!("an integer from 1 to {RESOURCE_AMOUNT_MAX}");
        let Some(entry) = table.integer(&name, &expected)? else {
            continue;
        };
        let legal = |amount: &i64| {
            u64::try_from(*amount)
                .ok()
                .filter(|amount| (1..=RESOURCE_AMOUNT_MAX).contains(amount))
        };
        let amount = entry.parsed(legal, &expected)?.value;
        needs.push(Resource { name, amount });
    }
    needs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(needs)
}

/// Checks the name of a resource.
fn check_resource(name: &str) -> Result<(), String> {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match !name.is_empty() && name.len() <= 64 && name.chars().all(is_legal) {
        true => Ok(()),
        false => Err(format!(
            "expected the name of a resource, of ASCII letters, digits, `_`, `-` and `.`, found `{}`",
            name.escape_debug()
        )),
    }
}

/// Resources as a flag has them: `gpu=1,big-memory=2`.
///
/// # Errors
/// What was expected.
pub fn parse_resources(text: &str) -> Result<Vec<Resource>, String> {
    let mut resources: Vec<Resource> = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (name, amount) = part.split_once('=').unwrap_or((part, "1"));
        check_resource(name)?;
        let amount = amount
            .parse()
            .ok()
            .filter(|amount| (1..=RESOURCE_AMOUNT_MAX).contains(amount));
        let amount = amount.ok_or_else(|| {
            format!("expected NAME=AMOUNT with an amount from 1 to {RESOURCE_AMOUNT_MAX}, found `{part}`")
        })?;
        if name == SLOTS {
            return Err(format!("`{SLOTS}` is what --slots says, not a resource"));
        }
        if resources.iter().any(|other| other.name == name) {
            return Err(format!("resource `{name}` is named twice"));
        }
        resources.push(Resource {
            name: name.to_owned(),
            amount,
        });
    }
    Ok(resources)
}

/// The resource that every worker has: as many as it has slots.
pub const SLOTS: &str = "slots";

/// How many of so many shards may fail.
#[must_use]
pub fn failures_allowed(run: &RunSpec, shards: u64) -> u64 {
    let share = u128::from(shards) * u128::from(run.max_failed_ppm) / u128::from(WHOLE_PPM);
    run.max_failed.max(u64::try_from(share).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        for (text, expected) in [
            ("1", Some(10_000)),
            ("0.5", Some(5_000)),
            ("100", Some(WHOLE_PPM)),
            ("0.0001", Some(1)),
            ("100.0001", None),
            ("1000", None),
            ("-1", None),
            ("1.", Some(10_000)),
            ("", None),
            ("0.00001", None),
        ] {
            assert_eq!(ppm(text), expected, "{text}");
        }
        let allowed = |max_failed, max_failed_ppm, shards| {
            let run = RunSpec {
                max_failed,
                max_failed_ppm,
                ..RunSpec::default()
            };
            failures_allowed(&run, shards)
        };
        assert_eq!(allowed(0, 0, 100), 0);
        assert_eq!(allowed(3, 0, 100), 3);
        // Rounded down: a share that is not a whole shard allows none.
        assert_eq!(allowed(0, 10_000, 99), 0);
        assert_eq!(allowed(0, 10_000, 250), 2);
        assert_eq!(allowed(0, WHOLE_PPM, u64::MAX), u64::MAX);
    }

    #[test]
    fn resources_are_named_with_amounts() {
        let parsed = parse_resources("gpu=2, fast").unwrap();
        let told: Vec<_> = parsed
            .iter()
            .map(|found| (found.name.as_str(), found.amount))
            .collect();
        assert_eq!(told, [("gpu", 2), ("fast", 1)]);
        for bad in ["gpu=0", "gpu=x", "=1", "a b", "gpu=1,gpu=2", "slots=3"] {
            assert!(parse_resources(bad).is_err(), "{bad}");
        }
    }
}
