//! What a shard has accumulated of one value, a typed vector with one entry a group.
//!
//! Each accumulator meets a column's type once a batch and then runs one plain loop over it.

use arrow::array::{Array, ArrowPrimitiveType, PrimitiveArray};
use arrow::buffer::NullBuffer;
use eciton_engine::merge::{Average, DecimalSum, FloatSum, Operator, Ordinal, State, Sum};
use eciton_engine::{Datum, Error};

use super::each::Each;
use crate::columns::Column;

/// The partial results of one value of the record.
pub(super) enum States {
    /// `count()`: rows.
    Rows(Vec<u64>),
    /// `count(x)`: rows where x is not NULL.
    NotNull(Vec<u64>),
    /// `sum` and `avg` of integers.
    SumInt(Vec<Counted<i128>>),
    /// `sum` and `avg` of floats.
    SumFloat(FloatSums),
    /// `sum` and `avg` of decimals of one scale.
    SumDecimal(i8, Vec<Counted<DecimalSum>>),
    MinMaxBool(Side, Vec<Option<bool>>),
    MinMaxInt(Side, Vec<Option<i64>>),
    MinMaxUint(Side, Vec<Option<u64>>),
    MinMaxFloat(Side, Vec<Option<f64>>),
    MinMaxDate(Side, Vec<Option<i32>>),
    MinMaxTimestamp(Side, Vec<Option<i64>>),
    MinMaxDecimal(Side, i8, Vec<Option<i128>>),
    MinMaxStr(Side, Extremes),
    MinMaxBytes(Side, Extremes),
    /// `min` and `max` of a column that holds nothing but NULL.
    Nothing,
    /// Any other operator.
    Each(Each),
}

/// Which end is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Min,
    Max,
}

/// A sum and how many values are in it; none of them: the sum is NULL.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted<T> {
    sum: T,
    count: u64,
}

/// Sums of floats.
#[derive(Default)]
pub(super) struct FloatSums {
    sums: Vec<Counted<FloatSum>>,
    /// Bytes that they take besides.
    heap_len: usize,
}

/// Smallest or largest byte strings.
#[derive(Default)]
pub(super) struct Extremes {
    values: Vec<Option<Box<[u8]>>>,
    /// Bytes of all values.
    len: usize,
}

impl States {
    /// Makes room for `groups` groups.
    pub(super) fn resize(&mut self, groups: usize) {
        match self {
            States::Rows(states) | States::NotNull(states) => states.resize(groups, 0),
            States::SumInt(states) => states.resize(groups, Counted { sum: 0, count: 0 }),
            States::SumFloat(states) => {
                let none = Counted {
                    sum: FloatSum::new(0.0),
                    count: 0,
                };
                states.sums.resize(groups, none);
            }
            States::SumDecimal(scale, states) => {
                states.resize(
                    groups,
                    Counted {
                        sum: DecimalSum::new(0, *scale),
                        count: 0,
                    },
                );
            }
            States::MinMaxBool(_, states) => states.resize(groups, None),
            States::MinMaxInt(_, states) | States::MinMaxTimestamp(_, states) => {
                states.resize(groups, None);
            }
            States::MinMaxUint(_, states) => states.resize(groups, None),
            States::MinMaxDate(_, states) => states.resize(groups, None),
            States::MinMaxFloat(_, states) => states.resize(groups, None),
            States::MinMaxDecimal(_, _, states) => states.resize(groups, None),
            States::MinMaxStr(_, bounds) | States::MinMaxBytes(_, bounds) => {
                bounds.values.resize(groups, None);
            }
            States::Nothing => {}
            States::Each(each) => each.resize(groups),
        }
    }

    /// Forgets every group.
    pub(super) fn clear(&mut self) {
        self.resize(0);
        match self {
            States::MinMaxStr(_, bounds) | States::MinMaxBytes(_, bounds) => bounds.len = 0,
            States::SumFloat(states) => states.heap_len = 0,
            _ => {}
        }
    }

    /// Bytes in use, about.
    pub(super) fn len_bytes(&self) -> usize {
        match self {
            States::Rows(states) | States::NotNull(states) => size_of_val(states.as_slice()),
            States::SumInt(states) => size_of_val(states.as_slice()),
            States::SumFloat(states) => size_of_val(states.sums.as_slice()) + states.heap_len,
            States::SumDecimal(_, states) => size_of_val(states.as_slice()),
            States::MinMaxBool(_, states) => size_of_val(states.as_slice()),
            States::MinMaxInt(_, states) | States::MinMaxTimestamp(_, states) => {
                size_of_val(states.as_slice())
            }
            States::MinMaxUint(_, states) => size_of_val(states.as_slice()),
            States::MinMaxDate(_, states) => size_of_val(states.as_slice()),
            States::MinMaxFloat(_, states) => size_of_val(states.as_slice()),
            States::MinMaxDecimal(_, _, states) => size_of_val(states.as_slice()),
            States::MinMaxStr(_, bounds) | States::MinMaxBytes(_, bounds) => {
                size_of_val(bounds.values.as_slice()) + bounds.len
            }
            States::Nothing => 0,
            States::Each(each) => each.len_bytes(),
        }
    }

