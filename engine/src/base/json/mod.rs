//! Values and keys as JSON, as the command line, logs and other languages see them.
//!
//! What JSON has is written as JSON: `null`, truth values, numbers, text. Integers are exact over the
//! ranges of `i64` and `u64`, a number with a point or an exponent is a float. The rest are objects
//! of one member:
//!
//! | value | form |
//! |---|---|
//! | moment | `{"$ts":"2013-01-01T10:00:00Z"}`, UTC, as many fraction digits as it needs, at most 6 |
//! | bytes | `{"$bytes":"AP8="}`, base64 with padding |
//! | UUID | `{"$uuid":"67e55044-10b1-426f-9247-bb680e5fe0c8"}` |
//! | decimal | `{"$dec":"12.30"}` |
//! | float without a JSON form | `{"$f64":"NaN"}`, `{"$f64":"Inf"}`, `{"$f64":"-Inf"}` |
//! | descending field of a key | `{"$desc":5}` around any of the above |
//!
//! A key is one such scalar, or a flat array of them for a tuple.
//!
//! ```
//! use eciton_engine::Key;
//!
//! let key = Key::parse_json(r#"["AA", {"$ts":"2013-01-01T12:00:00.50+02:00"}]"#)?;
//! assert_eq!(key.to_string(), r#"["AA",{"$ts":"2013-01-01T10:00:00.5Z"}]"#);
//! # Ok::<(), eciton_engine::Error>(())
//! ```

mod datum;
mod key;
mod text;
pub mod timestamp;
mod uuid;

#[cfg(test)]
mod tests;
