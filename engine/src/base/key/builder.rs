//! Encodes keys field by field into one reusable buffer.

use bytes::Bytes;

use super::encode::{ShortField, ordered_i32, ordered_i64};
use super::{Datum, Direction, Key, check_len, codes, decimal, encode_f64, encode_i64, encode_u64};
use crate::base::error::{Error, Result};

/// Encodes keys, one after the other, into one buffer: no allocation once the buffer has grown.
///
/// ```
/// use eciton_engine::KeyBuilder;
///
/// let mut builder = KeyBuilder::new();
/// for (carrier, month) in [("AA", 1), ("UA", 12)] {
///     builder.clear();
///     builder.push_str(carrier);
///     builder.descending(|newest_first| newest_first.push_i64(month));
///     let key = builder.to_key()?;
///     assert_eq!(key.as_bytes(), builder.as_bytes());
/// }
/// # Ok::<(), eciton_engine::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeyBuilder {
    bytes: Vec<u8>,
}

impl KeyBuilder {
    /// An empty tuple.
    pub fn new() -> KeyBuilder {
        KeyBuilder::default()
    }

    /// Begins the next key; the buffer stays.
    #[inline]
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The fields so far. Longer than [`KEY_LEN_MAX`](crate::base::limits::KEY_LEN_MAX) they are not
    /// a key: [`KeyBuilder::to_key`] checks, this does not.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fields so far, as a key of its own.
    ///
    /// # Errors
    /// [`Error::Limit`] beyond [`KEY_LEN_MAX`](crate::base::limits::KEY_LEN_MAX) bytes.
    pub fn to_key(&self) -> Result<Key> {
        check_len(self.bytes.len())?;
        Ok(Key(Bytes::copy_from_slice(&self.bytes)))
    }

    /// Makes the fields that `push` adds descending.
    pub fn descending<R>(&mut self, push: impl FnOnce(&mut KeyBuilder) -> R) -> R {
        let start = self.bytes.len();
        let result = push(self);
        for byte in self.bytes.iter_mut().skip(start) {
            *byte = !*byte;
        }
        result
    }

    /// Adds any value.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an integer that neither `i64` nor `u64` holds; nothing is added then.
    pub fn push(&mut self, datum: &Datum, direction: Direction) -> Result<()> {
        match direction {
            Direction::Ascending => self.push_ascending(datum),
            Direction::Descending => self.descending(|builder| builder.push_ascending(datum)),
        }
    }

    fn push_ascending(&mut self, datum: &Datum) -> Result<()> {
        match datum {
            Datum::Null => self.push_null(),
            Datum::Bool(value) => self.push_bool(*value),
            Datum::Int(value) => return self.push_int(*value),
            Datum::Float(value) => self.push_f64(*value),
            Datum::Decimal { unscaled, scale } => self.push_decimal(*unscaled, *scale),
            Datum::Str(value) => self.push_str(value),
            Datum::Bytes(value) => self.push_bytes(value),
            Datum::Uuid(value) => self.push_uuid(*value),
            Datum::Date(value) => self.push_date(*value),
            Datum::Timestamp(value) => self.push_timestamp(*value),
        }
        Ok(())
    }

    /// Adds NULL.
    #[inline]
    pub fn push_null(&mut self) {
        self.bytes.push(codes::NULL);
    }

    /// Adds a truth value.
    #[inline]
    pub fn push_bool(&mut self, value: bool) {
        self.bytes
            .push(if value { codes::TRUE } else { codes::FALSE });
    }

    /// Adds an integer: 1 byte for 0, 2 up to 255, 3 up to 65,535 and so on, either sign.
    #[inline]
    pub fn push_i64(&mut self, value: i64) {
        self.push_short(&encode_i64(value));
    }

    /// Adds an integer; the same bytes as [`KeyBuilder::push_i64`] for the same number.
    #[inline]
    pub fn push_u64(&mut self, value: u64) {
        self.push_short(&encode_u64(value));
    }

    /// Adds an integer of either range.
    ///
    /// # Errors
    /// [`Error::Invalid`] where neither `i64` nor `u64` holds it; nothing is added then.
    pub fn push_int(&mut self, value: i128) -> Result<()> {
        if let Ok(signed) = i64::try_from(value) {
            self.push_i64(signed);
        } else if let Ok(unsigned) = u64::try_from(value) {
            self.push_u64(unsigned);
        } else {
            return Err(Error::Invalid(format!(
                "integer {value} of a key is beyond 64 bits"
            )));
        }
        Ok(())
    }

    /// Adds a float: 9 bytes. `-0.0` becomes `0.0`, every NaN the same NaN.
    #[inline]
    pub fn push_f64(&mut self, value: f64) {
        self.push_short(&encode_f64(value));
    }

    /// Adds the decimal `unscaled · 10^-scale`, without its trailing zeros: 3 bytes and one for every
    /// two digits.
    pub fn push_decimal(&mut self, unscaled: i128, scale: i8) {
        decimal::encode(unscaled, scale, &mut self.bytes);
    }

    /// Adds text: 2 bytes more than its length in UTF-8, and one for every U+0000 and U+0001.
    #[inline]
    pub fn push_str(&mut self, value: &str) {
        self.push_escaped(codes::STR, value.as_bytes());
    }

    /// Adds bytes: 2 more than there are, and one for every `0x00` and `0x01`.
    #[inline]
    pub fn push_bytes(&mut self, value: &[u8]) {
        self.push_escaped(codes::BYTES, value);
    }

    /// Adds a UUID: 17 bytes.
    pub fn push_uuid(&mut self, value: u128) {
        self.bytes.push(codes::UUID);
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Adds a day, in days since the Unix epoch: 5 bytes.
    #[inline]
    pub fn push_date(&mut self, days: i32) {
        self.bytes.push(codes::DATE);
        self.bytes
            .extend_from_slice(&ordered_i32(days).to_be_bytes());
    }

    /// Adds a moment in microseconds since the Unix epoch: 9 bytes.
    #[inline]
    pub fn push_timestamp(&mut self, micros: i64) {
        self.push_short(&ShortField::fixed(codes::TIMESTAMP, ordered_i64(micros)));
    }

    fn push_short(&mut self, field: &ShortField) {
        self.bytes.extend_from_slice(field.as_bytes());
    }

    fn push_escaped(&mut self, code: u8, value: &[u8]) {
        self.bytes.reserve(value.len() + 2);
        self.bytes.push(code);
        // Nearly all text is free of the two bytes that need care; finding that out is one pass that does
        // not stop in between, so that the compiler looks at many bytes at once.
        let escapes = value.iter().filter(|byte| **byte <= codes::ESCAPE).count();
        if escapes == 0 {
            self.bytes.extend_from_slice(value);
        } else {
            for &byte in value {
                match byte {
                    0x00 => self
                        .bytes
                        .extend_from_slice(&[codes::ESCAPE, codes::ESCAPED_00]),
                    0x01 => self
                        .bytes
                        .extend_from_slice(&[codes::ESCAPE, codes::ESCAPED_01]),
                    other => self.bytes.push(other),
                }
            }
        }
        self.bytes.push(codes::END);
    }
}