    /// Adds a batch: `groups` has the group of each row, `column` the argument (none for
    /// `count()`), `first` the place of the first row.
    pub(super) fn update(&mut self, groups: &[u32], column: Option<&Column>, first: Ordinal) {
        match (self, column) {
            (States::Each(each), Some(column)) => each.update(groups, column, first),
            (States::Rows(states), _) => {
                for group in groups {
                    states[*group as usize] += 1;
                }
            }
            (States::NotNull(_), Some(Column::Null)) | (States::Nothing, _) => {}
            (States::NotNull(states), Some(column)) => {
                each(groups, column.nulls(), |group, _| states[group] += 1);
            }
            (States::SumInt(states), Some(Column::Int(array))) => {
                each_value(groups, array, |group, value| {
                    states[group].add(|sum| *sum += i128::from(value));
                });
            }
            (States::SumInt(states), Some(Column::Uint(array))) => {
                each_value(groups, array, |group, value| {
                    states[group].add(|sum| *sum += i128::from(value));
                });
            }
            (States::SumFloat(states), Some(Column::Float(array))) => {
                each_value(groups, array, |group, value| states.add(group, value));
            }
            (States::SumDecimal(scale, states), Some(Column::Decimal(array, _))) => {
                each_value(groups, array, |group, value| {
                    states[group].add(|sum| {
                        let same_scale = sum.absorb(DecimalSum::new(value, *scale));
                        debug_assert!(same_scale, "a column has one scale");
                    });
                });
            }
            (states, Some(column)) => states.update_bounds(groups, column),
            (_, None) => debug_assert!(false, "only count() has no column"),
        }
    }

    fn update_bounds(&mut self, groups: &[u32], column: &Column) {
        match (self, column) {
            (States::MinMaxBool(side, states), Column::Bool(array)) => {
                each(groups, array.nulls(), |group, row| {
                    side.keep(&mut states[group], array.value(row), bool::lt);
                });
            }
            (States::MinMaxInt(side, states), Column::Int(array))
            | (States::MinMaxTimestamp(side, states), Column::Timestamp(array)) => {
                keep_values(*side, states, groups, array, i64::lt);
            }
            (States::MinMaxUint(side, states), Column::Uint(array)) => {
                keep_values(*side, states, groups, array, u64::lt);
            }
            (States::MinMaxDate(side, states), Column::Date(array)) => {
                keep_values(*side, states, groups, array, i32::lt);
            }
            (States::MinMaxFloat(side, states), Column::Float(array)) => {
                keep_values(*side, states, groups, array, below);
            }
            (States::MinMaxDecimal(side, _, states), Column::Decimal(array, _)) => {
                keep_values(*side, states, groups, array, i128::lt);
            }
            (States::MinMaxStr(side, bounds), Column::Str(array)) => {
                each(groups, array.nulls(), |group, row| {
                    bounds.keep(*side, group, array.value(row).as_bytes());
                });
            }
            (States::MinMaxStr(side, bounds), Column::StrView(array)) => {
                each(groups, array.nulls(), |group, row| {
                    bounds.keep(*side, group, array.value(row).as_bytes());
                });
            }
            (States::MinMaxBytes(side, bounds), Column::Bytes(array)) => {
                each(groups, array.nulls(), |group, row| {
                    bounds.keep(*side, group, array.value(row));
                });
            }
            (_, column) => debug_assert!(false, "planned for another type than {column:?}"),
        }
    }

