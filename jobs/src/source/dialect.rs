//! How a text format separates records and fields.

use eciton_proto::v1::{Format, SourceSpec};

/// The separators of a text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    /// Whether a quoted field may hold a newline, so that only reading from the start tells where records
    /// end. Never so for JSON lines.
    pub(super) newlines: bool,
    /// Whether the first record names the columns.
    pub(super) header: bool,
}

impl Dialect {
    /// The dialect of a text source; `None` for the others.
    pub(super) fn of(spec: &SourceSpec) -> Option<Self> {
        let byte = |code: u32, default: u8| u8::try_from(code).unwrap_or(default);
        match spec.format() {
            Format::Csv | Format::Tsv => Some(Self {
                delimiter: byte(spec.delimiter, b','),
                quote: byte(spec.quote, b'"'),
                newlines: spec.newlines_in_values,
                header: spec.header,
            }),
            Format::Jsonl => Some(Self {
                delimiter: b',',
                quote: b'"',
                newlines: false,
                header: false,
            }),
            Format::Unspecified | Format::Parquet | Format::Range | Format::Store => None,
        }
    }
}
