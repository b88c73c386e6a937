//! `sum` that fails where its result does not fit.
//!
//! Values are added in twice their width, so that only the result counts: neither the order of the rows nor what the
//! sum was in between.

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, ListArray, PrimitiveArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    ArrowNativeType, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal32Type,
    Decimal64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
    DurationMillisecondType, DurationNanosecondType, DurationSecondType, Field, FieldRef,
    Int64Type, TimeUnit, UInt64Type, i256, validate_decimal_precision,
    validate_decimal32_precision, validate_decimal64_precision, validate_decimal256_precision,
};
use datafusion::common::{ScalarValue, not_impl_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};

/// The function `sum` of a session.
pub(in crate::transform) fn checked_sum() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(CheckedSum(Sum::new())))
}

/// DataFusion's `sum`, which adds on its own what could wrap.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum(Sum);

/// How values of a type are added up; `None` for those that do not wrap (floats).
fn adding(data_type: &DataType) -> Option<Box<dyn Adding>> {
    Some(match data_type {
        DataType::Int64 => Kit::<Int64Type, Total>::boxed(),
        DataType::UInt64 => Kit::<UInt64Type, Total>::boxed(),
        DataType::Decimal32(..) => Kit::<Decimal32Type, Total>::boxed(),
        DataType::Decimal64(..) => Kit::<Decimal64Type, Total>::boxed(),
        DataType::Decimal128(..) => Kit::<Decimal128Type, Total>::boxed(),
        DataType::Decimal256(..) => Kit::<Decimal256Type, Total>::boxed(),
        DataType::Duration(TimeUnit::Second) => Kit::<DurationSecondType, Total>::boxed(),
        DataType::Duration(TimeUnit::Millisecond) => Kit::<DurationMillisecondType, Total>::boxed(),
        DataType::Duration(TimeUnit::Microsecond) => Kit::<DurationMicrosecondType, Total>::boxed(),
        DataType::Duration(TimeUnit::Nanosecond) => Kit::<DurationNanosecondType, Total>::boxed(),
        _ => return None,
    })
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            // Parts of intervals do not carry into each other, and would wrap.
            [DataType::Interval(_)] => not_impl_err!("`sum` of intervals"),
            types => self.0.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match adding(args.return_type()) {
            Some(own) => Ok(own.accumulator(&args)),
            None => self.0.accumulator(args),
        }
    }

    fn create_sliding_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!("`sum(DISTINCT ...)` over a window that moves");
        }
        match adding(args.return_type()) {
            Some(own) => Ok(own.accumulator(&args)),
            None => self.0.create_sliding_accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match adding(args.return_type()) {
            Some(own) => Ok(own.state_fields(&args)),
            None => self.0.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match adding(args.return_type()) {
            Some(own) => Ok(own.groups(&args)),
            None => self.0.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.0.set_monotonicity(data_type)
    }
}

/// What is added, and in what.
pub(super) trait Summand: ArrowPrimitiveType<Native: Hash + Eq> + Debug + Send {
    type Wide: Wide;

    fn widen(value: Self::Native) -> Self::Wide;

    /// The sum, if it fits into the type of the result.
    fn narrow(sum: Self::Wide, result: &DataType) -> Option<Self::Native>;
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Summand for $t {
            type Wide = i128;

            fn widen(value: Self::Native) -> i128 {
                i128::from(value)
            }

            fn narrow(sum: i128, _result: &DataType) -> Option<Self::Native> {
                Self::Native::try_from(sum).ok()
            }
        }
    )*};
}
integers!(
    Int64Type,
    UInt64Type,
    DurationSecondType,
    DurationMillisecondType,
    DurationMicrosecondType,
    DurationNanosecondType
);

macro_rules! decimals {
    ($t:ty, $native:ty, $variant:ident, $wide:ty, $widen:expr, $narrow:expr, $validate:expr) => {
        impl Summand for $t {
            type Wide = $wide;

            fn widen(value: $native) -> $wide {
                $widen(value)
            }

            fn narrow(sum: $wide, result: &DataType) -> Option<$native> {
                let value = $narrow(sum)?;
                let DataType::$variant(precision, scale) = result else {
                    return None;
                };
                $validate(value, *precision, *scale).ok().map(|()| value)
            }
        }
    };
}
decimals!(
    Decimal32Type,
    i32,
    Decimal32,
    i128,
    i128::from,
    |sum: i128| i32::try_from(sum).ok(),
    validate_decimal32_precision
);
decimals!(
    Decimal64Type,
    i64,
    Decimal64,
    i128,
    i128::from,
    |sum: i128| i64::try_from(sum).ok(),
    validate_decimal64_precision
);
decimals!(
    Decimal128Type,
    i128,
    Decimal128,
    i256,
    i256::from_i128,
    i256::to_i128,
    validate_decimal_precision
);
decimals!(
    Decimal256Type,
    i256,
    Decimal256,
    i256,
    std::convert::identity,
    Some,
    validate_decimal256_precision
);

