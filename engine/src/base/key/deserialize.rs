//! The fields of a key onto serde's data model.

use std::iter::Peekable;
use std::vec;

use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::serialize::{Form, Misfit, direction};
use super::typed::{DECIMAL_LEN, DESC};
use super::{Datum, Direction};

/// Takes the fields of a key one after the other, as the type asks for them.
pub(super) struct KeyDeserializer<'a> {
    fields: Peekable<vec::IntoIter<(Datum, Direction)>>,
    order: &'a [Direction],
    /// Fields taken.
    taken: usize,
    descending: bool,
    form: Option<Form>,
    path: Vec<&'static str>,
}

impl<'a> KeyDeserializer<'a> {
    pub(super) fn new(
        fields: Vec<(Datum, Direction)>,
        order: &'a [Direction],
    ) -> KeyDeserializer<'a> {
        KeyDeserializer {
            fields: fields.into_iter().peekable(),
            order,
            taken: 0,
            descending: false,
            form: None,
            path: Vec::new(),
        }
    }

    /// Nothing is left.
    pub(super) fn end(&mut self) -> Result<(), Misfit> {
        match self.fields.len() {
            0 => Ok(()),
            left => Err(Misfit::new(format!("the key has {left} more fields"))),
        }
    }

    /// The field at which an error was met; empty for the value itself.
    pub(super) fn path(&self) -> String {
        self.path.join(".")
    }

    fn take(&mut self) -> Result<Datum, Misfit> {
        let expected = direction(self.order, self.taken, self.descending)?;
        let (datum, found) = self
            .fields
            .next()
            .ok_or_else(|| Misfit::new("the key has no more fields"))?;
        self.taken += 1;
        if found != expected {
            let why = format!("the key has it {found:?}, the type {expected:?}");
            return Err(Misfit::new(why));
        }
        Ok(datum)
    }

    /// The next field, whatever it is.
    fn scalar<'de, V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value, Misfit> {
        let form = self.form.take();
        match (self.take()?, form) {
            (Datum::Timestamp(micros), Some(Form::Timestamp)) => visitor.visit_i64(micros),
            (Datum::Uuid(uuid), Some(Form::Uuid)) => visitor.visit_u128(uuid),
            (Datum::Decimal { unscaled, scale }, Some(Form::Decimal)) => {
                let mut bytes = Vec::with_capacity(DECIMAL_LEN);
                bytes.extend_from_slice(&unscaled.to_le_bytes());
                bytes.extend_from_slice(&scale.to_le_bytes());
                visitor.visit_byte_buf(bytes)
            }
            (other, Some(form)) => {
                let found = other.type_name();
                Err(Misfit::new(format!("expected a {form:?}, found {found}")))
            }
            (Datum::Null, None) => visitor.visit_none(),
            (Datum::Bool(value), None) => visitor.visit_bool(value),
            (Datum::Int(value), None) => match (i64::try_from(value), u64::try_from(value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => Err(Misfit::new(format!(
                    "the integer {value} is beyond 64 bits"
                ))),
            },
            (Datum::Float(value), None) => visitor.visit_f64(value),
            (Datum::Str(value), None) => visitor.visit_string(value),
            (Datum::Bytes(value), None) => visitor.visit_byte_buf(value),
            (other, None) => {
                let found = other.type_name();
                let why = format!("a {found} is read as the type of that name, not as another");
                Err(Misfit::new(why))
            }
        }
    }

    fn elements<'de, V: Visitor<'de>>(
        &mut self,
        left: usize,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        let mut names = names.iter();
        visitor.visit_seq(Elements {
            from: self,
            left,
            names: &mut names,
        })
    }
}

impl<'de> Deserializer<'de> for &mut KeyDeserializer<'_> {
    type Error = Misfit;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        self.scalar(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if let Some((Datum::Null, _)) = self.fields.peek() {
            self.take()?;
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        if name == DESC {
            self.descending = !self.descending;
            let value = visitor.visit_newtype_struct(&mut *self)?;
            self.descending = !self.descending;
            return Ok(value);
        }
        self.form = Form::of(name);
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Misfit> {
        Err(Misfit::new("a list of any length cannot be part of a key"))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.elements(len, &[], visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.elements(len, &[], visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Misfit> {
        Err(Misfit::new("a map cannot be part of a key"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.elements(names.len(), names, visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        match self.take()? {
            Datum::Int(index) if u32::try_from(index).is_ok() => {
                let index = u32::try_from(index).unwrap_or_default();
                visitor.visit_enum(index.into_deserializer())
            }
            other => {
                let found = other.type_name();
                let why = format!("expected the number of a variant of {name}, found {found}");
                Err(Misfit::new(why))
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf identifier
        ignored_any
    }
}

/// The elements of a tuple or struct.
struct Elements<'r, 'a> {
    from: &'r mut KeyDeserializer<'a>,
    left: usize,
    names: &'r mut std::slice::Iter<'static, &'static str>,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Misfit;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Misfit> {
        let Some(left) = self.left.checked_sub(1) else {
            return Ok(None);
        };
        self.left = left;
        let name = self.names.next();
        self.from.path.extend(name);
        let value = seed.deserialize(&mut *self.from)?;
        if name.is_some() {
            self.from.path.pop();
        }
        Ok(Some(value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}
