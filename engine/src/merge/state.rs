//! The state of one operator over the values that it has seen.

use std::cmp::Ordering;

use super::wire::{Reader, put_varint};
use super::{Average, Extreme, FloatSum, Kind, Latest, Operator, Ordinal, Sum};
use crate::base::key::{encode_f64, encode_i64, encode_u64};
use crate::base::{Datum, Direction, Error, KeyBuilder, Result};

/// What one operator remembers of the values that it has seen.
///
/// States of one operator form a commutative monoid under [`State::absorb`], whose identity is
/// [`State::new`].
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// How many rows. 2^64 - 1 stays.
    Count(u64),
    /// The sum of the values.
    Sum(Sum),
    /// The smallest value.
    Min(Extreme),
    /// The largest value.
    Max(Extreme),
    /// The sum of the values and their number.
    Avg(Average),
    /// The whole record of the largest place.
    Latest(Latest),
    /// States that do not belong together have met. It stays so, and is an error when read.
    Mismatch,
}

/// The operator's number of [`State::Mismatch`].
const MISMATCH_ID: u8 = 0;
/// The version of [`State::Mismatch`].
const MISMATCH_VERSION: u8 = 1;

/// Why a state shows no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// See [`State::Mismatch`].
    Mismatch,
    /// The result takes more bits than this.
    Beyond(u32),
}

impl State {
    /// The state of no row.
    pub fn new(operator: Operator) -> State {
        match operator {
            Operator::Count => State::Count(0),
            Operator::Sum => State::Sum(Sum::Empty),
            Operator::Min => State::Min(Extreme::default()),
            Operator::Max => State::Max(Extreme::default()),
            Operator::Avg => State::Avg(Average::default()),
            Operator::Latest => State::Latest(Latest::default()),
        }
    }

    /// The operator, `None` of a mismatch.
    pub fn operator(&self) -> Option<Operator> {
        match self {
            State::Count(_) => Some(Operator::Count),
            State::Sum(_) => Some(Operator::Sum),
            State::Min(_) => Some(Operator::Min),
            State::Max(_) => Some(Operator::Max),
            State::Avg(_) => Some(Operator::Avg),
            State::Latest(_) => Some(Operator::Latest),
            State::Mismatch => None,
        }
    }

    /// The latest version of a whole record, `None` of another operator.
    pub fn latest(&self) -> Option<&Latest> {
        match self {
            State::Latest(latest) => Some(latest),
            _ => None,
        }
    }

    /// Merges another state into this one. Total, commutative and associative.
    pub fn absorb(&mut self, other: &State) {
        let agree = match (&mut *self, other) {
            (State::Count(count), State::Count(more)) => {
                *count = count.saturating_add(*more);
                true
            }
            (State::Sum(sum), State::Sum(addend)) => sum.absorb(addend),
            (State::Min(min), State::Min(other)) => {
                min.absorb(other, Ordering::Less);
                true
            }
            (State::Max(max), State::Max(other)) => {
                max.absorb(other, Ordering::Greater);
                true
            }
            (State::Avg(average), State::Avg(other)) => average.absorb(other),
            (State::Latest(latest), State::Latest(other)) => {
                latest.absorb(other);
                true
            }
            _ => false,
        };
        if !agree {
            *self = State::Mismatch;
        }
    }

    /// Counts `rows` rows, as `count()` does. A state of another operator sees no value in them.
    #[inline]
    pub fn add_rows(&mut self, rows: u64) {
        if let State::Count(count) = self {
            *count = count.saturating_add(rows);
        }
    }

    /// Adds one integer; `count(x)` counts it. A sum of other numbers becomes a mismatch.
    #[inline]
    pub fn add_i64(&mut self, value: i64) {
        match self {
            State::Min(_) | State::Max(_) => self.add_field(encode_i64(value).as_bytes()),
            _ => self.add_number(Sum::Int(value.into())),
        }
    }

    /// Adds one integer, as [`State::add_i64`] does.
    #[inline]
    pub fn add_u64(&mut self, value: u64) {
        match self {
            State::Min(_) | State::Max(_) => self.add_field(encode_u64(value).as_bytes()),
            _ => self.add_number(Sum::Int(value.into())),
        }
    }

    /// Adds one float; `count(x)` counts it. A sum of other numbers becomes a mismatch.
    #[inline]
    pub fn add_f64(&mut self, value: f64) {
        match self {
            State::Min(_) | State::Max(_) => self.add_field(encode_f64(value).as_bytes()),
            _ => self.add_number(Sum::Float(FloatSum::new(value))),
        }
    }

