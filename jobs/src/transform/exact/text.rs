//! Texts that are read as numbers, days and times: what the type does not hold fails instead of being cut off.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::{exec_err, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::transform::around::array_of;
use crate::transform::scope::shown;

/// Places behind the point up to which a float is written out.
const PLACES_MAX: usize = 1_100;

/// What a text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum TextReading {
    /// A time with so many digits of a second.
    Time(usize),
    Day,
    Float,
}

impl TextReading {
    fn of(to: &DataType, is_written: bool) -> Option<TextReading> {
        Some(match to {
            DataType::Timestamp(TimeUnit::Second, _) => TextReading::Time(0),
            DataType::Timestamp(TimeUnit::Millisecond, _) => TextReading::Time(3),
            DataType::Timestamp(TimeUnit::Microsecond, _) => TextReading::Time(6),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => TextReading::Time(9),
            // `CAST(... AS DATE)` says that the time is of no interest, and `CAST(... AS DOUBLE)` that the nearest float will do.
            DataType::Date32 | DataType::Date64 if !is_written => TextReading::Day,
            DataType::Float64 if !is_written => TextReading::Float,
            _ => return None,
        })
    }

    /// Whether nothing of the text is lost. A text that says something else altogether is for the reader to refuse.
    fn keeps(self, text: &str) -> bool {
        match self {
            TextReading::Time(digits) => fraction(text).is_none_or(|fraction| {
                let rest = fraction.get(digits..).unwrap_or_default();
                rest.bytes().all(|digit| digit == b'0')
            }),
            TextReading::Day => {
                let time = text.trim().split_once(['T', ' ']).map(|(_, time)| time);
                let digits = |time: &str| time.bytes().all(|byte| !(b'1'..=b'9').contains(&byte));
                time.is_none_or(digits)
            }
            TextReading::Float => text.parse::<f64>().is_err() || keeps_digits(text),
        }
    }

    fn lost(self) -> &'static str {
        match self {
            TextReading::Time(0) => "a fraction of a second, which this type does not have",
            TextReading::Time(3) => "more digits than milliseconds",
            TextReading::Time(6) => "more digits than microseconds",
            TextReading::Time(_) => "more digits than nanoseconds",
            TextReading::Day => {
                "a time beside a date: write CAST(... AS TIMESTAMP), or CAST(... AS DATE) for its day"
            }
            TextReading::Float => {
                "more digits than a float keeps: write CAST(... AS DOUBLE) if the nearest one will do, or CAST(... AS \
                 DECIMAL(38, 9))"
            }
        }
    }
}

/// The digits of a second that are behind the point.
fn fraction(text: &str) -> Option<&str> {
    let (_, fraction) = text.split_once('.')?;
    let end = fraction.find(|letter: char| !letter.is_ascii_digit());
    Some(&fraction[..end.unwrap_or(fraction.len())])
}

/// Whether the float that is nearest to a number is written with its digits, so that it stands for this number.
pub(in crate::transform) fn keeps_digits(text: &str) -> bool {
    let Ok(float) = text.parse::<f64>() else {
        return false;
    };
    let written = |text: &str| {
        let unsigned = text
            .trim()
            .trim_start_matches(['-', '+'])
            .to_ascii_lowercase();
        let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((&unsigned, "0"));
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{part}");
        let significant = digits.trim_start_matches('0');
        // The power of ten of the first digit: `1.5` and `15e-1` are one number.
        let zeros = i64::try_from(digits.len() - significant.len()).unwrap_or(i64::MAX);
        let whole = i64::try_from(whole.len()).unwrap_or(i64::MAX);
        let power = exponent
            .parse::<i64>()
            .unwrap_or(0)
            .saturating_add(whole - zeros);
        let significant = significant.trim_end_matches('0').to_owned();
        match significant.is_empty() {
            true => (significant, 0),
            false => (significant, power),
        }
    };
    let places = text.split_once('.').map_or(0, |(_, part)| part.len());
    match float.is_finite() {
        true => {
            let own = written(text);
            // As short as can be, or with as many places.
            own == written(&format!("{float:e}"))
                || (places <= PLACES_MAX && own == written(&format!("{float:.places$}")))
        }
        false => !text.bytes().any(|byte| byte.is_ascii_digit()),
    }
}

