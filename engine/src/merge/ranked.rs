//! The value of the first or the last row in the order of the source.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::extreme::is_value;
use super::wire::{StateReader, put_bytes, put_varint};
use super::{Kind, Ordinal};
use crate::base::Datum;
use crate::base::key::Fields;

/// A value with the place of its row in the source, or none yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranked(Option<Placed>);

/// The order of the fields is the order that counts. Values decide between equal places, so that merging commutes
/// whatever comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    ordinal: Ordinal,
    /// An ascending field of a key that is not NULL.
    field: SmallVec<[u8; 16]>,
}

const TAG_NONE: u8 = 0;
const TAG_SOME: u8 = 1;

impl Ranked {
    /// Replaces the value if there is none yet, or if the new one's place compares to that of the old one as `wanted`.
    pub(super) fn offer(&mut self, ordinal: Ordinal, field: &[u8], wanted: Ordering) {
        debug_assert!(
            is_value(field),
            "offered {field:02x?}, which is not a value"
        );
        let is_wanted = self.0.as_ref().is_none_or(|kept| {
            let order = ordinal.cmp(&kept.ordinal);
            order.then_with(|| field.cmp(&kept.field)) == wanted
        });
        if is_wanted {
            self.0 = Some(Placed {
                ordinal,
                field: SmallVec::from_slice(field),
            });
        }
    }

    /// Takes over the value of another one if its place compares to this one's as `wanted`.
    pub(super) fn absorb(&mut self, other: &Ranked, wanted: Ordering) {
        if let Some(placed) = &other.0 {
            self.offer(placed.ordinal, &placed.field, wanted);
        }
    }

    /// The value, NULL where there is none.
    pub(super) fn to_datum(&self) -> Datum {
        let first = self
            .0
            .as_ref()
            .and_then(|placed| Fields::new(&placed.field).next());
        match first {
            Some(Ok((datum, _))) => datum,
            Some(Err(_)) | None => Datum::Null,
        }
    }

    /// The kind of the value, `None` while there is none.
    pub(super) fn kind(&self) -> Option<Kind> {
        Kind::of(&self.to_datum())
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        let Some(Placed { ordinal, field }) = &self.0 else {
            return out.push(TAG_NONE);
        };
        out.push(TAG_SOME);
        put_varint(ordinal.job.into(), out);
        put_varint(ordinal.shard.into(), out);
        put_varint(ordinal.row.into(), out);
        put_bytes(field, out);
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Ranked> {
        match reader.byte()? {
            TAG_NONE => Some(Ranked(None)),
            TAG_SOME => {
                let job = reader.varint_u64()?;
                let shard = reader.varint_u64()?;
                let row = reader.varint_u64()?;
                let field = reader.bytes().filter(|field| is_value(field))?;
                Some(Ranked(Some(Placed {
                    ordinal: Ordinal { job, shard, row },
                    field: SmallVec::from_slice(field),
                })))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::key::encode_i64;

    #[test]
    fn places_decide_and_not_values() {
        let at = |shard, row| Ordinal { job: 1, shard, row };
        let rows = [(at(1, 0), 5), (at(0, 7), 9), (at(2, 3), 1)];
        for (wanted, value) in [(Ordering::Less, 9), (Ordering::Greater, 1)] {
            let mut all = Ranked::default();
            for (ordinal, value) in rows {
                let mut one = Ranked::default();
                one.offer(ordinal, encode_i64(value).as_bytes(), wanted);
                all.absorb(&one, wanted);
            }
            assert_eq!(all.to_datum(), Datum::Int(value));
        }
        assert_eq!(Ranked::default().to_datum(), Datum::Null);
    }
}
