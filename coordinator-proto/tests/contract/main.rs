//! What was once part of the contract stays part of it: the `.proto` files against `contract.txt`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod breaks;
mod compare;
mod model;

use std::path::Path;
use std::{env, fs};

use compare::compare;
use eciton_proto::FILE_DESCRIPTOR_SET;
use eciton_proto::prost::Message as _;
use model::Contract;
use protox::prost_reflect::prost_types::{FileDescriptorSet, MessageOptions};

/// Set to `1`, compatible changes are recorded instead of refused.
const RENEW: &str = "ECITON_RENEW_CONTRACT";

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("contract.txt")
}

fn files() -> FileDescriptorSet {
    FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the exported descriptors decode")
}

fn recorded_text() -> String {
    fs::read_to_string(path()).expect("contract.txt is there")
}

fn recorded() -> Contract {
    Contract::from_text(&recorded_text())
        .unwrap_or_else(|line| panic!("contract.txt:{line}: not of the form that was written"))
}

#[test]
fn nothing_recorded_is_broken() {
    let found = compare(&recorded(), &Contract::of(&files()));
    assert!(
        found.breaks.is_empty(),
        "the contract is broken:\n  {}\n\
         Somebody's program or stored record relies on it. Add a field, a value, a message or a call \
         instead; to remove a field or a value, reserve its number and its name.",
        found.breaks.join("\n  ")
    );
}

#[test]
fn every_addition_is_recorded() {
    let now = Contract::of(&files());
    let found = compare(&recorded(), &now);
    if !found.breaks.is_empty() {
        // The other test's business; they must not be recorded.
        return;
    }
    let text = now.to_text();
    if env::var_os(RENEW).is_some_and(|value| value == "1") {
        fs::write(path(), &text).expect("contract.txt can be written");
    }
    // Not `assert_eq!`: nobody reads both texts.
    assert!(
        recorded_text() == text,
        "nothing is broken, but the contract grew:\n  {}\n\
         Record that with `cargo xtask renew-contract`, and commit contract.txt.",
        found.additions.join("\n  ")
    );
}

#[test]
fn the_text_reads_back() {
    let now = Contract::of(&files());
    assert_eq!(Contract::from_text(&now.to_text()), Ok(now));
}

#[test]
fn text_that_is_damaged_is_refused_with_its_line() {
    for (text, line) in [
        ("field 1 a single string", 1),
        ("message t.M\n  field one a single string", 2),
        ("message t.M\n  field 1 a single", 2),
        ("message t.M\n  value 1 A", 2),
        ("enum t.E\n\n# fine\n  value 1", 4),
        ("service t.S\n  call A one .t.M -> two .t.M", 2),
        ("message t.M\n  reserved 1", 2),
        ("something else", 1),
    ] {
        assert_eq!(Contract::from_text(text), Err(line), "{text}");
    }
}

/// Nothing whose bytes may differ between two encodings of the same message.
#[test]
fn encoding_is_deterministic() {
    for file in files().file {
        for message in file.message_type {
            let maps = message.nested_type.iter().filter(|nested| {
                let options = nested.options.as_ref();
                options.is_some_and(MessageOptions::map_entry)
            });
            assert_eq!(maps.count(), 0, "{}: a map field", message.name());
        }
    }
}