/// A function that gives the texts that it takes, and fails where one says more than what it is read as.
#[derive(Debug, PartialEq, Eq, Hash)]
struct WholeText {
    what: String,
    reading: TextReading,
    signature: Signature,
}

/// A text that is cast to a type; `None` where nothing can be lost, or nothing is meant to be kept.
pub(super) fn whole_text(inner: &Expr, to: &DataType, is_written: bool) -> Result<Option<Expr>> {
    let Some(reading) = TextReading::of(to, is_written) else {
        return Ok(None);
    };
    if let Expr::Literal(value, _) = inner {
        return match value.try_as_str().flatten() {
            Some(text) if !reading.keeps(text) => {
                let message = format!("`{text}` has {}", reading.lost());
                Err(DataFusionError::Plan(message))
            }
            _ => Ok(None),
        };
    }
    let func = Arc::new(ScalarUDF::new_from_impl(WholeText {
        what: shown(inner),
        reading,
        signature: Signature::any(1, Volatility::Immutable),
    }));
    let call = ScalarFunction::new_udf(func, vec![inner.clone()]);
    Ok(Some(Expr::ScalarFunction(call)))
}

impl ScalarUDFImpl for WholeText {
    fn name(&self) -> &'static str {
        "whole_text"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [inner] => Ok(format!("whole_text({})", inner.schema_name())),
            args => internal_err!("{} texts", args.len()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [text] => Ok(text.clone()),
            types => internal_err!("{} texts", types.len()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields {
            [text] => Ok(Arc::clone(text)),
            fields => internal_err!("{} texts", fields.len()),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(value) = args.args.pop() else {
            return internal_err!("no text");
        };
        let texts: ArrayRef = cast(&array_of(&value)?, &DataType::Utf8View)?;
        let mut texts = texts.as_string_view().iter().flatten();
        match texts.find(|text| !self.reading.keeps(text)) {
            Some(text) => exec_err!(
                "`{}` is `{text}`, which has {}",
                self.what,
                self.reading.lost()
            ),
            None => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TextReading, keeps_digits};

    #[test]
    fn digits_are_kept_or_not() {
        for text in [
            "0",
            "-0.0",
            "1",
            "1.50",
            "15e-1",
            "0.1",
            "1e300",
            "19.99",
            "9007199254740992",
            "5e-324",
            "0.30000000000000004",
            "100000000000000000000",
            "18446744073709549568.0",
            "3.1415926535897931",
            "inf",
            "NaN",
        ] {
            assert!(keeps_digits(text), "{text}");
        }
        for text in [
            "9007199254740993",
            "3.141592653589793238",
            "1e400",
            "1e-400",
            "12345678901234567.89",
            "x",
        ] {
            assert!(!keeps_digits(text), "{text}");
        }
    }

    #[test]
    fn times_are_whole_or_not() {
        for (reading, text, keeps) in [
            (TextReading::Time(6), "2024-01-01T00:00:00.123456Z", true),
            (
                TextReading::Time(6),
                "2024-01-01T00:00:00.123456000+01:00",
                true,
            ),
            (TextReading::Time(6), "2024-01-01T00:00:00.1234567", false),
            (TextReading::Time(0), "2024-01-01 00:00:00.5", false),
            (TextReading::Time(0), "2024-01-01", true),
            (TextReading::Day, "2024-01-01", true),
            (TextReading::Day, "2024-01-01T00:00:00Z", true),
            (TextReading::Day, "2024-01-01 10:00:00", false),
        ] {
            assert_eq!(reading.keeps(text), keeps, "{reading:?} {text}");
        }
    }
}
