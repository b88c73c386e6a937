//! How a text format separates records and fields.

use eciton_proto::v1::SourceSpec;

use super::formats;

/// The separators of a text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
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
        formats::by_number(spec.format)?.dialect(spec)
    }
}
