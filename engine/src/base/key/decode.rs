//! Takes keys apart. Any bytes may come: what encoding would not have written is an error.

use super::encode::{f64_of_ordered, i32_of_ordered, i64_of_ordered, ordered_f64};
use super::{Datum, Direction, codes, decimal};
use crate::base::error::{Error, Result};

/// The fields of a key, one by one; ends after the first error.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    reader: FieldReader<'a>,
}

impl<'a> Fields<'a> {
    /// The fields that `bytes` encode.
    pub fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields {
            reader: FieldReader {
                bytes,
                at: 0,
                mask: 0,
            },
        }
    }

    /// How many bytes have been taken apart so far: a boundary between two fields.
    pub fn offset(&self) -> usize {
        self.reader.at
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<(Datum, Direction)>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.reader.at;
        let first = *self.reader.bytes.get(start)?;
        let direction = if first & codes::DESCENDING_BIT == 0 {
            self.reader.mask = 0x00;
            Direction::Ascending
        } else {
            self.reader.mask = 0xff;
            Direction::Descending
        };
        let field = self.reader.field();
        if field.is_err() {
            self.reader.at = self.reader.bytes.len();
        }
        Some(
            field
                .map(|datum| (datum, direction))
                .map_err(|what| Error::corrupt("key", format!("the field at byte {start} {what}"))),
        )
    }
}

/// What is wrong with a field, to be put after "the field at byte n".
type FieldResult<T> = Result<T, &'static str>;

const CUT_OFF: &str = "is cut off";
const NOT_CANONICAL: &str = "is not in the one form that encoding gives";

/// Reads one field after the other, flipping the bits of descending ones.
#[derive(Clone, Debug)]
struct FieldReader<'a> {
    bytes: &'a [u8],
    at: usize,
    mask: u8,
}

impl FieldReader<'_> {
    fn field(&mut self) -> FieldResult<Datum> {
        const INT_MIN: u8 = codes::INT_ZERO - codes::INT_LEN_MAX;
        const INT_MAX: u8 = codes::INT_ZERO + codes::INT_LEN_MAX;
        match self.byte()? {
            codes::NULL => Ok(Datum::Null),
            codes::FALSE => Ok(Datum::Bool(false)),
            codes::TRUE => Ok(Datum::Bool(true)),
            code @ INT_MIN..=INT_MAX => self.int(code),
            codes::FLOAT => self.float(),
            codes::DECIMAL_ZERO => Ok(Datum::Decimal {
                unscaled: 0,
                scale: 0,
            }),
            codes::DECIMAL_NEGATIVE => self.decimal(true),
            codes::DECIMAL_POSITIVE => self.decimal(false),
            codes::STR => {
                let text = String::from_utf8(self.unescape()?);
                text.map(Datum::Str).map_err(|_| "is not UTF-8")
            }
            codes::BYTES => Ok(Datum::Bytes(self.unescape()?)),
            codes::UUID => Ok(Datum::Uuid(u128::from_be_bytes(self.array()?))),
            codes::DATE => Ok(Datum::Date(i32_of_ordered(u32::from_be_bytes(
                self.array()?,
            )))),
            codes::TIMESTAMP => Ok(Datum::Timestamp(i64_of_ordered(u64::from_be_bytes(
                self.array()?,
            )))),
            _ => Err("has a code that this version does not know"),
        }
    }

    fn byte(&mut self) -> FieldResult<u8> {
        let byte = self.bytes.get(self.at).ok_or(CUT_OFF)?;
        self.at += 1;
        Ok(byte ^ self.mask)
    }

    fn array<const N: usize>(&mut self) -> FieldResult<[u8; N]> {
        let rest = self
            .bytes
            .get(self.at..)
            .and_then(|rest| rest.first_chunk::<N>());
        let array = *rest.ok_or(CUT_OFF)?;
        self.at += N;
        Ok(array.map(|byte| byte ^ self.mask))
    }

    fn int(&mut self, code: u8) -> FieldResult<Datum> {
        let len = code.abs_diff(codes::INT_ZERO);
        let negative = code < codes::INT_ZERO;
        let flip = if negative { 0xff } else { 0x00 };
        let mut magnitude = 0u64;
        for index in 0..len {
            let byte = self.byte()? ^ flip;
            if index == 0 && byte == 0 {
                return Err(NOT_CANONICAL);
            }
            magnitude = (magnitude << 8) | u64::from(byte);
        }
        let value = if negative {
            -i128::from(magnitude)
        } else {
            i128::from(magnitude)
        };
        if value < i128::from(i64::MIN) {
            return Err("is an integer beyond 64 bits");
        }
        Ok(Datum::Int(value))
    }

    fn float(&mut self) -> FieldResult<Datum> {
        let bits = u64::from_be_bytes(self.array()?);
        let value = f64_of_ordered(bits);
        if ordered_f64(value) != bits {
            return Err(NOT_CANONICAL);
        }
        Ok(Datum::Float(value))
    }

    fn decimal(&mut self, negative: bool) -> FieldResult<Datum> {
        let flip = if negative { 0xff } else { 0x00 };
        let exponent = self.array::<2>()?.map(|byte| byte ^ flip);
        let mut magnitude = decimal::Magnitude::new(exponent);
        loop {
            let pair = self.byte()? ^ flip;
            if !magnitude.push(pair).ok_or(NOT_CANONICAL)? {
                break;
            }
        }
        let (unscaled, scale) = magnitude
            .finish(negative)
            .ok_or("is a decimal beyond 128 bits or its scale")?;
        Ok(Datum::Decimal { unscaled, scale })
    }

    fn unescape(&mut self) -> FieldResult<Vec<u8>> {
        let (end, escape) = (codes::END ^ self.mask, codes::ESCAPE ^ self.mask);
        let rest = self.bytes.get(self.at..).ok_or(CUT_OFF)?;
        let len = rest
            .iter()
            .position(|byte| *byte == end)
            .ok_or("has no end")?;
        let body = &rest[..len];
        self.at += len + 1;
        if !body.contains(&escape) {
            return Ok(body.iter().map(|byte| byte ^ self.mask).collect());
        }
        let mut plain = Vec::with_capacity(len);
        let mut bytes = body.iter().map(|byte| byte ^ self.mask);
        while let Some(byte) = bytes.next() {
            plain.push(
                match (
                    byte,
                    (byte == codes::ESCAPE).then(|| bytes.next()).flatten(),
                ) {
                    (codes::ESCAPE, Some(codes::ESCAPED_00)) => 0x00,
                    (codes::ESCAPE, Some(codes::ESCAPED_01)) => 0x01,
                    (codes::ESCAPE, _) => return Err("has an escape that does not exist"),
                    (other, _) => other,
                },
            );
        }
        Ok(plain)
    }
}