    /// Adds one value of any type. NULL adds nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`], and nothing is added, where the operator does not take values of this
    /// type, or for an integer beyond 64 bits.
    pub fn add(&mut self, datum: &Datum) -> Result<()> {
        if matches!(datum, Datum::Null) {
            return Ok(());
        }
        let mut field = KeyBuilder::new();
        match self {
            State::Min(_) | State::Max(_) => {
                field.push(datum, Direction::Ascending)?;
                self.add_field(field.as_bytes());
            }
            State::Count(_) | State::Mismatch => self.add_rows(1),
            State::Latest(latest) => {
                latest.absorb(&Latest::new(Ordinal::ZERO, datum.to_json().to_string()));
            }
            State::Sum(_) | State::Avg(_) => {
                if let Datum::Int(value) = datum {
                    field.push_int(*value)?;
                }
                let number = Sum::of(datum).ok_or_else(|| {
                    let operator = self.operator().map_or("", Operator::name);
                    Error::Invalid(format!("{operator} does not take a {}", datum.type_name()))
                })?;
                self.add_number(number);
            }
        }
        Ok(())
    }

    /// Adds one number that is not NULL to any state but those of `min` and `max`.
    fn add_number(&mut self, number: Sum) {
        let agree = match self {
            State::Count(count) => {
                *count = count.saturating_add(1);
                true
            }
            State::Sum(sum) => sum.absorb(&number),
            State::Avg(average) => average.absorb(&Average::of_one(number)),
            State::Min(_) | State::Max(_) | State::Latest(_) | State::Mismatch => false,
        };
        if !agree {
            *self = State::Mismatch;
        }
    }

    /// Adds one value, encoded as an ascending field, to a state of `min` or `max`.
    fn add_field(&mut self, field: &[u8]) {
        match self {
            State::Min(min) => min.offer(field, Ordering::Less),
            State::Max(max) => max.offer(field, Ordering::Greater),
            _ => {}
        }
    }

    /// The kind of the values seen, `None` where it does not matter or there were none.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            State::Count(_) | State::Latest(_) | State::Mismatch => None,
            State::Sum(sum) => sum.kind(),
            State::Min(extreme) | State::Max(extreme) => extreme.kind(),
            State::Avg(average) => average.sum().kind(),
        }
    }

    /// The value that the state shows.
    pub(super) fn to_datum(&self) -> Result<Datum, Unreadable> {
        match self {
            State::Count(count) => Ok(Datum::from(*count)),
            State::Sum(sum) => sum.to_datum().map_err(Unreadable::Beyond),
            State::Min(extreme) | State::Max(extreme) => Ok(extreme.to_datum()),
            State::Avg(average) => Ok(average.to_datum()),
            State::Latest(latest) => Ok(latest.value().map_or(Datum::Null, |json| {
                Datum::Str(String::from_utf8_lossy(json).into_owned())
            })),
            State::Mismatch => Err(Unreadable::Mismatch),
        }
    }

    /// Adds operator, version and state.
    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        let (id, version) = match self.operator() {
            Some(operator) => (operator.id(), operator.version()),
            None => (MISMATCH_ID, MISMATCH_VERSION),
        };
        out.extend_from_slice(&[id, version]);
        match self {
            State::Count(count) => put_varint((*count).into(), out),
            State::Sum(sum) => sum.encode_into(out),
            State::Min(extreme) | State::Max(extreme) => extreme.encode_into(out),
            State::Avg(average) => average.encode_into(out),
            State::Latest(latest) => latest.encode_into(out),
            State::Mismatch => {}
        }
    }

    /// The next state, `None` where the bytes are not what encoding gives.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Option<State> {
        let (id, version) = (reader.byte()?, reader.byte()?);
        if id == MISMATCH_ID {
            return (version == MISMATCH_VERSION).then_some(State::Mismatch);
        }
        let operator = Operator::from_id(id).filter(|known| known.version() == version)?;
        match operator {
            Operator::Count => reader.varint_u64().map(State::Count),
            Operator::Sum => Sum::decode(reader).map(State::Sum),
            Operator::Min => Extreme::decode(reader).map(State::Min),
            Operator::Max => Extreme::decode(reader).map(State::Max),
            Operator::Avg => Average::decode(reader).map(State::Avg),
            Operator::Latest => Latest::decode(reader).map(State::Latest),
        }
    }
}
