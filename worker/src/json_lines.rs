//! Log lines for programs: one JSON object per event.

use std::fmt::{self, Debug};
use std::io::Write;

use eciton_trace::{SpanContext, SpanValue, scope_of, trace_of};
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Keys that every line has; a field of the same name follows with `_`.
const OWN: [&str; 7] = [
    "time", "level", "message", "target", "worker", "trace", "span",
];
/// Fields of spans that lines within them have, too, unless the event itself says them.
const OF_SPANS: [&str; 3] = ["job", "shard", "transaction"];

/// Writes a line per event. `W` makes the writer of a line.
pub(crate) struct JsonLines<W> {
    writer: fn() -> W,
    worker: String,
}

impl<W: Write> JsonLines<W> {
    /// Lines of the worker of that name.
    pub(crate) fn new(writer: fn() -> W, worker: String) -> JsonLines<W> {
        JsonLines { writer, worker }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Write + 'static,
{
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let span = context.event_span(event);
        let scope = span.and_then(|span| scope_of(&span, &OF_SPANS));
        let mut line = line(event, &self.worker, scope);
        line.push('\n');
        // In one piece, so that lines of several threads do not mix. Whether or not anyone reads it, the work goes on.
        (self.writer)().write_all(line.as_bytes()).ok();
    }
}

fn line(event: &Event<'_>, worker: &str, scope: Option<SpanContext>) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let metadata = event.metadata();
    let mut time = String::new();
    SystemTime.format_time(&mut Writer::new(&mut time)).ok();
    let mut line = Map::new();
    line.insert("time".to_owned(), time.into());
    line.insert("level".to_owned(), metadata.level().as_str().into());
    line.insert("message".to_owned(), fields.message.into());
    let (ids, around) = match scope {
        Some(scope) => (Some((scope.trace, scope.span)), scope.fields),
        None => (None, Vec::new()),
    };
    line.append(&mut fields.rest);
    for (name, value) in around {
        line.entry(name).or_insert_with(|| value_of(value));
    }
    let of_job = line.get("job").and_then(Value::as_str).map(trace_of);
    let trace = ids.map(|(trace, _)| trace).or(of_job);
    line.insert("target".to_owned(), metadata.target().into());
    line.insert("worker".to_owned(), worker.into());
    if let Some(trace) = trace {
        line.insert("trace".to_owned(), trace.to_string().into());
    }
    if let Some((_, span)) = ids {
        line.insert("span".to_owned(), span.to_string().into());
    }
    Value::Object(line).to_string()
}

fn value_of(value: SpanValue) -> Value {
    match value {
        SpanValue::Text(text) => text.into(),
        SpanValue::Int(value) => value.into(),
        SpanValue::Float(value) => value.into(),
        SpanValue::Bool(value) => value.into(),
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        let name = match OWN.contains(&name) {
            true => format!("{name}_"),
            false => name.to_owned(),
        };
        self.rest.insert(name, value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            _ => self.add(field, value),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = |value: &dyn Debug| {
            let mut text = String::new();
            fmt::write(&mut text, format_args!("{value:?}")).ok();
            text
        };
        match field.name() {
            "message" => self.message = text(value),
            _ => self.add(field, text(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use parking_lot::Mutex;
    use tracing_subscriber::prelude::*;

    use super::*;

    static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

    struct Buffer;

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            WRITTEN.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_a_line_with_its_fields_and_the_trace_of_its_job() {
        let layer = JsonLines::new(|| Buffer, "node/7".to_owned());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let error = io::Error::other("a \"quoted\"\nreason");
            tracing::warn!(job = "a", shard = 3, %error, level = "own", share = 0.5, "it {}", "failed");
            tracing::info!("listening");
        });
        let text = String::from_utf8(std::mem::take(&mut *WRITTEN.lock())).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        let first = &lines[0];
        for (key, value) in [
            ("level", "WARN"),
            ("message", "it failed"),
            ("job", "a"),
            ("error", "a \"quoted\"\nreason"),
            ("level_", "own"),
            ("worker", "node/7"),
        ] {
            assert_eq!(first[key], value, "{text}");
        }
        assert_eq!((&first["shard"], &first["share"]), (&3.into(), &0.5.into()));
        assert_eq!(first["trace"], trace_of("a").to_string());
        assert_eq!(trace_of("a").to_string().len(), 32);
        assert_eq!(first.get("span"), None, "{text}");
        assert!(first["time"].as_str().unwrap().ends_with('Z'), "{text}");
        assert_eq!(lines[1].get("trace"), None, "{text}");
    }
}
