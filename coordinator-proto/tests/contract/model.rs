//! What of the `.proto` files must not change, and its form as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use protox::prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    MethodDescriptorProto,
};

/// A set of files, by full names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contract {
    pub(crate) messages: BTreeMap<String, Message>,
    pub(crate) enums: BTreeMap<String, Enum>,
    /// By service, then by call.
    pub(crate) services: BTreeMap<String, BTreeMap<String, Call>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) fields: BTreeMap<i32, Field>,
    pub(crate) reserved: Reserved,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// `single`, `optional` (tells absent from 0), `repeated`, or `unpacked` (numbers, repeated one by one).
    pub(crate) label: String,
    /// A scalar's name, or a full name with a point before it.
    pub(crate) kind: String,
    pub(crate) oneof: Option<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Enum {
    pub(crate) values: BTreeMap<i32, String>,
    pub(crate) reserved: Reserved,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) takes: Side,
    pub(crate) gives: Side,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Side {
    pub(crate) message: String,
    pub(crate) streams: bool,
}

/// Numbers and names that nothing may take again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) numbers: Vec<RangeInclusive<i32>>,
    pub(crate) names: BTreeSet<String>,
}

impl Reserved {
    pub(crate) fn has(&self, number: i32) -> bool {
        self.numbers.iter().any(|range| range.contains(&number))
    }

    /// The first number of `range` that is not reserved.
    pub(crate) fn first_missing(&self, range: &RangeInclusive<i32>) -> Option<i32> {
        let mut at = *range.start();
        while at <= *range.end() {
            let Some(covers) = self.numbers.iter().find(|own| own.contains(&at)) else {
                return Some(at);
            };
            at = covers.end().checked_add(1)?;
        }
        None
    }
}

// ---------------------------------------------------------------------------------------------
// From descriptors
// ---------------------------------------------------------------------------------------------

impl Contract {
    pub(crate) fn of(files: &FileDescriptorSet) -> Contract {
        let mut contract = Contract::default();
        for file in &files.file {
            assert_eq!(file.syntax(), "proto3", "{}", file.name());
            for message in &file.message_type {
                contract.add_message(file.package(), message);
            }
            for of in &file.enum_type {
                contract.add_enum(file.package(), of);
            }
            for service in &file.service {
                let calls = service.method.iter();
                let calls = calls.map(|call| (call.name().to_owned(), Call::of(call)));
                let name = format!("{}.{}", file.package(), service.name());
                contract.services.insert(name, calls.collect());
            }
        }
        contract
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        let fields = message.field.iter();
        let fields = fields.map(|field| (field.number(), Field::of(message, field)));
        let fields = fields.collect();
        for nested in &message.nested_type {
            self.add_message(&name, nested);
        }
        for nested in &message.enum_type {
            self.add_enum(&name, nested);
        }
        // Of a message's ranges the end is excluded, of an enum's it is not.
        let numbers = message.reserved_range.iter();
        let reserved = Reserved {
            numbers: numbers
                .map(|range| range.start()..=range.end() - 1)
                .collect(),
            names: message.reserved_name.iter().cloned().collect(),
        };
        self.messages.insert(name, Message { fields, reserved });
    }

    fn add_enum(&mut self, scope: &str, of: &EnumDescriptorProto) {
        let values = of.value.iter();
        let values: BTreeMap<_, _> = values
            .map(|value| (value.number(), value.name().to_owned()))
            .collect();
        assert_eq!(values.len(), of.value.len(), "an alias in {}", of.name());
        let numbers = of.reserved_range.iter();
        let reserved = Reserved {
            numbers: numbers.map(|range| range.start()..=range.end()).collect(),
            names: of.reserved_name.iter().cloned().collect(),
        };
        let name = format!("{scope}.{}", of.name());
        self.enums.insert(name, Enum { values, reserved });
    }
}

impl Field {
    fn of(message: &DescriptorProto, field: &FieldDescriptorProto) -> Field {
        let unpacked = field.options.as_ref().and_then(|options| options.packed) == Some(false);
        let label = match field.label() {
            Label::Repeated if unpacked => "unpacked",
            Label::Repeated => "repeated",
            _ if field.proto3_optional() => "optional",
            _ => "single",
        };
        let kind = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().to_owned(),
            scalar => scalar
                .as_str_name()
                .trim_start_matches("TYPE_")
                .to_lowercase(),
        };
        let oneof = field.oneof_index.filter(|_| !field.proto3_optional());
        let oneof = oneof.and_then(|index| message.oneof_decl.get(usize::try_from(index).ok()?));
        Field {
            name: field.name().to_owned(),
            label: label.to_owned(),
            kind,
            oneof: oneof.map(|oneof| oneof.name().to_owned()),
        }
    }
}

impl Call {
    fn of(call: &MethodDescriptorProto) -> Call {
        let side = |message: &str, streams| Side {
            message: message.to_owned(),
            streams,
        };
        Call {
            takes: side(call.input_type(), call.client_streaming()),
            gives: side(call.output_type(), call.server_streaming()),
        }
    }
}

