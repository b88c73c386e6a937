//! The mark of a cast that the query has.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::internal_err;
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// A cast in the form of a function, which no rule takes for one of its own.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Written {
    to: FieldRef,
    signature: Signature,
}

/// Marks a cast.
pub(super) fn marked(cast: Cast) -> Expr {
    let func = Arc::new(ScalarUDF::new_from_impl(Written {
        to: cast.field,
        signature: Signature::any(1, Volatility::Immutable),
    }));
    Expr::ScalarFunction(ScalarFunction::new_udf(func, vec![*cast.expr]))
}

/// Whether an expression is a marked cast.
pub(super) fn is_marked(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().downcast_ref::<Written>().is_some())
}

/// The cast that was marked; other expressions as they are.
pub(super) fn unmarked(expr: Expr) -> Result<Expr> {
    let Expr::ScalarFunction(call) = &expr else {
        return Ok(expr);
    };
    let Some(written) = call.func.inner().downcast_ref::<Written>() else {
        return Ok(expr);
    };
    let to = Arc::clone(&written.to);
    match (expr, to) {
        (Expr::ScalarFunction(mut call), to) if call.args.len() == 1 => {
            let inner = Box::new(call.args.remove(0));
            Ok(Expr::Cast(Cast::new_from_field(inner, to)))
        }
        _ => internal_err!("a cast has one argument"),
    }
}

impl ScalarUDFImpl for Written {
    fn name(&self) -> &'static str {
        "cast"
    }

    /// The name that a column has by the cast: none of its own.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [inner] => Ok(inner.schema_name().to_string()),
            args => internal_err!("a cast of {} arguments", args.len()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.to.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let field = Field::new("cast", self.to.data_type().clone(), nullable);
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("a mark is no function")
    }
}
