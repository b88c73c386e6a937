//! Reads whatever the fuzzer comes up with as a file of one of the formats, or as a job file; see `drive.rs`.

#![no_main]
#![allow(dead_code, unused_imports, unreachable_pub, reason = "modules of another crate")]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

mod drive;
#[path = "../src/names.rs"]
mod names;
#[path = "../src/source/mod.rs"]
pub mod source;
#[path = "../src/spec/mod.rs"]
pub mod spec;

static PLACE: LazyLock<drive::Place> = LazyLock::new(drive::Place::new);

fuzz_target!(|data: &[u8]| PLACE.drive(data));