/// What sums are kept in.
pub(super) trait Wide: ArrowNativeType + ToString {
    /// An Arrow type that holds it, for sums that are not complete.
    type Stored: ArrowPrimitiveType<Native = Self>;

    fn state_type(result: &DataType) -> DataType;
    fn plus(self, other: Self) -> Option<Self>;
    fn minus(self, other: Self) -> Option<Self>;
    /// Divided by a count, which is not 0.
    fn over(self, count: u64) -> Self;
}

impl Wide for i128 {
    type Stored = Decimal128Type;

    fn state_type(_result: &DataType) -> DataType {
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0)
    }

    #[inline]
    fn plus(self, other: i128) -> Option<i128> {
        self.checked_add(other)
    }

    #[inline]
    fn minus(self, other: i128) -> Option<i128> {
        self.checked_sub(other)
    }

    fn over(self, count: u64) -> i128 {
        self / i128::from(count)
    }
}

impl Wide for i256 {
    type Stored = Decimal256Type;

    fn state_type(_result: &DataType) -> DataType {
        DataType::Decimal256(DECIMAL256_MAX_PRECISION, 0)
    }

    fn plus(self, other: i256) -> Option<i256> {
        self.checked_add(other)
    }

    fn minus(self, other: i256) -> Option<i256> {
        self.checked_sub(other)
    }

    fn over(self, count: u64) -> i256 {
        self / i256::from_i128(count.into())
    }
}

fn beyond(sum: impl ToString, result: &DataType) -> DataFusionError {
    let sum = sum.to_string();
    let scale = match result {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    };
    let scaled = match scale {
        0 => sum,
        scale => format!("{sum}e{}", -i32::from(scale)),
    };
    DataFusionError::Execution(format!("overflow: the sum {scaled} is beyond {result}"))
}

fn too_wide(result: &DataType) -> DataFusionError {
    DataFusionError::Execution(format!("overflow: a sum is beyond {result}"))
}

/// What becomes of the sum of a group, which has a value at least.
pub(super) trait Finish<T: Summand>: Debug + Send + Sync + 'static {
    /// What it becomes.
    type Out: ArrowPrimitiveType + Debug;

    fn of(
        sum: T::Wide,
        count: u64,
        result: &DataType,
    ) -> Result<<Self::Out as ArrowPrimitiveType>::Native>;
}

/// The sum itself.
#[derive(Debug)]
pub(super) struct Total;

impl<T: Summand> Finish<T> for Total {
    type Out = T;

    fn of(sum: T::Wide, _count: u64, result: &DataType) -> Result<T::Native> {
        T::narrow(sum, result).ok_or_else(|| beyond(sum, result))
    }
}

