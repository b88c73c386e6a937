//! Queries whose result would depend on where shards are cut.
