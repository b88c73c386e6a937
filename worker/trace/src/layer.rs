//! The layer that gives spans their ids.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::fields::Fields;
use crate::ids::{self, SpanId, TraceId, caller};
use crate::span::{EndedSpan, OpenSpan};

/// What the targets of our crates begin with.
const OWN: &str = "eciton";
/// The field that says why a span failed.
const ERROR: &str = "error";
/// The field that names the caller.
const TRACEPARENT: &str = "traceparent";

/// Takes spans that have ended. It must not wait: whoever ends a span does.
pub trait SpanSink: Send + Sync {
    /// Takes one.
    fn take(&self, span: EndedSpan);
}

/// Gives spans their ids, and hands those that have ended to a sink, if there is one.
#[derive(Default)]
pub struct Spans {
    sink: Option<Arc<dyn SpanSink>>,
}

impl Spans {
    /// Hands spans that have ended to `sink`; without one, they only have ids.
    pub fn new(sink: Option<Arc<dyn SpanSink>>) -> Spans {
        Spans { sink }
    }
}

/// Whether this is a span of one of our crates: others have no ids and go nowhere.
pub fn is_own(metadata: &Metadata<'_>) -> bool {
    let own = metadata.target().strip_prefix(OWN);
    metadata.is_span() && own.is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', ':']))
}

impl<S> Layer<S> for Spans
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id).filter(|span| is_own(span.metadata())) else {
            return;
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let parent = span.scope().skip(1).find_map(|parent| {
            let extensions = parent.extensions();
            let open = extensions.get::<OpenSpan>()?;
            Some((open.trace, open.id))
        });
        let parent = parent.or_else(|| fields.text(TRACEPARENT).and_then(caller));
        let of_job = || {
            let (name, number) = (fields.text("job")?, fields.int("number")?);
            let number = u64::try_from(number).ok()?;
            let trace = TraceId::of_job(name, number, fields.int("submitted_ms")?);
            ids::opened(name, trace);
            Some(trace)
        };
        let (trace, names_job) = match parent {
            Some((trace, _)) => (trace, false),
            None => of_job().map_or_else(|| (TraceId::drawn(), false), |trace| (trace, true)),
        };
        let open = OpenSpan {
            trace,
            id: SpanId::drawn(),
            parent: parent.map(|(_, id)| id),
            began: SystemTime::now(),
            since: Instant::now(),
            fields,
            names_job,
        };
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<OpenSpan>()
        {
            values.record(&mut open.fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let Some(open) = span.extensions_mut().remove::<OpenSpan>() else {
            return;
        };
        if open.names_job
            && let Some(job) = open.fields.text("job")
        {
            ids::closed(job);
        }
        let Some(sink) = &self.sink else {
            return;
        };
        let error = open.fields.text(ERROR).map(str::to_owned);
        let mut fields = open.fields.0;
        fields.retain(|(name, _)| ![ERROR, TRACEPARENT].contains(name));
        sink.take(EndedSpan {
            trace: open.trace,
            id: open.id,
            parent: open.parent,
            name: span.metadata().name(),
            began: open.began,
            // By a clock that never goes back.
            ended: open.began + open.since.elapsed(),
            error,
            fields,
        });
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use tracing::field::Empty;
    use tracing::{debug_span, subscriber};
    use tracing_subscriber::prelude::*;

    use super::*;
    use crate::span::{SpanValue, scope_of};

    #[derive(Default)]
    struct Kept(Mutex<Vec<EndedSpan>>);

    impl SpanSink for Kept {
        fn take(&self, span: EndedSpan) {
            self.0.lock().push(span);
        }
    }

    /// What `work` leaves.
    fn spans_of(work: impl FnOnce()) -> Vec<EndedSpan> {
        let kept = Arc::new(Kept::default());
        let layer = Spans::new(Some(kept.clone()));
        subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        std::mem::take(&mut *kept.0.lock())
    }

    #[test]
    fn spans_of_a_job_are_in_its_trace_and_name_their_parents() {
        let spans = spans_of(|| {
            let job = debug_span!("job", job = "a", number = 7_u64, submitted_ms = 5_i64);
            let _entered = job.enter();
            let shard = debug_span!("shard", shard = 3_u64, error = Empty);
            shard.record("error", "no file");
        });
        let [shard, job] = &spans[..] else {
            panic!("{spans:?}");
        };
        assert_eq!((shard.name, job.name), ("shard", "job"));
        assert_eq!(job.trace, TraceId::of_job("a", 7, 5));
        assert_eq!((shard.trace, shard.parent), (job.trace, Some(job.id)));
        assert_eq!(
            (&shard.error, &job.error),
            (&Some("no file".to_owned()), &None)
        );
        assert_eq!(shard.fields, [("shard", SpanValue::Int(3))]);
        assert!(
            job.began <= shard.began && shard.ended <= job.ended,
            "{spans:?}"
        );
    }

    #[test]
    fn a_caller_is_continued_and_a_library_is_not_heard() {
        let spans = spans_of(|| {
            let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            let _submit = debug_span!("submit", traceparent).entered();
            let _request =
                debug_span!(target: "hyper", "request", authorization = "secret").entered();
            let _below = debug_span!("below").entered();
        });
        let [below, submit] = &spans[..] else {
            panic!("{spans:?}");
        };
        assert_eq!(submit.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(submit.parent.unwrap().to_string(), "b7ad6b7169203331");
        assert_eq!(below.parent, Some(submit.id), "over the library's");
        assert_eq!(submit.fields, []);
    }

    #[test]
    fn the_scope_of_an_event_has_the_innermost_fields() {
        struct Asks(Mutex<Option<crate::SpanContext>>);
        impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for &'static Asks {
            fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
                let span = context.event_span(event).unwrap();
                *self.0.lock() = scope_of(&span, &["job", "shard"]);
            }
        }
        static ASKS: Asks = Asks(Mutex::new(None));
        let layers = tracing_subscriber::registry()
            .with(Spans::default())
            .with(&ASKS);
        subscriber::with_default(layers, || {
            let _job = debug_span!("job", job = "a", shard = 1_u64).entered();
            let _shard = debug_span!("shard", shard = 2_u64).entered();
            tracing::info!("told");
        });
        let found = ASKS.0.lock().take().unwrap();
        let fields = [
            ("shard", SpanValue::Int(2)),
            ("job", SpanValue::Text("a".to_owned())),
        ];
        assert_eq!(found.fields, fields);
    }
}
