//! Every bound of a job file, named. Each is tested at its edge.

/// Bytes of a job file.
pub const JOB_FILE_LEN_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of a job's name.
pub const JOB_NAME_LEN_MAX: usize = 128;
/// Bytes of a store's name.
pub const STORE_NAME_LEN_MAX: usize = 255;
/// Bytes of the name of a value or a column in a job file.
pub const COLUMN_NAME_LEN_MAX: usize = 255;
/// Globs of one source.
pub const PATHS_MAX: usize = 1024;
/// Files that the globs of one source may match.
pub const FILES_MAX: usize = 1_000_000;
/// Strings that stand for NULL.
pub const NULL_VALUES_MAX: usize = 64;
/// Columns of one source.
pub const COLUMNS_MAX: usize = 4096;
/// Bytes of a shard, at least: below it the bookkeeping outweighs the work.
pub const SHARD_SIZE_MIN: u64 = 1024;
/// Bytes of a shard, at most.
pub const SHARD_SIZE_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// Bytes of a shard when the job file says nothing.
pub const SHARD_SIZE_DEFAULT: u64 = 8 * 1024 * 1024;
/// Values of one `range` shard, at most.
pub const SHARD_LEN_MAX: u64 = 1 << 40;
/// Shards of one job.
pub const SHARDS_MAX: u64 = 1 << 22;
/// Bytes of a transform's SQL.
pub const SQL_LEN_MAX: usize = 1024 * 1024;
/// Columns of a key.
pub const KEY_COLUMNS_MAX: usize = 32;
/// Parts of a merged record.
pub const VALUES_MAX: usize = 1024;
/// Attempts of one shard, at most.
pub const ATTEMPTS_MAX: u32 = 1000;
/// Attempts of one shard when the job file says nothing.
pub const ATTEMPTS_DEFAULT: u32 = 4;
/// Milliseconds of a lease, at least.
pub const LEASE_MS_MIN: u64 = 100;
/// Milliseconds of a lease, at most.
pub const LEASE_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Milliseconds of a timeout or a deadline, at least.
pub const LIMIT_MS_MIN: u64 = 100;
/// Milliseconds of a timeout or a deadline, at most.
pub const LIMIT_MS_MAX: u64 = 365 * 24 * 60 * 60 * 1000;
/// The priority of a job, at most; the same below nought, at least.
pub const PRIORITY_MAX: i32 = 100;
/// Milliseconds of a lease when the job file says nothing.
pub const LEASE_MS_DEFAULT: u64 = 30_000;
/// A program and its arguments.
pub const ARGV_MAX: usize = 1024;
/// Bytes of a program's name and its arguments.
pub const ARGV_LEN_MAX: usize = 64 * 1024;
/// Variables that a program inherits, and variables that are set for it.
pub const VARIABLES_MAX: usize = 256;
/// Bytes of the value of a variable.
pub const VARIABLE_LEN_MAX: usize = 32 * 1024;
/// Exit codes after which a shard is not tried again.
pub const FINAL_EXIT_CODES_MAX: usize = 255;
/// Columns whose values are folders of exported files.
pub const PARTITION_COLUMNS_MAX: usize = 8;
/// Jobs that a job comes after.
pub const INPUTS_MAX: usize = 256;
/// Resources that a shard takes.
pub const RESOURCES_MAX: usize = 32;
/// The amount of a resource.
pub const RESOURCE_AMOUNT_MAX: u64 = 1_000_000;
/// Files that a job carries with it for its program.
pub const COMMAND_FILES_MAX: usize = 64;
/// Bytes of one of them.
pub const COMMAND_FILE_LEN_MAX: u64 = 1024 * 1024;
/// Bytes of all of them. Together with the job file they fit in one call.
pub const COMMAND_FILES_LEN_MAX: usize = 3 * 1024 * 1024;
/// Bytes of address space of a program, at least.
pub const PROGRAM_MEMORY_MIN: u64 = 16 * 1024 * 1024;
/// Bytes of address space of a program, at most.
pub const PROGRAM_MEMORY_MAX: u64 = 64 * 1024 * 1024 * 1024 * 1024;
