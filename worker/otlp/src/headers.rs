//! Headers of every export: how hosted collectors know who calls.

use std::fmt;

use tonic::metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue};

use crate::error::OtlpError;

/// The environment variable that has them, as OpenTelemetry names it.
pub const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

/// Headers of every export. Their values may be secrets: they are never shown.
#[derive(Clone, Default)]
pub struct Headers(Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Headers {
    /// Reads `name=value,name=value`; characters of values may be `%20`-encoded.
    ///
    /// # Errors
    /// [`OtlpError::Header`] with the place of an entry that is none.
    pub fn parse(text: &str) -> Result<Headers, OtlpError> {
        let entries = text.split(',').map(str::trim).enumerate();
        let entries = entries.filter(|(_, entry)| !entry.is_empty());
        let parsed =
            entries.map(|(index, entry)| header(entry).ok_or(OtlpError::Header(index + 1)));
        parsed.collect::<Result<_, _>>().map(Headers)
    }

    pub(crate) fn add_to(&self, metadata: &mut MetadataMap) {
        for (name, value) in &self.0 {
            metadata.insert(name.clone(), value.clone());
        }
    }
}

fn header(entry: &str) -> Option<(MetadataKey<Ascii>, MetadataValue<Ascii>)> {
    let (name, value) = entry.split_once('=')?;
    let name = name.trim().to_ascii_lowercase().parse().ok()?;
    let mut value = decoded(value.trim())?
        .parse::<MetadataValue<Ascii>>()
        .ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// The text without its `%20`s.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        rest = more;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, more) = rest.split_at_checked(2)?;
        rest = more;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_never_shown() {
        let headers = Headers::parse("Authorization=Bearer%20s3cret, x-tenant = a=b ,").unwrap();
        let mut metadata = MetadataMap::new();
        headers.add_to(&mut metadata);
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer s3cret");
        assert_eq!(metadata.get("x-tenant").unwrap(), "a=b");
        let shown = format!("{headers:?} {metadata:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
        for (wrong, entry) in [
            ("a=b,novalue", "entry 2"),
            ("a=%2", "entry 1"),
            ("a b=c", "entry 1"),
        ] {
            let told = Headers::parse(wrong).unwrap_err().to_string();
            assert!(
                told.contains(entry) && !told.contains("novalue"),
                "{wrong}: {told}"
            );
        }
        assert!(Headers::parse("").unwrap().0.is_empty());
    }
}
