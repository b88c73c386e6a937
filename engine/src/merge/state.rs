//! The state of one operator over the values that it has seen.

use std::cmp::Ordering;

use serde_json::Value;

use super::wire::{StateReader, put_varint};
use super::{
    Average, Bits, BoundedSet, Distinct, Edges, Extreme, FloatSum, Histogram, Kind, Largest,
    Latest, Moments, Operator, Ordinal, Quantiles, Ranked, Spread, Sum, Truth,
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
    /// The largest values.
    TopK(Largest),
    /// How many numbers lie between the edges.
    Histogram(Histogram),
    /// Whether all values are true.
    BoolAnd(Truth),
    /// Whether any value is true.
    BoolOr(Truth),
    /// How far the values spread, by one of the measures.
    Spread(Spread, Box<Moments>),
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
            Operator::TopK => State::TopK(Largest::default()),
            Operator::Histogram => State::Histogram(Histogram::default()),
            Operator::BoolAnd => State::BoolAnd(Truth::default()),
            Operator::BoolOr => State::BoolOr(Truth::default()),
            Operator::VarPop => State::Spread(Spread::VarPop, Box::default()),
            Operator::VarSamp => State::Spread(Spread::VarSamp, Box::default()),
            Operator::StddevPop => State::Spread(Spread::StddevPop, Box::default()),
            Operator::StddevSamp => State::Spread(Spread::StddevSamp, Box::default()),
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
            State::TopK(_) => Some(Operator::TopK),
            State::Histogram(_) => Some(Operator::Histogram),
            State::BoolAnd(_) => Some(Operator::BoolAnd),
            State::BoolOr(_) => Some(Operator::BoolOr),
            State::Spread(Spread::VarPop, _) => Some(Operator::VarPop),
            State::Spread(Spread::VarSamp, _) => Some(Operator::VarSamp),
            State::Spread(Spread::StddevPop, _) => Some(Operator::StddevPop),
            State::Spread(Spread::StddevSamp, _) => Some(Operator::StddevSamp),
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
            (State::TopK(largest), State::TopK(other)) => largest.absorb(other),
            (State::Histogram(histogram), State::Histogram(other)) => histogram.absorb(other),
            (State::BoolAnd(truth), State::BoolAnd(other)) => {
                truth.absorb(*other, false);
                true
            }
            (State::BoolOr(truth), State::BoolOr(other)) => {
                truth.absorb(*other, true);
                true
            }
            (State::Spread(spread, moments), State::Spread(other, more)) => {
                spread == other && moments.absorb(more)
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
            State::BoolAnd(_) | State::BoolOr(_) => match datum {
                Datum::Bool(value) => self.add_bool(*value),
                _ => return Err(self.refused(datum)),
            },
            State::Latest(latest) => {
                latest.absorb(&Latest::new(ordinal, datum.to_json().to_string()));
            }
            _ => {
                if let Datum::Int(value) = datum {
                    field.push_int(*value)?;
                }
                let number = Sum::of(datum).filter(|number| self.takes_number(number));
                let number = number.ok_or_else(|| self.refused(datum))?;
                self.add_number(number);
            }
        }
        Ok(())
    }

    fn refused(&self, datum: &Datum) -> Error {
        let operator = self.operator().map_or("", Operator::name);
        Error::Invalid(format!("{operator} does not take a {}", datum.type_name()))
    }

    /// Adds one truth value to `bool_and` or `bool_or`. Another state sees no value in it.
    #[inline]
    pub fn add_bool(&mut self, value: bool) {
        match self {
            State::BoolAnd(truth) => truth.add(value, false),
            State::BoolOr(truth) => truth.add(value, true),
            _ => debug_assert!(false, "{:?} takes no truth value", self.operator()),
        }
    }

    /// Whether it is made of values as keys have them ([`State::add_field`]), and not of numbers or rows.
    pub fn takes_fields(&self) -> bool {
        match self {
            State::Min(_)
            | State::Max(_)
            | State::First(_)
            | State::Last(_)
            | State::CollectSet(_)
            | State::TopK(_)
            | State::ApproxDistinct(_) => true,
            State::Count(_)
            | State::Sum(_)
            | State::Avg(_)
            | State::Latest(_)
            | State::BitOr(_)
            | State::ApproxQuantile(_)
            | State::Histogram(_)
            | State::BoolAnd(_)
            | State::BoolOr(_)
            | State::Spread(..)
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
            (State::Histogram(histogram), _) => {
                number.to_f64().is_some_and(|value| histogram.add(value))
            }
            (State::Spread(_, moments), _) => moments.add(&number),
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
            State::TopK(largest) => largest.add(field),
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
            State::TopK(largest) => largest.len_bytes(),
            State::Histogram(histogram) => histogram.len_bytes(),
            State::Spread(_, moments) => size_of::<Moments>() + moments.len_bytes(),
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
            | State::Histogram(_)
            | State::Mismatch => None,
            State::TopK(largest) => largest.kind(),
            State::BoolAnd(truth) | State::BoolOr(truth) => truth.kind(),
            State::Spread(_, moments) => moments.kind(),
            State::First(ranked) | State::Last(ranked) => ranked.kind(),
            State::BitOr(bits) => bits.kind(),
            State::CollectSet(set) => set.kind(),
            State::Sum(sum) => sum.kind(),
            State::Min(extreme) | State::Max(extreme) => extreme.kind(),
            State::Avg(average) => average.sum().kind(),
        }
    }

    /// The value that the state shows in a column with this parameter and these edges. A list is its JSON text.
    pub(super) fn shown(&self, parameter: u32, edges: Option<&Edges>) -> Result<Datum, Unreadable> {
        match self {
            State::First(ranked) | State::Last(ranked) => Ok(ranked.to_datum()),
            State::BitOr(bits) => Ok(bits.to_datum()),
            State::CollectSet(set) => Ok(match set.is_empty() {
                true => Datum::Null,
                false => list(&set.values()),
            }),
            State::TopK(largest) => Ok(match largest.is_empty() {
                true => Datum::Null,
                false => list(&largest.values()),
            }),
            State::Histogram(histogram) => Ok(histogram.to_datum(edges)),
            State::BoolAnd(truth) | State::BoolOr(truth) => Ok(truth.to_datum()),
            State::Spread(spread, moments) => Ok(moments.to_datum(*spread)),
            State::ApproxDistinct(distinct) => Ok(Datum::from(distinct.estimate())),
            State::ApproxQuantile(quantiles) => {
                let quantile = quantiles.at(parameter);
                Ok(quantile.map_or(Datum::Null, Datum::Float))
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
        let version = match self {
            State::ApproxQuantile(quantiles) => quantiles.version(),
            _ => version,
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
            State::TopK(largest) => largest.encode_into(out),
            State::Histogram(histogram) => histogram.encode_into(out),
            State::BoolAnd(truth) | State::BoolOr(truth) => truth.encode_into(out),
            State::Spread(_, moments) => moments.encode_into(out),
            State::Mismatch => {}
        }
    }

    /// The next state, `None` where the bytes are not what encoding gives.
    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<State> {
        let (id, version) = (reader.byte()?, reader.byte()?);
        if id == MISMATCH_ID {
            return (version == MISMATCH_VERSION).then_some(State::Mismatch);
        }
        let operator = Operator::from_id(id)?;
        // A sketch of quantiles has two versions, and says which of them it is.
        let is_known = operator.version() == version || operator == Operator::ApproxQuantile;
        if !is_known {
            return None;
        }
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
            Operator::ApproxQuantile => {
                Quantiles::decode(version, reader).map(State::ApproxQuantile)
            }
            Operator::TopK => Largest::decode(reader).map(State::TopK),
            Operator::Histogram => Histogram::decode(reader).map(State::Histogram),
            Operator::BoolAnd => Truth::decode(reader).map(State::BoolAnd),
            Operator::BoolOr => Truth::decode(reader).map(State::BoolOr),
            Operator::VarPop => spread(Spread::VarPop, reader),
            Operator::VarSamp => spread(Spread::VarSamp, reader),
            Operator::StddevPop => spread(Spread::StddevPop, reader),
            Operator::StddevSamp => spread(Spread::StddevSamp, reader),
        }
    }
}

fn spread(spread: Spread, reader: &mut StateReader<'_>) -> Option<State> {
    let moments = Moments::decode(reader)?;
    Some(State::Spread(spread, Box::new(moments)))
}

/// Values as the JSON text of a list.
fn list(values: &[Datum]) -> Datum {
    let values = values.iter().map(Datum::to_json).collect();
    Datum::Str(Value::Array(values).to_string())
}

/// Adds the record of these states to `out`.
pub(super) fn encode(states: &[State], out: &mut Vec<u8>) {
    put_varint(states.len() as u128, out);
    for state in states {
        state.encode_into(out);
    }
}
