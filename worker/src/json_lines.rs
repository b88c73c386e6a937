//! Log lines for programs: one JSON object per event.

use std::fmt::{self, Debug};
use std::io::Write;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;
use xxhash_rust::xxh3::xxh3_128;

/// Keys that every line has; a field of the same name follows with `_`.
const OWN: [&str; 6] = ["time", "level", "message", "target", "worker", "trace"];

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

impl<S: Subscriber, W: Write + 'static> Layer<S> for JsonLines<W> {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = line(event, &self.worker);
        line.push('\n');
        // In one piece, so that lines of several threads do not mix. Whether or not anyone reads it, the work goes on.
        (self.writer)().write_all(line.as_bytes()).ok();
    }
}

fn line(event: &Event<'_>, worker: &str) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let metadata = event.metadata();
    let mut time = String::new();
    SystemTime.format_time(&mut Writer::new(&mut time)).ok();
    let mut line = Map::new();
    line.insert("time".to_owned(), time.into());
    line.insert("level".to_owned(), metadata.level().as_str().into());
    line.insert("message".to_owned(), fields.message.into());
    let trace = fields.rest.get("job").and_then(Value::as_str).map(trace);
    line.append(&mut fields.rest);
    line.insert("target".to_owned(), metadata.target().into());
    line.insert("worker".to_owned(), worker.into());
    if let Some(trace) = trace {
        line.insert("trace".to_owned(), trace.into());
    }
    Value::Object(line).to_string()
}

/// The trace of a job: 32 hexadecimal digits, the same in every process.
fn trace(job: &str) -> String {
    format!("{:032x}", xxh3_128(job.as_bytes()))
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
        assert_eq!(first["trace"], trace("a"));
        assert_eq!(trace("a").len(), 32);
        assert!(first["time"].as_str().unwrap().ends_with('Z'), "{text}");
        assert_eq!(lines[1].get("trace"), None, "{text}");
    }
}
