//! Serde's data model onto the fields of a key.

use std::fmt;

use serde::ser::{
    self, Impossible, Serialize, SerializeStruct, SerializeTuple, SerializeTupleStruct, Serializer,
};

use super::typed::{DECIMAL, DESC, TIMESTAMP, UUID, decimal_of};
use super::{Direction, KeyBuilder};

/// Why a value is no key, or a key no value of a type.
#[derive(Debug)]
pub(super) struct Misfit(String);

impl Misfit {
    pub(super) fn new(why: impl Into<String>) -> Misfit {
        Misfit(why.into())
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Misfit {}

impl ser::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Misfit {
        Misfit(message.to_string())
    }
}

impl serde::de::Error for Misfit {
    fn custom<T: fmt::Display>(message: T) -> Misfit {
        Misfit(message.to_string())
    }
}

/// What the next plain value stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Timestamp,
    Uuid,
    Decimal,
}

impl Form {
    /// The form that a newtype's name asks for.
    pub(super) fn of(name: &str) -> Option<Form> {
        match name {
            TIMESTAMP => Some(Form::Timestamp),
            UUID => Some(Form::Uuid),
            DECIMAL => Some(Form::Decimal),
            _ => None,
        }
    }
}

/// The direction of field `index`: `order` decides where it reaches.
pub(super) fn direction(
    order: &[Direction],
    index: usize,
    descending: bool,
) -> Result<Direction, Misfit> {
    match order.get(index) {
        Some(Direction::Ascending) if descending => Err(Misfit::new(
            "it is in descending order, and the store has it ascending",
        )),
        Some(declared) => Ok(*declared),
        None if descending => Ok(Direction::Descending),
        None => Ok(Direction::Ascending),
    }
}

/// Adds fields to a key as serde brings them.
pub(super) struct KeySerializer<'a> {
    builder: KeyBuilder,
    order: &'a [Direction],
    /// Fields so far.
    fields: usize,
    /// Whether the last one is NULL.
    null: bool,
    descending: bool,
    form: Option<Form>,
    path: Vec<&'static str>,
}

impl<'a> KeySerializer<'a> {
    pub(super) fn new(order: &'a [Direction]) -> KeySerializer<'a> {
        KeySerializer {
            builder: KeyBuilder::new(),
            order,
            fields: 0,
            null: false,
            descending: false,
            form: None,
            path: Vec::new(),
        }
    }

    pub(super) fn into_builder(self) -> KeyBuilder {
        self.builder
    }

    /// The field at which an error was met; empty for the value itself.
    pub(super) fn path(&self) -> String {
        self.path.join(".")
    }

    fn add(&mut self, push: impl FnOnce(&mut KeyBuilder)) -> Result<(), Misfit> {
        if let Some(form) = self.form.take() {
            return Err(Misfit::new(format!("{form:?} is not made of that")));
        }
        match direction(self.order, self.fields, self.descending)? {
            Direction::Ascending => push(&mut self.builder),
            Direction::Descending => self.builder.descending(push),
        }
        self.fields += 1;
        self.null = false;
        Ok(())
    }

    fn named<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        self.path.push(name);
        value.serialize(&mut *self)?;
        self.path.pop();
        Ok(())
    }
}

fn refused(what: &str) -> Misfit {
    Misfit::new(format!("{what} cannot be part of a key"))
}

impl Serializer for &mut KeySerializer<'_> {
    type Ok = ();
    type Error = Misfit;
    type SerializeSeq = Impossible<(), Misfit>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Impossible<(), Misfit>;
    type SerializeMap = Impossible<(), Misfit>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Misfit>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), Misfit> {
        self.add(|builder| builder.push_bool(value))
    }

    fn serialize_i8(self, value: i8) -> Result<(), Misfit> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Misfit> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Misfit> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Misfit> {
        if self.form == Some(Form::Timestamp) {
            self.form = None;
            return self.add(|builder| builder.push_timestamp(value));
        }
        self.add(|builder| builder.push_i64(value))
    }

    fn serialize_i128(self, value: i128) -> Result<(), Misfit> {
        if let Ok(value) = i64::try_from(value) {
            return self.serialize_i64(value);
        }
        match u64::try_from(value) {
            Ok(value) => self.serialize_u64(value),
            Err(_) => Err(refused(&format!("the integer {value}, beyond 64 bits,"))),
        }
    }

    fn serialize_u8(self, value: u8) -> Result<(), Misfit> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Misfit> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Misfit> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Misfit> {
        self.add(|builder| builder.push_u64(value))
    }

    fn serialize_u128(self, value: u128) -> Result<(), Misfit> {
        if self.form == Some(Form::Uuid) {
            self.form = None;
            return self.add(|builder| builder.push_uuid(value));
        }
        match u64::try_from(value) {
            Ok(value) => self.serialize_u64(value),
            Err(_) => Err(refused(&format!("the integer {value}, beyond 64 bits,"))),
        }
    }

    fn serialize_f32(self, value: f32) -> Result<(), Misfit> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Misfit> {
        self.add(|builder| builder.push_f64(value))
    }

    fn serialize_char(self, value: char) -> Result<(), Misfit> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Misfit> {
        self.add(|builder| builder.push_str(value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Misfit> {
        if self.form == Some(Form::Decimal) {
            self.form = None;
            let number = decimal_of(value).ok_or_else(|| refused("such a decimal"))?;
            return self.add(|builder| builder.push_decimal(number.unscaled, number.scale));
        }
        self.add(|builder| builder.push_bytes(value))
    }

    fn serialize_none(self) -> Result<(), Misfit> {
        self.add(KeyBuilder::push_null)?;
        self.null = true;
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Misfit> {
        let before = self.fields;
        value.serialize(&mut *self)?;
        // Else NULL would be the beginning of a value, or two values the same.
        if self.fields != before + 1 || self.null {
            return Err(refused("an Option of anything but a single field"));
        }
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Misfit> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Misfit> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &str, index: u32, _: &str) -> Result<(), Misfit> {
        self.serialize_u64(index.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        if name == DESC {
            self.descending = !self.descending;
            value.serialize(&mut *self)?;
            self.descending = !self.descending;
            return Ok(());
        }
        self.form = Form::of(name);
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), Misfit> {
        Err(refused(&format!(
            "the variant {name}::{variant}, which has data,"
        )))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Misfit> {
        Err(refused("a list of any length (bytes are a Blob)"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Misfit> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Misfit> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Misfit> {
        Err(refused(&format!(
            "the variant {name}::{variant}, which has data,"
        )))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Misfit> {
        Err(refused("a map"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Misfit> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Misfit> {
        Err(refused(&format!(
            "the variant {name}::{variant}, which has data,"
        )))
    }
}

impl SerializeTuple for &mut KeySerializer<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Misfit> {
        Ok(())
    }
}

impl SerializeTupleStruct for &mut KeySerializer<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Misfit> {
        value.serialize(&mut **self)
    }

    fn end(self) -> Result<(), Misfit> {
        Ok(())
    }
}

impl SerializeStruct for &mut KeySerializer<'_> {
    type Ok = ();
    type Error = Misfit;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Misfit> {
        self.named(name, value)
    }

    fn skip_field(&mut self, name: &'static str) -> Result<(), Misfit> {
        self.path.push(name);
        Err(refused("a field that is sometimes left out"))
    }

    fn end(self) -> Result<(), Misfit> {
        Ok(())
    }
}