/// How an aggregate function adds up values of one type.
pub(super) trait Adding {
    fn accumulator(&self, args: &AccumulatorArgs<'_>) -> Box<dyn Accumulator>;
    fn state_fields(&self, args: &StateFieldsArgs<'_>) -> Vec<FieldRef>;
    fn groups(&self, args: &AccumulatorArgs<'_>) -> Box<dyn GroupsAccumulator>;
}

/// [`Adding`] of values of the type `T`, of which the sum becomes `F`.
pub(super) struct Kit<T, F>(PhantomData<fn() -> (T, F)>);

impl<T: Summand, F: Finish<T>> Kit<T, F> {
    pub(super) fn boxed() -> Box<dyn Adding> {
        Box::new(Kit::<T, F>(PhantomData))
    }
}

impl<T: Summand, F: Finish<T>> Adding for Kit<T, F> {
    fn accumulator(&self, args: &AccumulatorArgs<'_>) -> Box<dyn Accumulator> {
        let result = args.return_type();
        match args.is_distinct {
            true => Box::new(DistinctSum::<T, F>::new(result, args.expr_fields)),
            false => Box::new(OneSum::<T, F>::new(result)),
        }
    }

    fn state_fields(&self, args: &StateFieldsArgs<'_>) -> Vec<FieldRef> {
        let name = |part| format_state_name(args.name, part);
        if args.is_distinct {
            let item = summand_type::<T>(args.input_fields);
            let item = Field::new_list_field(item, true);
            let list = DataType::List(Arc::new(item));
            return vec![Field::new(name("values"), list, false).into()];
        }
        let state = T::Wide::state_type(args.return_type());
        vec![
            Field::new(name("sum"), state, false).into(),
            Field::new(name("count"), DataType::UInt64, false).into(),
        ]
    }

    fn groups(&self, args: &AccumulatorArgs<'_>) -> Box<dyn GroupsAccumulator> {
        Box::new(GroupSums::<T, F>::new(args.return_type()))
    }
}

/// The type of the values, with the digits of a decimal.
fn summand_type<T: Summand>(input_fields: &[FieldRef]) -> DataType {
    let given = input_fields.first().map(|field| field.data_type().clone());
    given.unwrap_or(T::DATA_TYPE)
}

/// The sum of one group, which rows may leave again.
#[derive(Debug)]
struct OneSum<T: Summand, F> {
    sum: T::Wide,
    count: u64,
    result: DataType,
    finish: PhantomData<F>,
}

impl<T: Summand, F: Finish<T>> OneSum<T, F> {
    fn new(result: &DataType) -> Self {
        OneSum {
            sum: T::Wide::default(),
            count: 0,
            result: result.clone(),
            finish: PhantomData,
        }
    }

    fn each(
        &mut self,
        values: &ArrayRef,
        step: impl Fn(T::Wide, T::Wide) -> Option<T::Wide>,
    ) -> Result<u64> {
        let values = values.as_primitive::<T>();
        let mut sum = Some(self.sum);
        let mut add = |value| sum = sum.and_then(|sum| step(sum, T::widen(value)));
        match values.null_count() {
            0 => values.values().iter().copied().for_each(&mut add),
            _ => values.iter().flatten().for_each(&mut add),
        }
        self.sum = sum.ok_or_else(|| too_wide(&self.result))?;
        Ok((values.len() - values.null_count()) as u64)
    }
}

impl<T: Summand, F: Finish<T>> Accumulator for OneSum<T, F> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count += self.each(&values[0], T::Wide::plus)?;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let left = self.each(&values[0], T::Wide::minus)?;
        debug_assert!(
            left <= self.count,
            "{left} values leave a window that has {}",
            self.count
        );
        self.count -= left;
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = states[0].as_primitive::<<T::Wide as Wide>::Stored>();
        for sum in sums.iter().flatten() {
            self.sum = self.sum.plus(sum).ok_or_else(|| too_wide(&self.result))?;
        }
        let counts = states[1].as_primitive::<UInt64Type>();
        self.count += counts.iter().flatten().sum::<u64>();
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let stored = <T::Wide as Wide>::state_type(&self.result);
        let sum = ScalarValue::new_primitive::<<T::Wide as Wide>::Stored>(Some(self.sum), &stored)?;
        Ok(vec![sum, self.count.into()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = match self.count {
            0 => None,
            count => Some(F::of(self.sum, count, &self.result)?),
        };
        ScalarValue::new_primitive::<F::Out>(sum, &self.result)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

/// The sum of the values that differ.
#[derive(Debug)]
struct DistinctSum<T: Summand, F> {
    values: HashSet<T::Native>,
    /// Of the values.
    data_type: DataType,
    result: DataType,
    finish: PhantomData<F>,
}

impl<T: Summand, F: Finish<T>> DistinctSum<T, F> {
    fn new(result: &DataType, input_fields: &[FieldRef]) -> Self {
        DistinctSum {
            values: HashSet::new(),
            data_type: summand_type::<T>(input_fields),
            result: result.clone(),
            finish: PhantomData,
        }
    }
}

impl<T: Summand, F: Finish<T>> Accumulator for DistinctSum<T, F> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = values[0].as_primitive::<T>();
        self.values.extend(values.iter().flatten());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.update_batch(&[values])?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.values.iter().copied();
        let values = PrimitiveArray::<T>::from_iter_values(values);
        let values = values.with_data_type(self.data_type.clone());
        let item = Arc::new(Field::new_list_field(self.data_type.clone(), true));
        let offsets = OffsetBuffer::from_lengths([values.len()]);
        let list = ListArray::try_new(item, offsets, Arc::new(values), None)?;
        Ok(vec![ScalarValue::List(Arc::new(list))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.values.is_empty() {
            return ScalarValue::new_primitive::<F::Out>(None, &self.result);
        }
        let mut sum = T::Wide::default();
        for value in &self.values {
            let next = sum.plus(T::widen(*value));
            sum = next.ok_or_else(|| too_wide(&self.result))?;
        }
        let finished = F::of(sum, self.values.len() as u64, &self.result)?;
        ScalarValue::new_primitive::<F::Out>(Some(finished), &self.result)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.values.capacity() * (size_of::<T::Native>() + 1)
    }
}

/// The sums of many groups.
#[derive(Debug)]
struct GroupSums<T: Summand, F> {
    sums: Vec<T::Wide>,
    counts: Vec<u64>,
    result: DataType,
    of: PhantomData<(T, F)>,
}

impl<T: Summand, F: Finish<T>> GroupSums<T, F> {
    fn new(result: &DataType) -> Self {
        GroupSums {
            sums: Vec::new(),
            counts: Vec::new(),
            result: result.clone(),
            of: PhantomData,
        }
    }

    fn resize(&mut self, groups: usize) {
        debug_assert_eq!(self.sums.len(), self.counts.len());
        debug_assert!(self.sums.len() <= groups, "a group never goes: {groups}");
        self.sums.resize(groups, T::Wide::default());
        self.counts.resize(groups, 0);
    }

    fn add(&mut self, group: usize, value: T::Wide, count: u64) -> Result<()> {
        let sum = self.sums[group].plus(value);
        self.sums[group] = sum.ok_or_else(|| too_wide(&self.result))?;
        self.counts[group] += count;
        Ok(())
    }

    fn emit(&mut self, emit_to: EmitTo) -> (Vec<T::Wide>, Vec<u64>) {
        (
            emit_to.take_needed(&mut self.sums),
            emit_to.take_needed(&mut self.counts),
        )
    }
}

impl<T: Summand, F: Finish<T>> GroupsAccumulator for GroupSums<T, F> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        let values = values[0].as_primitive::<T>();
        if opt_filter.is_none() && values.null_count() == 0 {
            for (group, value) in group_indices.iter().zip(values.values()) {
                self.add(*group, T::widen(*value), 1)?;
            }
            return Ok(());
        }
        for (row, (group, value)) in group_indices.iter().zip(values.iter()).enumerate() {
            let counts = opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if let Some(value) = value.filter(|_| counts) {
                self.add(*group, T::widen(value), 1)?;
            }
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.resize(total_num_groups);
        let sums = values[0].as_primitive::<<T::Wide as Wide>::Stored>();
        let counts = values[1].as_primitive::<UInt64Type>();
        for (row, group) in group_indices.iter().enumerate() {
            if sums.is_valid(row) && counts.is_valid(row) {
                self.add(*group, sums.value(row), counts.value(row))?;
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let (sums, counts) = self.emit(emit_to);
        let mut values = Vec::with_capacity(sums.len());
        for (sum, count) in sums.into_iter().zip(&counts) {
            values.push(match count {
                0 => Default::default(),
                count => F::of(sum, *count, &self.result)?,
            });
        }
        let nulls: NullBuffer = counts.iter().map(|count| *count > 0).collect();
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        let array = PrimitiveArray::<F::Out>::new(ScalarBuffer::from(values), nulls);
        Ok(Arc::new(array.with_data_type(self.result.clone())))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let (sums, counts) = self.emit(emit_to);
        let stored = <T::Wide as Wide>::state_type(&self.result);
        let sums = PrimitiveArray::<<T::Wide as Wide>::Stored>::new(sums.into(), None);
        let counts = PrimitiveArray::<UInt64Type>::new(counts.into(), None);
        Ok(vec![
            Arc::new(sums.with_data_type(stored)),
            Arc::new(counts),
        ])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        opt_filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut each = GroupSums::<T, F>::new(&self.result);
        let groups: Vec<usize> = (0..values[0].len()).collect();
        each.update_batch(values, &groups, opt_filter, groups.len())?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<T::Wide>() + self.counts.capacity() * size_of::<u64>()
    }
}
