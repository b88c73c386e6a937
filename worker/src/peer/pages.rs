//! Tokens of pages: where the next page begins, and of which list.
//!
//! A token is the last name of its page behind a checksum of that name and of the filter, so that one that was made up,
//! or belongs to another filter, is told from one that an answer gave. It is no secret and needs none: it names what
//! its holder may list anyway.

use eciton_engine::checksum::checksum64;
use eciton_proto::limits::{JOB_NAME_LEN_MAX, PAGE_TOKEN_LEN_MAX};
use tonic::Status;

use super::requests::at_most;
use crate::statuses::invalid;

/// Digits of the checksum, and the point behind them.
const HEAD_LEN: usize = 17;

const _: () = assert!(HEAD_LEN + JOB_NAME_LEN_MAX <= PAGE_TOKEN_LEN_MAX);

/// The token of the page after `last`.
pub(super) fn token(filter: &str, last: &str) -> String {
    format!("{:016x}.{last}", sum(filter, last))
}

/// The name after which the page begins; empty for the first one.
///
/// # Errors
/// `INVALID_ARGUMENT` for a token that no answer to this filter gave.
pub(super) fn after<'a>(filter: &str, token: &'a str) -> Result<&'a str, Status> {
    if token.is_empty() {
        return Ok("");
    }
    at_most("page_token", token, PAGE_TOKEN_LEN_MAX)?;
    let read = token.split_once('.').and_then(|(digits, last)| {
        let said = u64::from_str_radix(digits, 16).ok()?;
        (said == sum(filter, last)).then_some(last)
    });
    read.ok_or_else(|| {
        invalid("page_token: expected `next_page_token` of an answer to the same filter")
    })
}

fn sum(filter: &str, last: &str) -> u64 {
    checksum64(format!("{}:{filter}{last}", filter.len()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_belongs_to_its_filter() {
        let given = token("jobs a", "alpha.1");
        assert_eq!(after("jobs a", &given).unwrap(), "alpha.1");
        assert_eq!(after("jobs a", "").unwrap(), "");
        for (filter, token) in [
            ("jobs b", given.as_str()),
            ("jobs a", &given.replace("alpha", "alphb")),
            ("jobs a", "nonsense"),
            ("jobs a", "."),
            ("jobs a", &"x".repeat(PAGE_TOKEN_LEN_MAX + 1)),
        ] {
            assert!(after(filter, token).is_err(), "{filter} {token}");
        }
    }
}
