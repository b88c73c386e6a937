//! Functions of which a result beyond the type is not noticed by themselves.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float64Type, Int64Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// Seconds from which on nanoseconds are beyond 64 bits.
const SECONDS_MAX: f64 = 9_223_372_036.0;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Check {
    /// The result is no number below nought.
    Natural,
    /// Floats that are taken as seconds have nanoseconds.
    Seconds,
}

/// A function with a look at what it takes or gives.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedFunction {
    inner: Arc<ScalarUDF>,
    check: Check,
}

/// A function to be put in the place of one that does not notice.
pub(super) fn checked_function(func: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let check = match func.name() {
        "gcd" => Check::Natural,
        "to_timestamp" => Check::Seconds,
        _ => return None,
    };
    if func.inner().downcast_ref::<CheckedFunction>().is_some() {
        return None;
    }
    Some(Arc::new(ScalarUDF::new_from_impl(CheckedFunction {
        inner: Arc::clone(func),
        check,
    })))
}

impl ScalarUDFImpl for CheckedFunction {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.check == Check::Seconds
            && let Some(seconds) = args
                .args
                .first()
                .filter(|arg| arg.data_type().is_floating())
        {
            let seconds = cast(&array(seconds)?, &DataType::Float64)?;
            let mut seconds = seconds.as_primitive::<Float64Type>().iter().flatten();
            if let Some(beyond) =
                seconds.find(|seconds| seconds.is_nan() || seconds.abs() >= SECONDS_MAX)
            {
                return exec_err!("overflow: {}({beyond}) is beyond nanoseconds", self.name());
            }
        }
        let result = self.inner.invoke_with_args(args)?;
        if self.check == Check::Natural && result.data_type() == DataType::Int64 {
            let values = array(&result)?;
            let mut values = values.as_primitive::<Int64Type>().iter().flatten();
            if values.any(|value| value < 0) {
                return exec_err!("overflow: a result of {} is beyond Int64", self.name());
            }
        }
        Ok(result)
    }
}

fn array(value: &ColumnarValue) -> Result<Arc<dyn Array>> {
    match value {
        ColumnarValue::Array(array) => Ok(Arc::clone(array)),
        ColumnarValue::Scalar(scalar) => scalar.to_array(),
    }
}
