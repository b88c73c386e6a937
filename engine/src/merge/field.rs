//! Values as fields of keys.

use super::Kind;
use crate::base::Datum;
use crate::base::key::Fields;

/// The value of one field, NULL where the bytes are none.
pub(super) fn datum(field: &[u8]) -> Datum {
    match Fields::new(field).next() {
        Some(Ok((datum, _))) => datum,
        Some(Err(_)) | None => Datum::Null,
    }
}

/// Bytes of a field of this kind at most; `None` of a kind whose values may be of any length.
pub(super) fn len_max(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Bool => Some(1),
        Kind::Int | Kind::Float | Kind::Date | Kind::Timestamp => Some(9),
        Kind::Uuid => Some(17),
        // Code, exponent, and two of 39 digits a byte.
        Kind::Decimal { .. } => Some(23),
        Kind::Any | Kind::Str | Kind::Bytes => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::key::testing;
    use crate::base::{Direction, KeyBuilder};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn fields_are_as_long_as_is_said(datum in testing::datum()) {
            let Some(kind) = Kind::of(&datum) else { return Ok(()) };
            let mut field = KeyBuilder::new();
            field.push(&datum, Direction::Ascending).unwrap();
            if let Some(max) = len_max(kind) {
                prop_assert!(field.as_bytes().len() <= max, "{datum:?}: {:?}", field.as_bytes());
            }
            prop_assert_eq!(Kind::of(&super::datum(field.as_bytes())).map(|kind| len_max(kind).is_some()),
                Some(len_max(kind).is_some()));
        }
    }
}
