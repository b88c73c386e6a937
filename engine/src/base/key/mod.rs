//! Typed tuples as keys: byte order is key order, and the bytes alone say what they mean.
//!
//! A key is the concatenation of its fields. A field begins with a code that names type and
//! direction, and no field is the beginning of another one. Three things follow:
//!
//! - comparing keys is comparing bytes;
//! - a tuple of fewer fields is a byte prefix of every tuple that continues it, and of nothing else:
//!   a scan with the prefix `("AA",)` finds `("AA", 1)` but not `("AAB",)`;
//! - any tool can take a key apart without a schema.
//!
//! Fields are ordered by type, then by value: `NULL < bool < int < float < decimal < string < bytes
//! < uuid < timestamp`. `1` and `1.0` are therefore different. Equal values have equal bytes:
//! `-0.0` is kept as `0.0`, every NaN as one NaN (above infinity), and a decimal without its trailing
//! zeros (`12.30` is `12.3`). The layout is in `docs/format-keys.md`.
//!
//! ```
//! use eciton_engine::{Datum, Key};
//!
//! let carrier = Key::from_datums(&["AA".into()])?;
//! let flight = Key::from_datums(&["AA".into(), 1.into()])?;
//! let other = Key::from_datums(&["AAB".into()])?;
//! assert!(carrier < flight && flight < other);
//! assert!(flight.starts_with(&carrier) && !other.starts_with(&carrier));
//! assert_eq!(flight.datums()?, [Datum::from("AA"), Datum::from(1)]);
//! # Ok::<(), eciton_engine::Error>(())
//! ```

mod builder;
mod codes;
mod datum;
pub(super) mod decimal;
mod decode;
mod deserialize;
mod encode;
mod serialize;
mod structs;
#[cfg(test)]
pub(crate) mod testing;
mod typed;

use std::borrow::Borrow;

use bytes::Bytes;

pub use builder::KeyBuilder;
pub(crate) use codes::NULL as NULL_CODE;
pub(crate) use codes::{ABOVE_ALL, BELOW_ALL};
pub use datum::{Datum, Direction};
pub use decode::Fields;
pub(crate) use encode::{encode_f64, encode_i64, encode_u64};
pub use typed::{Blob, Decimal, Desc, Timestamp, Uuid};

use super::error::{Error, Result};
use super::limits::KEY_LEN_MAX;

/// An encoded tuple. Cheap to clone; compares, and hashes, as its bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// The key of these fields, all ascending.
    ///
    /// # Errors
    /// [`Error::Limit`] beyond [`KEY_LEN_MAX`] bytes, [`Error::Invalid`] for an integer that neither
    /// `i64` nor `u64` holds.
    pub fn from_datums(datums: &[Datum]) -> Result<Key> {
        let mut builder = KeyBuilder::new();
        datums
            .iter()
            .try_for_each(|datum| builder.push(datum, Direction::Ascending))?;
        builder.to_key()
    }

    /// The key of these fields, each with its direction.
    ///
    /// # Errors
    /// As [`Key::from_datums`].
    pub fn encode(fields: &[(Datum, Direction)]) -> Result<Key> {
        let mut builder = KeyBuilder::new();
        fields
            .iter()
            .try_for_each(|(datum, direction)| builder.push(datum, *direction))?;
        builder.to_key()
    }

    /// The key that these bytes are, after checking that they are one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where they are not exactly what encoding gives, [`Error::Limit`] where they
    /// are longer than [`KEY_LEN_MAX`].
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Key> {
        let key = Key(bytes.into());
        check_len(key.0.len())?;
        key.fields().try_for_each(|field| field.map(drop))?;
        Ok(key)
    }

    /// The key of bytes that a [`Key`] or a [`KeyBuilder`] gave earlier and a checksum has guarded
    /// since: nothing is checked. With other bytes the key still compares as bytes, and taking it
    /// apart is an error.
    pub fn from_encoded(bytes: impl Into<Bytes>) -> Key {
        Key(bytes.into())
    }

    /// The encoded tuple.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The encoded tuple, without a copy.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Bytes of the encoded tuple.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is the tuple of no fields, the prefix of every key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields with their directions, one by one.
    pub fn fields(&self) -> Fields<'_> {
        Fields::new(&self.0)
    }

    /// The values of all fields.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the bytes are not a tuple.
    pub fn datums(&self) -> Result<Vec<Datum>> {
        self.fields()
            .map(|field| field.map(|(datum, _)| datum))
            .collect()
    }

    /// Whether this tuple begins with all the fields of `prefix`.
    pub fn starts_with(&self, prefix: &Key) -> bool {
        self.0.starts_with(&prefix.0)
    }

    /// The first byte string after this key and every key that begins with it: the excluded end of a
    /// prefix scan. It is a bound, not a key.
    pub fn prefix_end(&self) -> Bytes {
        let mut end = Vec::with_capacity(self.0.len() + 1);
        end.extend_from_slice(&self.0);
        end.push(codes::ABOVE_ALL);
        end.into()
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A map of keys answers to bare bytes: a key compares and hashes as its bytes.
impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

fn check_len(len: usize) -> Result<()> {
    if len > KEY_LEN_MAX {
        let got = u64::try_from(len).unwrap_or(u64::MAX);
        return Err(Error::Limit {
            what: "bytes of a key",
            got,
            max: KEY_LEN_MAX as u64,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
