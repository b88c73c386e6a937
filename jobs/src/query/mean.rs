//! The average of decimals as a function of their sum and their count.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Decimal128Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, Field, FieldRef, Int64Type};
use datafusion::common::{exec_err, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::merged::mean_of;

/// Divides a sum of decimals by a count of them.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DecimalMean {
    precision: u8,
    places: i8,
    /// What the query calls it.
    what: String,
    signature: Signature,
}

/// A sum divided by a count, as a decimal of this precision and with so many places.
pub(super) fn decimal_mean(
    sum: Expr,
    count: Expr,
    precision: u8,
    places: i8,
    what: String,
) -> Expr {
    let func = Arc::new(ScalarUDF::new_from_impl(DecimalMean {
        precision,
        places,
        what,
        signature: Signature::any(2, Volatility::Immutable),
    }));
    Expr::ScalarFunction(ScalarFunction::new_udf(func, vec![sum, count]))
}

impl ScalarUDFImpl for DecimalMean {
    fn name(&self) -> &'static str {
        "decimal_mean"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(self.precision, self.places))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let data_type = self.return_type(&[])?;
        debug_assert_eq!(args.arg_fields.len(), 2, "a sum and a count");
        // Of no value there is no average.
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [sums, counts] = args.args.as_slice() else {
            return internal_err!("a sum and a count, found {} values", args.args.len());
        };
        let sums = sums.to_array(args.number_rows)?;
        let counts = cast(&counts.to_array(args.number_rows)?, &DataType::Int64)?;
        let (sums, counts) = match sums.data_type() {
            DataType::Decimal128(..) => (
                sums.as_primitive::<Decimal128Type>(),
                counts.as_primitive::<Int64Type>(),
            ),
            other => return internal_err!("a sum of type {other}"),
        };
        debug_assert_eq!(sums.len(), counts.len(), "sums and counts");
        let mut means = Vec::with_capacity(sums.len());
        for row in 0..sums.len() {
            if sums.is_null(row) || counts.is_null(row) || counts.value(row) == 0 {
                means.push(None);
                continue;
            }
            let count = counts.value(row).into();
            let mean = mean_of(sums.value(row), sums.scale(), count, self.places);
            let is_within =
                |mean: &i128| Decimal128Type::is_valid_decimal_precision(*mean, self.precision);
            match mean.filter(is_within) {
                Some(mean) => means.push(Some(mean)),
                None => {
                    return exec_err!(
                        "overflow: `{}` of the sum {} is beyond {}",
                        self.what,
                        sums.value_as_string(row),
                        DataType::Decimal128(self.precision, self.places)
                    );
                }
            }
        }
        let means = Decimal128Array::from(means);
        let means = means.with_precision_and_scale(self.precision, self.places)?;
        Ok(ColumnarValue::Array(Arc::new(means)))
    }
}
