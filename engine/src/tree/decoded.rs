//! What taking bytes apart gives, and the numbers of a page's body.

/// What was found instead of what was written; the caller adds the object and the place.
pub(super) type Decoded<T> = Result<T, String>;

/// Appends a number that the size of a page bounds to 16 bits.
pub(super) fn put_u16(out: &mut Vec<u8>, number: usize) {
    let short = u16::try_from(number);
    assert!(short.is_ok(), "{number} does not fit a page");
    out.extend_from_slice(&short.unwrap_or(u16::MAX).to_le_bytes());
}

/// A 16-bit number of a body.
pub(super) fn u16_at(body: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(
        *body.get(at..)?.first_chunk()?,
    )))
}
