//! Ids of traces and spans, as the W3C and OpenTelemetry have them.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_128;

/// The version of `traceparent` that is read.
const VERSION: &str = "00";

/// Names a trace; never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceId(u128);

/// Names a span of a trace; never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SpanId(u64);

impl TraceId {
    /// The trace of a job: the same in every process, another one for another job of its name.
    pub fn of_job(name: &str, number: u64, submitted_ms: i64) -> TraceId {
        let text = format!("{number}/{submitted_ms}/{name}");
        TraceId(xxh3_128(text.as_bytes()).max(1))
    }

    /// The trace of what is only known by a name.
    pub fn of_name(name: &str) -> TraceId {
        TraceId(xxh3_128(name.as_bytes()).max(1))
    }

    /// A trace that nobody else has.
    pub(crate) fn drawn() -> TraceId {
        TraceId((u128::from(drawn()) << 64) | u128::from(drawn()))
    }

    /// Its bytes, the most significant first.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    pub(crate) fn drawn() -> SpanId {
        SpanId(drawn())
    }

    /// Its bytes, the most significant first.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// 32 hexadecimal digits.
impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A number above 0 that no other call draws, here or elsewhere: keys that the system drew for this process, over a count.
fn drawn() -> u64 {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEYS.hash_one(COUNT.fetch_add(1, Ordering::Relaxed)).max(1)
}

/// The caller's trace and span, from a header `traceparent`; `None` for what is none.
pub(crate) fn caller(traceparent: &str) -> Option<(TraceId, SpanId)> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |text: &str| {
        text.bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if (version, trace.len(), span.len(), flags.len()) != (VERSION, 32, 16, 2)
        || parts.next().is_some()
        || ![trace, span, flags].into_iter().all(is_hex)
    {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|id| *id > 0)?;
    let span = u64::from_str_radix(span, 16).ok().filter(|id| *id > 0)?;
    Some((TraceId(trace), SpanId(span)))
}

/// The traces of jobs that have spans now, and how many.
static OPEN: LazyLock<Mutex<HashMap<String, (TraceId, usize)>>> = LazyLock::new(Mutex::default);

pub(crate) fn opened(job: &str, trace: TraceId) {
    let mut open = OPEN.lock();
    let entry = open.entry(job.to_owned()).or_insert((trace, 0));
    *entry = (trace, entry.1 + 1);
}

pub(crate) fn closed(job: &str) {
    let mut open = OPEN.lock();
    if let Some((_, spans)) = open.get_mut(job) {
        *spans -= 1;
        if *spans == 0 {
            open.remove(job);
        }
    }
}

/// The trace of the job of this name: that of its spans while it has any, else one that follows from the name.
pub fn trace_of(job: &str) -> TraceId {
    let open = OPEN.lock().get(job).copied();
    open.map_or_else(|| TraceId::of_name(job), |(trace, _)| trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_one_trace_and_another_of_its_name_has_another() {
        let trace = TraceId::of_job("nightly", 3, 1_700_000_000_000);
        assert_eq!(trace, TraceId::of_job("nightly", 3, 1_700_000_000_000));
        for other in [
            TraceId::of_job("nightly", 4, 1_700_000_000_000),
            TraceId::of_job("nightly", 3, 1_700_000_000_001),
            TraceId::of_job("weekly", 3, 1_700_000_000_000),
        ] {
            assert_ne!(trace, other);
        }
        assert_eq!(trace.to_string().len(), 32);
        assert_ne!(SpanId::drawn(), SpanId::drawn());
    }

    #[test]
    fn only_a_whole_traceparent_names_a_caller() {
        let whole = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let (trace, span) = caller(whole).unwrap();
        assert_eq!(trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span.to_string(), "b7ad6b7169203331");
        for wrong in [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(caller(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_job_is_known_by_its_name_while_it_has_spans() {
        let trace = TraceId::of_job("known", 1, 1);
        assert_eq!(trace_of("known"), TraceId::of_name("known"));
        opened("known", trace);
        opened("known", trace);
        closed("known");
        assert_eq!(trace_of("known"), trace);
        closed("known");
        assert_eq!(trace_of("known"), TraceId::of_name("known"));
    }
}
