//! Line ends, blank lines, malformed and sparse records.
