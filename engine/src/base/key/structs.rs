//! Keys from ordinary Rust types, and back.
//!
//! A struct or tuple is its fields, one after the other, those of structs within it included, so that the
//! order of keys is the order that `derive(Ord)` gives the type: `Option` is NULL or the value, NULL
//! first; an enum of bare variants is the number of the variant; [`Desc`](super::Desc) turns an order round. A map, a
//! list of any length and an enum with data have no such order and are refused.

use std::any::type_name;

use serde::{Deserialize, Serialize};

use super::deserialize::KeyDeserializer;
use super::serialize::KeySerializer;
use super::{Direction, Key};
use crate::base::error::{Error, Result};

impl Key {
    /// The key of a value: a struct, a tuple, a scalar.
    ///
    /// ```
    /// use eciton_engine::{Desc, Key};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
    /// struct Flight {
    ///     carrier: String,
    ///     month: Desc<u8>,
    ///     number: Option<u32>,
    /// }
    ///
    /// let carrier = "AA".to_owned();
    /// let flight = Flight { carrier, month: Desc(12), number: None };
    /// let key = Key::from_struct(&flight)?;
    /// assert_eq!(key.to_string(), r#"["AA",{"$desc":12},null]"#);
    /// assert_eq!(key.to_struct::<Flight>()?, flight);
    /// # Ok::<(), eciton_engine::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::KeyType`] for a type that no key holds, [`Error::Limit`] for a key that is too long.
    pub fn from_struct<T: Serialize + ?Sized>(value: &T) -> Result<Key> {
        Key::from_struct_ordered(value, &[])
    }

    /// As [`Key::from_struct`], each field in the direction that `order` has for it, ascending beyond its
    /// end. [`Desc`](super::Desc) may stand where `order` says descending, and changes nothing there.
    ///
    /// # Errors
    /// As [`Key::from_struct`]; [`Error::KeyType`] also for `Desc` where `order` says ascending.
    pub fn from_struct_ordered<T: Serialize + ?Sized>(
        value: &T,
        order: &[Direction],
    ) -> Result<Key> {
        let mut serializer = KeySerializer::new(order);
        match value.serialize(&mut serializer) {
            Ok(()) => serializer.into_builder().to_key(),
            Err(error) => Err(misfit::<T>(&serializer.path(), &error.to_string())),
        }
    }

    /// The value of which this is the key: the reverse of [`Key::from_struct`].
    ///
    /// # Errors
    /// [`Error::KeyType`] where the fields are not those of the type, [`Error::Corrupt`] where the bytes
    /// are not a tuple.
    pub fn to_struct<'de, T: Deserialize<'de>>(&self) -> Result<T> {
        self.to_struct_ordered(&[])
    }

    /// The reverse of [`Key::from_struct_ordered`].
    ///
    /// # Errors
    /// As [`Key::to_struct`].
    pub fn to_struct_ordered<'de, T: Deserialize<'de>>(&self, order: &[Direction]) -> Result<T> {
        let fields = self.fields().collect::<Result<Vec<_>>>()?;
        let mut deserializer = KeyDeserializer::new(fields, order);
        let value = T::deserialize(&mut deserializer).and_then(|value| {
            deserializer.end()?;
            Ok(value)
        });
        value.map_err(|error| misfit::<T>(&deserializer.path(), &error.to_string()))
    }
}

fn misfit<T: ?Sized>(path: &str, why: &str) -> Error {
    let why = if path.is_empty() {
        why.to_owned()
    } else {
        format!("field {path}: {why}")
    };
    Error::KeyType {
        type_name: type_name::<T>(),
        why,
    }
}
