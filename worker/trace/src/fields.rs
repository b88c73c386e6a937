//! The fields of spans.

use std::fmt::{self, Debug};

use tracing::field::{Field, Visit};

use crate::span::SpanValue;

/// What is longer is cut: an error may quote a record.
const TEXT_LEN_MAX: usize = 1024;

/// Fields in the order in which they were recorded first. Few, so that a list is quicker than a map.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(pub(crate) Vec<(&'static str, SpanValue)>);

impl Fields {
    pub(crate) fn get(&self, name: &str) -> Option<&SpanValue> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(SpanValue::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(SpanValue::Int(value)) => Some(*value),
            _ => None,
        }
    }

    fn set(&mut self, field: &Field, value: SpanValue) {
        match self.0.iter_mut().find(|(name, _)| *name == field.name()) {
            Some((_, known)) => *known = value,
            None => self.0.push((field.name(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, SpanValue::Float(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, SpanValue::Int(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // As a collector has numbers.
        self.set(
            field,
            SpanValue::Int(i64::try_from(value).unwrap_or(i64::MAX)),
        );
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, SpanValue::Bool(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let end = value.floor_char_boundary(TEXT_LEN_MAX);
        self.set(field, SpanValue::Text(value[..end].to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // What cannot be said is left out.
        fmt::write(&mut text, format_args!("{value:?}")).ok();
        self.record_str(field, &text);
    }
}
