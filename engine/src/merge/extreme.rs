//! The smallest or the largest value.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::Kind;
use super::wire::{StateReader, put_bytes};
use crate::base::key::{Fields, NULL_CODE};
use crate::base::{Datum, Direction};

/// One value, or none yet. It is kept as an ascending field of a key, so that comparing values is
/// comparing bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extreme {
    /// Empty, or exactly one field that is not NULL. Numbers and moments lie in place.
    field: SmallVec<[u8; 16]>,
}

impl Extreme {
    /// Replaces the value by `field` if there is none yet or if `field` compares to it as `wanted`.
    pub(super) fn offer(&mut self, field: &[u8], wanted: Ordering) {
        debug_assert!(
            is_value(field),
            "offered {field:02x?}, which is not a value"
        );
        if self.field.is_empty() || field.cmp(&self.field[..]) == wanted {
            self.field.clear();
            self.field.extend_from_slice(field);
        }
    }

    /// Takes over the value of another one if that compares to this one's as `wanted`.
    pub(super) fn absorb(&mut self, other: &Extreme, wanted: Ordering) {
        if !other.field.is_empty() {
            self.offer(&other.field, wanted);
        }
    }

    /// The value, NULL where there is none.
    pub(super) fn to_datum(&self) -> Datum {
        match Fields::new(&self.field).next() {
            Some(Ok((datum, _))) => datum,
            Some(Err(_)) | None => Datum::Null,
        }
    }

    /// The kind of the value, `None` while there is none.
    pub(super) fn kind(&self) -> Option<Kind> {
        Kind::of(&self.to_datum())
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        put_bytes(&self.field, out);
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Extreme> {
        let field = reader.bytes()?;
        (field.is_empty() || is_value(field)).then(|| Extreme {
            field: SmallVec::from_slice(field),
        })
    }
}

/// Whether the bytes are one ascending field that is not NULL.
pub(super) fn is_value(field: &[u8]) -> bool {
    let mut fields = Fields::new(field);
    let ascending = matches!(fields.next(), Some(Ok((_, Direction::Ascending))));
    ascending && fields.offset() == field.len() && field != [NULL_CODE]
}
