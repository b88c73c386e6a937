//! Every bound of reading a source, named. Each is tested at its edge.

/// Rows of one batch.
pub const BATCH_ROWS_MAX: usize = 8192;
/// Bytes of text decoded at once; a longer record makes its block longer.
pub const BLOCK_LEN: usize = 512 * 1024;
/// Bytes of one record of a text format. Beyond it a quote was left open, or it is no text.
pub const RECORD_LEN_MAX: usize = 16 * 1024 * 1024;
/// Rows that types are inferred from.
pub const SAMPLE_ROWS_MAX: usize = 1000;
/// Bytes that types are inferred from, where rows are very long.
pub const SAMPLE_LEN_MAX: usize = 32 * 1024 * 1024;
/// Files of one chunk of the plan.
pub const FILES_PER_CHUNK: usize = 256;
/// Shards of one chunk of the plan.
pub const SHARDS_PER_CHUNK: usize = 4096;
/// Characters of a value shown in a message.
pub const SHOWN_LEN_MAX: usize = 64;
/// Bytes hashed to find the done shards of a mended file, as a multiple of its length.
pub const MEND_READ_FACTOR_MAX: u64 = 64;
/// Bytes of the footer of a Parquet file.
pub const FOOTER_LEN_MAX: u64 = 256 * 1024 * 1024;
/// Bytes of a page of a Parquet file, decompressed.
pub const PAGE_LEN_MAX: usize = 1024 * 1024 * 1024;
/// Bytes of the header of a page, with its statistics.
pub const PAGE_HEADER_LEN_MAX: usize = 16 * 1024 * 1024;
/// Bytes of a zstd window: what `zstd --long=31` makes, the most that its own program reads.
pub const WINDOW_LEN_MAX: u64 = 1 << 31;
/// Bytes of a zstd window that every reader may have. Larger ones share [`WINDOW_LEN_MAX`] within a process.
pub const WINDOW_LEN_FREE: u64 = 128 << 20;
/// Bytes of memory that decoding one xz file may take: what `xz -9` needs is a quarter of it.
pub const XZ_MEMORY_LEN_MAX: u64 = 256 << 20;
/// Values of one batch, where its columns are many.
pub const BATCH_VALUES_MAX: usize = 1 << 20;

/// Rows of one batch of so many columns.
pub(super) fn batch_rows(columns: usize) -> usize {
    (BATCH_VALUES_MAX / columns.max(1)).clamp(1, BATCH_ROWS_MAX)
}