    /// Adds what another accumulator of the same value has: `groups` has the group here of each group
    /// there.
    pub(super) fn absorb(&mut self, groups: &[u32], other: &States) {
        match (self, other) {
            (States::Rows(ours), States::Rows(theirs))
            | (States::NotNull(ours), States::NotNull(theirs)) => {
                zip(ours, groups, theirs, |our, their| *our += their);
            }
            (States::SumInt(ours), States::SumInt(theirs)) => {
                zip(ours, groups, theirs, |our, their| {
                    our.absorb(their, |sum, other| *sum += other);
                });
            }
            (States::SumFloat(ours), States::SumFloat(theirs)) => {
                let FloatSums { sums, heap_len } = ours;
                zip(sums, groups, &theirs.sums, |our, their| {
                    our.absorb(their, |sum, other| {
                        counting(heap_len, sum, |sum| sum.absorb(other));
                    });
                });
            }
            (States::SumDecimal(_, ours), States::SumDecimal(_, theirs)) => {
                zip(ours, groups, theirs, |our, their| {
                    our.absorb(their, |sum, other| {
                        let same_scale = sum.absorb(*other);
                        debug_assert!(same_scale, "a column has one scale");
                    });
                });
            }
            (ours, theirs) => ours.absorb_bounds(groups, theirs),
        }
    }

    fn absorb_bounds(&mut self, groups: &[u32], other: &States) {
        match (self, other) {
            (States::MinMaxBool(side, ours), States::MinMaxBool(_, theirs)) => {
                keep_all(*side, ours, groups, theirs, bool::lt);
            }
            (States::MinMaxInt(side, ours), States::MinMaxInt(_, theirs))
            | (States::MinMaxTimestamp(side, ours), States::MinMaxTimestamp(_, theirs)) => {
                keep_all(*side, ours, groups, theirs, i64::lt);
            }
            (States::MinMaxDate(side, ours), States::MinMaxDate(_, theirs)) => {
                keep_all(*side, ours, groups, theirs, i32::lt);
            }
            (States::MinMaxUint(side, ours), States::MinMaxUint(_, theirs)) => {
                keep_all(*side, ours, groups, theirs, u64::lt);
            }
            (States::MinMaxFloat(side, ours), States::MinMaxFloat(_, theirs)) => {
                keep_all(*side, ours, groups, theirs, below);
            }
            (States::MinMaxDecimal(side, _, ours), States::MinMaxDecimal(_, _, theirs)) => {
                keep_all(*side, ours, groups, theirs, i128::lt);
            }
            (States::MinMaxStr(side, ours), States::MinMaxStr(_, theirs))
            | (States::MinMaxBytes(side, ours), States::MinMaxBytes(_, theirs)) => {
                for (group, value) in groups.iter().zip(&theirs.values) {
                    if let Some(value) = value {
                        ours.keep(*side, *group as usize, value);
                    }
                }
            }
            (States::Nothing, States::Nothing) => {}
            (States::Each(ours), States::Each(theirs)) => ours.absorb(groups, theirs),
            _ => debug_assert!(false, "accumulators of different plans"),
        }
    }

    /// The state of one group, as an operand carries it.
    ///
    /// # Errors
    /// None in practice: what was accumulated belongs to the operator.
    pub(super) fn state(&self, operator: Operator, group: usize) -> Result<State, Error> {
        let (sum, count) = match self {
            States::Rows(states) | States::NotNull(states) => {
                return Ok(State::Count(states[group]));
            }
            States::SumInt(states) => (Sum::Int(states[group].sum), states[group].count),
            States::SumFloat(states) => {
                let Counted { sum, count } = &states.sums[group];
                (Sum::Float(sum.clone()), *count)
            }
            States::SumDecimal(_, states) => (Sum::Decimal(states[group].sum), states[group].count),
            States::Each(each) => return Ok(each.state(group)),
            _ => return self.bound(operator, group),
        };
        let sum = if count == 0 { Sum::Empty } else { sum };
        Ok(match operator {
            Operator::Avg => Average::new(sum, count).map_or(State::Mismatch, State::Avg),
            _ => State::Sum(sum),
        })
    }

    /// The smallest or largest value of a group; NULL if it had none.
    fn bound(&self, operator: Operator, group: usize) -> Result<State, Error> {
        let mut state = State::new(operator);
        let datum = match self {
            // Numbers are what most jobs have: they take no detour over a datum.
            States::MinMaxInt(_, states) => {
                if let Some(value) = states[group] {
                    state.add_i64(value);
                }
                return Ok(state);
            }
            States::MinMaxUint(_, states) => {
                if let Some(value) = states[group] {
                    state.add_u64(value);
                }
                return Ok(state);
            }
            States::MinMaxFloat(_, states) => {
                if let Some(value) = states[group] {
                    // Adding zero turns -0.0 into 0.0: which of the two came first must not show.
                    state.add_f64(value + 0.0);
                }
                return Ok(state);
            }
            States::MinMaxBool(_, states) => states[group].map(Datum::Bool),
            States::MinMaxDate(_, states) => states[group].map(Datum::Date),
            States::MinMaxTimestamp(_, states) => states[group].map(Datum::Timestamp),
            States::MinMaxDecimal(_, scale, states) => {
                states[group].map(|unscaled| Datum::Decimal {
                    unscaled,
                    scale: *scale,
                })
            }
            States::MinMaxStr(_, bounds) => bounds.values[group]
                .as_deref()
                .map(|bytes| Datum::Str(String::from_utf8_lossy(bytes).into_owned())),
            States::MinMaxBytes(_, bounds) => bounds.values[group]
                .as_deref()
                .map(|bytes| Datum::Bytes(bytes.to_vec())),
            _ => None,
        };
        state.add(&datum.unwrap_or(Datum::Null))?;
        Ok(state)
    }
}

