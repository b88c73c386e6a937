//! Quantiles and spreads of SQL as merge operators.

use arrow::datatypes::DataType;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::AggregateFunctionParams;
use datafusion::scalar::ScalarValue;
use eciton_engine::Datum;

use super::merged::decimal_places;

/// The operator of an aggregate that says how far values spread.
pub(super) fn spread_of(name: &str) -> Option<&'static str> {
    match name {
        "var" => Some("var_samp"),
        "var_pop" => Some("var_pop"),
        "stddev" => Some("stddev_samp"),
        "stddev_pop" => Some("stddev_pop"),
        _ => None,
    }
}

/// The quantile that an aggregate asks for: of what, and as the argument of `approx_quantile`. Of
/// `approx_percentile_cont(x, q)`, with or without a number of centroids, of `approx_percentile_cont(q) WITHIN GROUP (ORDER BY
/// x)`, and of `approx_median(x)`.
pub(super) fn quantile_of<'a>(
    name: &str,
    params: &'a AggregateFunctionParams,
) -> Option<(&'a Expr, String)> {
    let args = params.args.as_slice();
    match (name, params.order_by.as_slice()) {
        ("approx_median", []) => match args {
            [argument] => Some((argument, "0.5".to_owned())),
            _ => None,
        },
        ("approx_percentile_cont", []) => {
            let (argument, rest) = args.split_first()?;
            Some((argument, share(rest, false)?))
        }
        ("approx_percentile_cont", [sort]) => {
            // The planner puts what is ordered before the other arguments, perhaps with another name or type.
            let rest = match args {
                [first, rest @ ..] if number(first).is_none() => rest,
                all => all,
            };
            Some((&sort.expr, share(rest, !sort.asc)?))
        }
        _ => None,
    }
}

/// A quantile from 0 to 1 with at most six places, counted from the other end if the order is descending.
fn share(args: &[Expr], is_descending: bool) -> Option<String> {
    let ([quantile] | [quantile, _]) = args else {
        return None;
    };
    let quantile = number(quantile)?;
    let quantile = if is_descending {
        1.0 - quantile
    } else {
        quantile
    };
    // A difference from 1 has more places by rounding.
    let rounded = (quantile * 1e6).round() / 1e6;
    let is_exact = (rounded - quantile).abs() < 1e-12 && (0.0..=1.0).contains(&rounded);
    is_exact.then(|| rounded.to_string())
}

/// A number that is written out.
fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(value, _) => match value.cast_to(&DataType::Float64).ok()? {
            ScalarValue::Float64(number) => number,
            _ => None,
        },
        Expr::Cast(cast) => number(&cast.expr),
        _ => None,
    }
}

/// An approximate number as a value of the type that SQL gives it: as near to 0 as what it stands for, or nearer.
pub(super) fn of_type(datum: Datum, data_type: &DataType) -> Datum {
    let Datum::Float(value) = datum else {
        return datum;
    };
    #[allow(
        clippy::cast_possible_truncation,
        reason = "cut off, and held to the type afterwards"
    )]
    if data_type.is_integer() {
        Datum::Int(value.trunc() as i128)
    } else if let Some(scale) = decimal_places(data_type) {
        let unscaled = (value * 10f64.powi(scale.into())).trunc() as i128;
        Datum::Decimal { unscaled, scale }
    } else {
        Datum::Float(value)
    }
}