// ---------------------------------------------------------------------------------------------
// As text
// ---------------------------------------------------------------------------------------------

/// What stands above it all.
const HEAD: &str = "\
# What users of the package eciton.v1 rely on, as recorded last. A test holds the .proto files to it.
# Do not edit: `cargo xtask renew-contract` records additions, and removals that reserve number and name.
";

impl Contract {
    pub(crate) fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        for (name, message) in &self.messages {
            line(&mut text, format_args!("\nmessage {name}"));
            for (number, field) in &message.fields {
                line(&mut text, format_args!("  field {number} {field}"));
            }
            message.reserved.write(&mut text);
        }
        for (name, of) in &self.enums {
            line(&mut text, format_args!("\nenum {name}"));
            for (number, value) in &of.values {
                line(&mut text, format_args!("  value {number} {value}"));
            }
            of.reserved.write(&mut text);
        }
        for (name, calls) in &self.services {
            line(&mut text, format_args!("\nservice {name}"));
            for (name, call) in calls {
                line(&mut text, format_args!("  call {name} {call}"));
            }
        }
        text
    }

    /// Reads what [`Contract::to_text`] wrote.
    ///
    /// # Errors
    /// The number of the line that is not of that form.
    pub(crate) fn from_text(text: &str) -> Result<Contract, usize> {
        let mut contract = Contract::default();
        let mut section = Vec::new();
        for (number, line) in (1_usize..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if !words.is_empty() && !line.starts_with('#') {
                contract.read(&mut section, &words).ok_or(number)?;
            }
        }
        Ok(contract)
    }

    /// One line, within the section that the words of the last one without a margin began.
    fn read(&mut self, section: &mut Vec<String>, words: &[&str]) -> Option<()> {
        if let [kind @ ("message" | "enum" | "service"), name] = words {
            match *kind {
                "message" => drop(self.messages.entry((*name).to_owned()).or_default()),
                "enum" => drop(self.enums.entry((*name).to_owned()).or_default()),
                _ => drop(self.services.entry((*name).to_owned()).or_default()),
            }
            *section = vec![(*kind).to_owned(), (*name).to_owned()];
            return Some(());
        }
        let [kind, name] = section.as_slice() else {
            return None;
        };
        match (kind.as_str(), words) {
            ("message", ["field", number, rest @ ..]) => {
                let fields = &mut self.messages.get_mut(name)?.fields;
                fields.insert(number.parse().ok()?, Field::read(rest)?);
            }
            ("message", ["reserved", rest @ ..]) => {
                self.messages.get_mut(name)?.reserved.read(rest)?;
            }
            ("enum", ["value", number, value]) => {
                let values = &mut self.enums.get_mut(name)?.values;
                values.insert(number.parse().ok()?, (*value).to_owned());
            }
            ("enum", ["reserved", rest @ ..]) => self.enums.get_mut(name)?.reserved.read(rest)?,
            ("service", ["call", call, rest @ ..]) => {
                let calls = self.services.get_mut(name)?;
                calls.insert((*call).to_owned(), Call::read(rest)?);
            }
            _ => return None,
        }
        Some(())
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes everything");
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.name, self.label, self.kind)?;
        match &self.oneof {
            Some(oneof) => write!(f, " oneof {oneof}"),
            None => Ok(()),
        }
    }
}

impl Field {
    fn read(words: &[&str]) -> Option<Field> {
        let (name, label, kind, oneof) = match words {
            [name, label, kind] => (name, label, kind, None),
            [name, label, kind, "oneof", oneof] => (name, label, kind, Some((*oneof).to_owned())),
            _ => return None,
        };
        Some(Field {
            name: (*name).to_owned(),
            label: (*label).to_owned(),
            kind: (*kind).to_owned(),
            oneof,
        })
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.takes, self.gives)
    }
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.streams { "stream" } else { "one" };
        write!(f, "{kind} {}", self.message)
    }
}

impl Call {
    fn read(words: &[&str]) -> Option<Call> {
        let [takes, taken, "->", gives, given] = words else {
            return None;
        };
        let side = |kind: &str, message: &str| {
            let streams = match kind {
                "stream" => true,
                "one" => false,
                _ => return None,
            };
            let message = message.to_owned();
            Some(Side { message, streams })
        };
        Some(Call {
            takes: side(takes, taken)?,
            gives: side(gives, given)?,
        })
    }
}

impl Reserved {
    fn write(&self, text: &mut String) {
        for range in &self.numbers {
            let (start, end) = (range.start(), range.end());
            line(text, format_args!("  reserved numbers {start} {end}"));
        }
        for name in &self.names {
            line(text, format_args!("  reserved name {name}"));
        }
    }

    fn read(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["numbers", start, end] => {
                let range = start.parse().ok()?..=end.parse().ok()?;
                self.numbers.push(range);
            }
            ["name", name] => drop(self.names.insert((*name).to_owned())),
            _ => return None,
        }
        Some(())
    }
}
