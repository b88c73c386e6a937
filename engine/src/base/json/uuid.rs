//! UUIDs as text.

use uuid::Uuid;

/// Bytes of the text without hyphens and with them. The library also reads braces and URNs, which are other texts.
const LENS: [usize; 2] = [32, 36];

/// Lower case, with hyphens.
pub(super) fn format(uuid: u128) -> String {
    Uuid::from_u128(uuid).hyphenated().to_string()
}

/// With hyphens or without, either case; `None` where it is something else.
pub(super) fn parse(text: &str) -> Option<u128> {
    let uuid = LENS.contains(&text.len()).then(|| Uuid::try_parse(text));
    Some(uuid?.ok()?.as_u128())
}
