//! Fields of fixed length, made on the stack: they are what a job encodes by the million.

use super::codes;

/// The bits of a float, arranged so that their order as an integer is the order of floats. Every NaN
/// becomes one NaN above infinity, and `-0.0` becomes `0.0`.
pub(super) fn ordered_f64(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    let canonical = if value.is_nan() {
        f64::NAN.to_bits() & !SIGN
    } else {
        // Adding zero turns -0.0 into 0.0 and leaves everything else alone.
        (value + 0.0).to_bits()
    };
    if canonical & SIGN == 0 {
        canonical | SIGN
    } else {
        !canonical
    }
}

/// The float that [`ordered_f64`] arranged.
pub(super) fn f64_of_ordered(bits: u64) -> f64 {
    const SIGN: u64 = 1 << 63;
    f64::from_bits(if bits & SIGN == 0 {
        !bits
    } else {
        bits & !SIGN
    })
}

/// The bits of an `i64`, arranged so that their order without a sign is the order with one.
pub(super) fn ordered_i64(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

/// The bits of an `i32`, arranged as [`ordered_i64`] does.
pub(super) fn ordered_i32(value: i32) -> u32 {
    value.cast_unsigned() ^ (1 << 31)
}

/// The number that [`ordered_i32`] arranged.
pub(super) fn i32_of_ordered(bits: u32) -> i32 {
    (bits ^ (1 << 31)).cast_signed()
}

/// The number that [`ordered_i64`] arranged.
pub(super) fn i64_of_ordered(bits: u64) -> i64 {
    (bits ^ (1 << 63)).cast_signed()
}

/// A field of at most nine bytes.
#[derive(Clone, Copy)]
pub(crate) struct ShortField {
    bytes: [u8; 9],
    len: usize,
}

impl ShortField {
    /// The encoded field.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// A code and eight bytes.
    pub(super) fn fixed(code: u8, bits: u64) -> ShortField {
        let mut bytes = [code; 9];
        bytes[1..].copy_from_slice(&bits.to_be_bytes());
        ShortField { bytes, len: 9 }
    }
}

/// An ascending integer field.
pub(crate) fn encode_i64(value: i64) -> ShortField {
    encode_magnitude(value.unsigned_abs(), value < 0)
}

/// An ascending integer field.
pub(crate) fn encode_u64(value: u64) -> ShortField {
    encode_magnitude(value, false)
}

/// An ascending float field.
pub(crate) fn encode_f64(value: f64) -> ShortField {
    ShortField::fixed(codes::FLOAT, ordered_f64(value))
}

fn encode_magnitude(magnitude: u64, negative: bool) -> ShortField {
    let len = (71 - magnitude.leading_zeros()) / 8;
    // The bytes that count, moved to the front; a shift by all 64 bits has no meaning in Rust.
    let front = magnitude.checked_shl(64 - 8 * len).unwrap_or(0);
    let [len_byte, ..] = len.to_le_bytes();
    let mut field = if negative {
        // Flipped bits order larger magnitudes first; what is flipped behind `len` is cut off.
        ShortField::fixed(codes::INT_ZERO - len_byte, !front)
    } else {
        ShortField::fixed(codes::INT_ZERO + len_byte, front)
    };
    field.len = 1 + usize::from(len_byte);
    field
}
