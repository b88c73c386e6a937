//! The `.proto` files as documents: everything in them says what it is, and names limits that there are.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use protox::prost_reflect::prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto")
}

fn names() -> Vec<String> {
    let folder = fs::read_dir(root().join("eciton/v1")).expect("the .proto files are there");
    let names = folder.map(|entry| entry.expect("a file").file_name());
    let names = names.map(|name| format!("eciton/v1/{}", name.to_string_lossy()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Every file, with its comments.
fn files() -> FileDescriptorSet {
    protox::compile(names(), [root()]).expect("the .proto files compile")
}

/// Everything in a file that has a name, by its path in the descriptor.
#[derive(Default)]
struct Named(BTreeMap<Vec<i32>, String>);

impl Named {
    fn add(&mut self, path: &[i32], step: i32, index: usize, name: &str) -> Vec<i32> {
        let index = i32::try_from(index).expect("few");
        let path = [path, &[step, index]].concat();
        self.0.insert(path.clone(), name.to_owned());
        path
    }

    fn message(&mut self, path: &[i32], message: &DescriptorProto) {
        for (index, field) in message.field.iter().enumerate() {
            let name = format!("{}.{}", message.name(), field.name());
            self.add(path, 2, index, &name);
        }
        for (index, nested) in message.nested_type.iter().enumerate() {
            let path = self.add(path, 3, index, nested.name());
            self.message(&path, nested);
        }
        for (index, nested) in message.enum_type.iter().enumerate() {
            let path = self.add(path, 4, index, nested.name());
            self.values(&path, nested);
        }
    }

    fn values(&mut self, path: &[i32], of: &EnumDescriptorProto) {
        for (index, value) in of.value.iter().enumerate() {
            self.add(path, 2, index, value.name());
        }
    }
}

#[test]
fn everything_says_what_it_is() {
    let mut silent = Vec::new();
    for file in files().file {
        let mut named = Named::default();
        for (index, message) in file.message_type.iter().enumerate() {
            let path = named.add(&[], 4, index, message.name());
            named.message(&path, message);
        }
        for (index, of) in file.enum_type.iter().enumerate() {
            let path = named.add(&[], 5, index, of.name());
            named.values(&path, of);
        }
        for (index, service) in file.service.iter().enumerate() {
            let path = named.add(&[], 6, index, service.name());
            for (index, call) in service.method.iter().enumerate() {
                named.add(&path, 2, index, call.name());
            }
        }
        let comments = file.source_code_info.as_ref().map(|info| &info.location);
        for location in comments.into_iter().flatten() {
            if location.leading_comments.is_some() || location.trailing_comments.is_some() {
                named.0.remove(&location.path);
            }
        }
        let names = named.0.into_values();
        silent.extend(names.map(|name| format!("{}: {name}", file.name())));
    }
    assert!(
        silent.is_empty(),
        "without a comment:\n{}",
        silent.join("\n")
    );
}

/// The words that are names of constants.
fn limits(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_name(c));
    let limits = words.filter(|word| {
        let ends = ["_MAX", "_MIN", "_DEFAULT"];
        ends.iter().any(|end| word.ends_with(end))
    });
    limits.map(str::to_owned).collect()
}

#[test]
fn limits_that_are_named_are_there_and_the_reverse() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/limits.rs");
    let source = fs::read_to_string(source).expect("the limits are there");
    let there = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "));
    let there = there.filter_map(|line| line.split(':').next());
    let there: BTreeSet<String> = there.map(str::to_owned).collect();
    let mut named = BTreeSet::new();
    for name in names() {
        let text = fs::read_to_string(root().join(name)).expect("a .proto file");
        named.extend(limits(&text));
    }
    assert_eq!(named, there);
}
