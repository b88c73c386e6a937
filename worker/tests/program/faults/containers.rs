//! Compressed files and Parquet.
