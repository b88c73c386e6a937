//! The state of one operator over the values that it has seen.

use std::cmp::Ordering;

use serde_json::Value;

use super::wire::{StateReader, put_varint};
use super::{
    Average, Bits, BoundedSet, Distinct, Extreme, FloatSum, Kind, Latest, Operator, Ordinal,
    Quantiles, Ranked, Sum,
};
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
    /// The value of the first row.
    First(Ranked),
    /// The value of the last row.
    Last(Ranked),
    /// The bits that any value has.
    BitOr(Bits),
    /// The smallest distinct values.
    CollectSet(BoundedSet),
    /// What is known of how many values are distinct.
    ApproxDistinct(Distinct),
    /// How many numbers lie where.
    ApproxQuantile(Quantiles),
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
            Operator::First => State::First(Ranked::default()),
            Operator::Last => State::Last(Ranked::default()),
            Operator::BitOr => State::BitOr(Bits::default()),
            Operator::CollectSet => State::CollectSet(BoundedSet::default()),
            Operator::ApproxDistinct => State::ApproxDistinct(Distinct::default()),
            Operator::ApproxQuantile => State::ApproxQuantile(Quantiles::default()),
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
            State::First(_) => Some(Operator::First),
            State::Last(_) => Some(Operator::Last),
            State::BitOr(_) => Some(Operator::BitOr),
            State::CollectSet(_) => Some(Operator::CollectSet),
            State::ApproxDistinct(_) => Some(Operator::ApproxDistinct),
            State::ApproxQuantile(_) => Some(Operator::ApproxQuantile),
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
            (State::First(first), State::First(other)) => {
                first.absorb(other, Ordering::Less);
                true
            }
            (State::Last(last), State::Last(other)) => {
                last.absorb(other, Ordering::Greater);
                true
            }
            (State::BitOr(bits), State::BitOr(other)) => {
                bits.absorb(*other);
                true
            }
            (State::CollectSet(set), State::CollectSet(other)) => set.absorb(other),
            (State::ApproxDistinct(distinct), State::ApproxDistinct(other)) => {
                distinct.absorb(other);
                true
            }
            (State::ApproxQuantile(quantiles), State::ApproxQuantile(other)) => {
                quantiles.absorb(other);
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

    /// Adds one integer; `count(x)` counts it. A sum of other numbers becomes a mismatch. `first` and `last` take it as
    /// a value of no row, as [`State::add`] does.
    #[inline]
    pub fn add_i64(&mut self, value: i64) {
        if self.takes_fields() {
            self.add_field(Ordinal::ZERO, encode_i64(value).as_bytes());
        } else {
            self.add_number(Sum::Int(value.into()));
        }
    }

    /// Adds one integer, as [`State::add_i64`] does.
    #[inline]
    pub fn add_u64(&mut self, value: u64) {
        if self.takes_fields() {
            self.add_field(Ordinal::ZERO, encode_u64(value).as_bytes());
        } else {
            self.add_number(Sum::Int(value.into()));
        }
    }

    /// Adds one float; `count(x)` counts it. A sum of other numbers becomes a mismatch.
    #[inline]
    pub fn add_f64(&mut self, value: f64) {
        if self.takes_fields() {
            self.add_field(Ordinal::ZERO, encode_f64(value).as_bytes());
        } else {
            self.add_number(Sum::Float(FloatSum::new(value)));
        }
    }

    /// Adds one value of any type, of no row in particular. NULL adds nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`], and nothing is added, where the operator does not take values of this
    /// type, or for an integer beyond 64 bits.
    pub fn add(&mut self, datum: &Datum) -> Result<()> {
        self.add_of_row(Ordinal::ZERO, datum)
    }

    /// Adds one value of the row at `ordinal`, which `first` and `last` go by. NULL adds nothing.
    ///
    /// # Errors
    /// As [`State::add`].
    pub fn add_of_row(&mut self, ordinal: Ordinal, datum: &Datum) -> Result<()> {
        if matches!(datum, Datum::Null) {
            return Ok(());
        }
        let mut field = KeyBuilder::new();
        if self.takes_fields() {
            field.push(datum, Direction::Ascending)?;
            self.add_field(ordinal, field.as_bytes());
            return Ok(());
        }
        match self {
            State::Count(_) | State::Mismatch => self.add_rows(1),
            State::Latest(latest) => {
                latest.absorb(&Latest::new(ordinal, datum.to_json().to_string()));
            }
            _ => {
                if let Datum::Int(value) = datum {
                    field.push_int(*value)?;
                }
                let number = Sum::of(datum).filter(|number| self.takes_number(number));
                let number = number.ok_or_else(|| {
                    let operator = self.operator().map_or("", Operator::name);
                    Error::Invalid(format!("{operator} does not take a {}", datum.type_name()))
                })?;
                self.add_number(number);
            }
        }
        Ok(())
    }

    /// Whether it is made of values as keys have them ([`State::add_field`]), and not of numbers or rows.
    pub fn takes_fields(&self) -> bool {
        match self {
            State::Min(_)
            | State::Max(_)
            | State::First(_)
            | State::Last(_)
            | State::CollectSet(_)
            | State::ApproxDistinct(_) => true,
            State::Count(_)
            | State::Sum(_)
            | State::Avg(_)
            | State::Latest(_)
            | State::BitOr(_)
            | State::ApproxQuantile(_)
            | State::Mismatch => false,
        }
    }

    fn takes_number(&self, number: &Sum) -> bool {
        !matches!(self, State::BitOr(_)) || matches!(number, Sum::Int(_))
    }

    /// Adds one number that is not NULL to a state of numbers or rows.
    fn add_number(&mut self, number: Sum) {
        let agree = match (&mut *self, &number) {
            (State::Count(count), _) => {
                *count = count.saturating_add(1);
                true
            }
            (State::Sum(sum), _) => sum.absorb(&number),
            (State::Avg(average), _) => average.absorb(&Average::of_one(number)),
            (State::BitOr(bits), Sum::Int(value)) => {
                bits.add(*value);
                true
            }
            (State::ApproxQuantile(quantiles), _) => number.to_f64().is_some_and(|value| {
                quantiles.add(value);
                true
            }),
            _ => false,
        };
        if !agree {
            *self = State::Mismatch;
        }
    }

    /// Adds one value of the row at `ordinal`, encoded as an ascending field of a key that is not NULL, to a state that
    /// [takes](State::takes_fields) such. Another state sees no value in it.
    #[inline]
    pub fn add_field(&mut self, ordinal: Ordinal, field: &[u8]) {
        match self {
            State::Min(min) => min.offer(field, Ordering::Less),
            State::Max(max) => max.offer(field, Ordering::Greater),
            State::First(first) => first.offer(ordinal, field, Ordering::Less),
            State::Last(last) => last.offer(ordinal, field, Ordering::Greater),
            State::CollectSet(set) => set.add(field),
            State::ApproxDistinct(distinct) => distinct.add(field),
            _ => debug_assert!(false, "{:?} takes no fields", self.operator()),
        }
    }

    /// Bytes that it takes besides its own, about.
    pub fn heap_len_bytes(&self) -> usize {
        match self {
            State::Sum(Sum::Float(sum)) => sum.heap_len_bytes(),
            State::CollectSet(set) => set.len_bytes(),
            State::ApproxDistinct(distinct) => distinct.len_bytes(),
            State::ApproxQuantile(quantiles) => quantiles.len_bytes(),
            _ => 0,
        }
    }

    /// The kind of the values seen, `None` where it does not matter or there were none.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            State::Count(_)
            | State::Latest(_)
            | State::ApproxDistinct(_)
            | State::ApproxQuantile(_)
            | State::Mismatch => None,
            State::First(ranked) | State::Last(ranked) => ranked.kind(),
            State::BitOr(bits) => bits.kind(),
            State::CollectSet(set) => set.kind(),
            State::Sum(sum) => sum.kind(),
            State::Min(extreme) | State::Max(extreme) => extreme.kind(),
            State::Avg(average) => average.sum().kind(),
        }
    }

    /// The value that the state shows in this column. A list is its JSON text.
    pub(super) fn shown(&self, parameter: u32) -> Result<Datum, Unreadable> {
        match self {
            State::First(ranked) | State::Last(ranked) => Ok(ranked.to_datum()),
            State::BitOr(bits) => Ok(bits.to_datum()),
            State::CollectSet(set) => Ok(match set.is_empty() {
                true => Datum::Null,
                false => {
                    let values = set.values().iter().map(Datum::to_json).collect();
                    Datum::Str(Value::Array(values).to_string())
                }
            }),
            State::ApproxDistinct(distinct) => Ok(Datum::from(distinct.estimate())),
            State::ApproxQuantile(quantiles) => {
                Ok(quantiles.at(parameter).map_or(Datum::Null, Datum::Float))
            }
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
            State::First(ranked) | State::Last(ranked) => ranked.encode_into(out),
            State::BitOr(bits) => bits.encode_into(out),
            State::CollectSet(set) => set.encode_into(out),
            State::ApproxDistinct(distinct) => distinct.encode_into(out),
            State::ApproxQuantile(quantiles) => quantiles.encode_into(out),
            State::Mismatch => {}
        }
    }

    /// The next state, `None` where the bytes are not what encoding gives.
    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<State> {
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
            Operator::First => Ranked::decode(reader).map(State::First),
            Operator::Last => Ranked::decode(reader).map(State::Last),
            Operator::BitOr => Bits::decode(reader).map(State::BitOr),
            Operator::CollectSet => BoundedSet::decode(reader).map(State::CollectSet),
            Operator::ApproxDistinct => Distinct::decode(reader).map(State::ApproxDistinct),
            Operator::ApproxQuantile => Quantiles::decode(reader).map(State::ApproxQuantile),
        }
    }
}

/// Adds the record of these states to `out`.
pub(super) fn encode(states: &[State], out: &mut Vec<u8>) {
    put_varint(states.len() as u128, out);
    for state in states {
        state.encode_into(out);
    }
}
