//! The queue of spans, and the thread that empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use eciton_trace::{EndedSpan, SpanSink};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::collector::{Answer, Collector, Target};
use crate::error::OtlpError;
use crate::headers::Headers;
use crate::message::Process;

/// Spans that wait at most. What comes then is dropped.
pub const QUEUE_MAX: usize = 4096;
/// Spans of one export.
const BATCH_MAX: usize = 512;
/// How long a span waits for others at most.
const TOGETHER_WITHIN: Duration = Duration::from_secs(1);
/// The first pause after an export that did not reach the collector, and the longest: each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    /// They found no place in the queue.
    crowded: AtomicU64,
    /// The collector did not take them, or they were left at the end.
    refused: AtomicU64,
}

/// Exports spans until it is dropped or [ended](Exporter::end).
pub struct Exporter {
    queue: Arc<Queue>,
    end: Option<(oneshot::Sender<Duration>, JoinHandle<()>)>,
}

/// Where spans wait.
struct Queue {
    sender: mpsc::Sender<EndedSpan>,
    counts: Arc<Counts>,
}

impl SpanSink for Queue {
    fn take(&self, span: EndedSpan) {
        if self.sender.try_send(span).is_err() {
            self.counts.crowded.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Exporter {
    /// Starts a thread that sends spans to the collector at `url`. Nothing is sent before there are spans.
    ///
    /// # Errors
    /// [`OtlpError::Address`] and [`OtlpError::Credentials`] for what is no address to use; [`OtlpError::Thread`].
    pub fn start(url: &str, headers: Headers, process: Process) -> Result<Exporter, OtlpError> {
        let target = Target::new(url, headers, process)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (sender, spans) = mpsc::channel(QUEUE_MAX);
        let counts = Arc::new(Counts::default());
        let (end, ends) = oneshot::channel();
        let kept = Arc::clone(&counts);
        let thread = std::thread::Builder::new().name("otlp".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async move {
                let exporting = Exporting {
                    collector: target.connect(),
                    spans,
                    batch: Vec::with_capacity(BATCH_MAX),
                    counts: kept,
                    told: Counts::default(),
                    is_away: false,
                };
                exporting.run(ends).await;
            });
        })?;
        Ok(Exporter {
            queue: Arc::new(Queue { sender, counts }),
            end: Some((end, thread)),
        })
    }

    /// Where spans go.
    pub fn sink(&self) -> Arc<dyn SpanSink> {
        Arc::clone(&self.queue) as Arc<dyn SpanSink>
    }

    /// Spans that the collector took.
    pub fn exported(&self) -> u64 {
        self.queue.counts.exported.load(Ordering::Relaxed)
    }

    /// Spans that were dropped.
    pub fn dropped(&self) -> u64 {
        let Counts {
            crowded, refused, ..
        } = &*self.queue.counts;
        crowded.load(Ordering::Relaxed) + refused.load(Ordering::Relaxed)
    }

    /// Sends what waits, for so long at most, and ends.
    pub fn end(&mut self, within: Duration) {
        let Some((end, thread)) = self.end.take() else {
            return;
        };
        // A thread that has ended by itself has nothing to end.
        end.send(within).ok();
        thread.join().ok();
    }
}

/// The work of the thread.
struct Exporting {
    collector: Collector,
    spans: mpsc::Receiver<EndedSpan>,
    /// What is sent next.
    batch: Vec<EndedSpan>,
    counts: Arc<Counts>,
    /// What metrics have been told of the counts.
    told: Counts,
    is_away: bool,
}

impl Exporting {
    async fn run(mut self, mut ends: oneshot::Receiver<Duration>) {
        let within = tokio::select! {
            within = &mut ends => within.unwrap_or_default(),
            () = self.work() => Duration::ZERO,
        };
        // What was being sent is sent again: a collector knows a span by its id.
        self.spans.close();
        timeout(within, self.drain()).await.ok();
        let mut left = self.batch.len() as u64;
        while self.spans.try_recv().is_ok() {
            left += 1;
        }
        self.counts.refused.fetch_add(left, Ordering::Relaxed);
        self.tell();
    }

    /// Sends spans as they come.
    async fn work(&mut self) {
        while self.gather().await {
            let mut pause = PAUSES.0;
            while !self.send().await {
                self.tell();
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
            self.tell();
        }
    }

    /// Waits for spans, and a moment for more of them; `false` where none comes any more.
    async fn gather(&mut self) -> bool {
        if self.batch.is_empty() && self.spans.recv_many(&mut self.batch, BATCH_MAX).await == 0 {
            return false;
        }
        let until = Instant::now() + TOGETHER_WITHIN;
        while self.batch.len() < BATCH_MAX {
            let room = BATCH_MAX - self.batch.len();
            tokio::select! {
                count = self.spans.recv_many(&mut self.batch, room) => if count == 0 { break },
                () = sleep_until(until) => break,
            }
        }
        assert!(
            self.batch.len() <= BATCH_MAX,
            "{} spans at once",
            self.batch.len()
        );
        true
    }

    /// Sends what is left, as long as the collector takes it.
    async fn drain(&mut self) {
        loop {
            if !self.batch.is_empty() && !self.send().await {
                return;
            }
            if self.spans.recv_many(&mut self.batch, BATCH_MAX).await == 0 {
                return;
            }
        }
    }

    /// Sends the batch, which is empty then; `false` if it is to be sent again.
    async fn send(&mut self) -> bool {
        let count = self.batch.len() as u64;
        let (exported, refused) = match self.collector.export(&self.batch).await {
            Answer::Took { refused } => {
                if std::mem::replace(&mut self.is_away, false) {
                    tracing::info!("the collector of spans takes them again");
                }
                (count - refused, refused)
            }
            Answer::Refused(status) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    let (code, why) = (status.code(), status.message());
                    tracing::warn!(?code, why, "the collector refuses spans: they are dropped");
                }
                (0, count)
            }
            Answer::Away(status) => {
                if !std::mem::replace(&mut self.is_away, true) {
                    let (code, why) = (status.code(), status.message());
                    tracing::warn!(
                        ?code,
                        why,
                        "the collector takes no spans: they wait, and are dropped where there are too many"
                    );
                }
                return false;
            }
        };
        self.batch.clear();
        self.counts.exported.fetch_add(exported, Ordering::Relaxed);
        self.counts.refused.fetch_add(refused, Ordering::Relaxed);
        true
    }

    /// Has metrics say what the counts do.
    fn tell(&mut self) {
        let more = |now: &AtomicU64, told: &mut AtomicU64| {
            let now = now.load(Ordering::Relaxed);
            now - std::mem::replace(told.get_mut(), now)
        };
        let exported = more(&self.counts.exported, &mut self.told.exported);
        metrics::counter!("eciton_spans_exported_total").increment(exported);
        let crowded = more(&self.counts.crowded, &mut self.told.crowded);
        metrics::counter!("eciton_spans_dropped_total", "reason" => "queue").increment(crowded);
        let refused = more(&self.counts.refused, &mut self.told.refused);
        metrics::counter!("eciton_spans_dropped_total", "reason" => "collector").increment(refused);
    }
}