impl<T> Counted<T> {
    #[inline]
    fn add(&mut self, value: impl FnOnce(&mut T)) {
        value(&mut self.sum);
        self.count += 1;
    }

    fn absorb(&mut self, other: &Counted<T>, add: impl FnOnce(&mut T, &T)) {
        if other.count > 0 {
            add(&mut self.sum, &other.sum);
            self.count += other.count;
        }
    }
}

impl Side {
    /// Keeps the smaller or larger of what is there and what comes.
    #[inline]
    fn keep<T: Copy>(self, state: &mut Option<T>, value: T, less: impl Fn(&T, &T) -> bool) {
        let replaces = state.is_none_or(|kept| match self {
            Side::Min => less(&value, &kept),
            Side::Max => less(&kept, &value),
        });
        if replaces {
            *state = Some(value);
        }
    }
}

impl FloatSums {
    #[inline]
    fn add(&mut self, group: usize, value: f64) {
        let heap_len = &mut self.heap_len;
        self.sums[group].add(|sum| counting(heap_len, sum, |sum| sum.add(value)));
    }
}

/// Changes a sum, and counts by how much it grew.
#[inline]
fn counting(heap_len: &mut usize, sum: &mut FloatSum, change: impl FnOnce(&mut FloatSum)) {
    let before = sum.heap_len_bytes();
    change(sum);
    *heap_len = *heap_len + sum.heap_len_bytes() - before;
}

impl Extremes {
    fn keep(&mut self, side: Side, group: usize, value: &[u8]) {
        let kept = &mut self.values[group];
        let better = kept.as_deref().is_none_or(|kept| match side {
            Side::Min => value < kept,
            Side::Max => value > kept,
        });
        if better {
            self.len += value.len();
            self.len -= kept.as_ref().map_or(0, |kept| kept.len());
            *kept = Some(value.into());
        }
    }
}

/// Calls `f` with the state here and the state there of every group there.
fn zip<T>(ours: &mut [T], groups: &[u32], theirs: &[T], mut f: impl FnMut(&mut T, &T)) {
    for (group, their) in groups.iter().zip(theirs) {
        f(&mut ours[*group as usize], their);
    }
}

/// [`Side::keep`] for every group there that has a value.
fn keep_all<T: Copy>(
    side: Side,
    ours: &mut [Option<T>],
    groups: &[u32],
    theirs: &[Option<T>],
    less: impl Fn(&T, &T) -> bool,
) {
    zip(ours, groups, theirs, |our, their| {
        if let Some(value) = their {
            side.keep(our, *value, &less);
        }
    });
}

/// Calls `f` with group and row of every row that is not NULL.
#[inline]
pub(super) fn each(groups: &[u32], nulls: Option<&NullBuffer>, mut f: impl FnMut(usize, usize)) {
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => {
            for (row, group) in groups.iter().enumerate() {
                f(*group as usize, row);
            }
        }
        Some(nulls) => {
            for row in nulls.valid_indices() {
                f(groups[row] as usize, row);
            }
        }
    }
}

/// Calls `f` with group and value of every row that is not NULL.
#[inline]
fn each_value<T: ArrowPrimitiveType>(
    groups: &[u32],
    array: &PrimitiveArray<T>,
    mut f: impl FnMut(usize, T::Native),
) {
    let values = array.values();
    each(groups, array.nulls(), |group, row| f(group, values[row]));
}

/// [`Side::keep`] for every row that is not NULL.
fn keep_values<T: ArrowPrimitiveType>(
    side: Side,
    states: &mut [Option<T::Native>],
    groups: &[u32],
    array: &PrimitiveArray<T>,
    less: impl Fn(&T::Native, &T::Native) -> bool,
) {
    each_value(groups, array, |group, value| {
        side.keep(&mut states[group], value, &less);
    });
}

/// The order of floats in keys: NaN above everything and equal to itself, `-0.0` equal to `0.0`.
fn below(a: &f64, b: &f64) -> bool {
    if a.is_nan() {
        false
    } else {
        b.is_nan() || a < b
    }
}
