//! `avg` of durations, which DataFusion adds up in 64 bits.
//!
//! It takes numbers as floats, and decimals with room for their sums: those are its own.

use std::sync::Arc;

use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Field, FieldRef, TimeUnit,
};
use datafusion::error::Result;
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
};

use super::sum::{Finish, GroupSums, OneSum, Summand, Wide};

/// The function `avg` of a session.
pub(in crate::transform) fn checked_avg() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::new_from_impl(CheckedAvg(Avg::new())))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedAvg(Avg);

macro_rules! with_duration {
    ($data_type:expr, $go:ident) => {
        match $data_type {
            DataType::Duration(TimeUnit::Second) => $go!(DurationSecondType),
            DataType::Duration(TimeUnit::Millisecond) => $go!(DurationMillisecondType),
            DataType::Duration(TimeUnit::Microsecond) => $go!(DurationMicrosecondType),
            DataType::Duration(TimeUnit::Nanosecond) => $go!(DurationNanosecondType),
            _ => None,
        }
    };
}

impl AggregateUDFImpl for CheckedAvg {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn aliases(&self) -> &[String] {
        self.0.aliases()
    }

    fn signature(&self) -> &Signature {
        self.0.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.0.return_type(arg_types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        macro_rules! own {
            ($t:ty) => {
                Some(
                    Box::new(OneSum::<$t>::new(Finish::Mean, args.return_type()))
                        as Box<dyn Accumulator>,
                )
            };
        }
        match with_duration!(args.return_type(), own).filter(|_| !args.is_distinct) {
            Some(own) => Ok(own),
            None => self.0.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        macro_rules! own {
            ($t:ty) => {
                Some(<$t as Summand>::Wide::state_type(args.return_type()))
            };
        }
        let own = with_duration!(args.return_type(), own).filter(|_| !args.is_distinct);
        let Some(state) = own else {
            return self.0.state_fields(args);
        };
        let name = |part| format_state_name(args.name, part);
        Ok(vec![
            Field::new(name("sum"), state, false).into(),
            Field::new(name("count"), DataType::UInt64, false).into(),
        ])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.0.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        macro_rules! own {
            ($t:ty) => {
                Some(
                    Box::new(GroupSums::<$t>::new(Finish::Mean, args.return_type()))
                        as Box<dyn GroupsAccumulator>,
                )
            };
        }
        match with_duration!(args.return_type(), own) {
            Some(own) => Ok(own),
            None => self.0.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}
