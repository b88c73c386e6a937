//! The union of the bits of integers.

use super::Kind;
use super::wire::{StateReader, put_signed};
use crate::base::Datum;

/// The bits that any of the integers has, or none yet. Signed and unsigned integers of 64 bits are kept with their sign
/// in 128 bits, so that they mix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits(Option<i128>);

const TAG_NONE: u8 = 0;
const TAG_SOME: u8 = 1;

impl Bits {
    pub(super) fn add(&mut self, value: i128) {
        debug_assert!(is_of_64_bits(value), "{value} takes more than 64 bits");
        self.0 = Some(self.0.unwrap_or(0) | value);
    }

    pub(super) fn absorb(&mut self, other: Bits) {
        if let Some(bits) = other.0 {
            self.add(bits);
        }
    }

    /// The kind of the integers, `None` while there are none.
    pub(super) fn kind(self) -> Option<Kind> {
        self.0.map(|_| Kind::Int)
    }

    pub(super) fn to_datum(self) -> Datum {
        self.0.map_or(Datum::Null, Datum::Int)
    }

    pub(super) fn encode_into(self, out: &mut Vec<u8>) {
        match self.0 {
            None => out.push(TAG_NONE),
            Some(bits) => {
                out.push(TAG_SOME);
                put_signed(bits, out);
            }
        }
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Bits> {
        match reader.byte()? {
            TAG_NONE => Some(Bits(None)),
            TAG_SOME => {
                let bits = reader.signed().filter(|bits| is_of_64_bits(*bits))?;
                Some(Bits(Some(bits)))
            }
            _ => None,
        }
    }
}

/// Whether it is an `i64` or a `u64`. The union of two such numbers is one, too: where one is negative, so is the union.
fn is_of_64_bits(value: i128) -> bool {
    i64::try_from(value).is_ok() || u64::try_from(value).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_and_unsigned_integers_unite() {
        for (a, b, both) in [
            (1, 2, 3),
            (0, 0, 0),
            (-1, 5, -1),
            (i128::from(i64::MIN), 1 << 63, i128::from(i64::MIN)),
            (1 << 63, 1, (1 << 63) + 1),
            (-8, 1, -7),
        ] {
            let mut bits = Bits::default();
            bits.add(a);
            bits.add(b);
            assert_eq!(bits.to_datum(), Datum::Int(both), "{a} | {b}");
        }
        assert_eq!(Bits::default().to_datum(), Datum::Null);
        let mut beyond = vec![TAG_SOME];
        put_signed(1 << 64, &mut beyond);
        assert_eq!(Bits::decode(&mut StateReader::new(&beyond)), None);
    }
}
