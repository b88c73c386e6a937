//! UUIDs as text.

/// Lower case, with hyphens.
pub(super) fn format(uuid: u128) -> String {
    let hex = format!("{uuid:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// With hyphens or without, either case; `None` where it is something else.
pub(super) fn parse(text: &str) -> Option<u128> {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let digits = if text.len() == 36 {
        if HYPHENS.iter().any(|at| text.as_bytes()[*at] != b'-') {
            return None;
        }
        text.replace('-', "")
    } else {
        text.to_owned()
    };
    let well_formed = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if well_formed {
        u128::from_str_radix(&digits, 16).ok()
    } else {
        None
    }
}
