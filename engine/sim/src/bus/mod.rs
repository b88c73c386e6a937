//! [`SimBus`]: the bus between processes, which loses, repeats, delays, reorders, corrupts and
//! forgets.

mod maps;

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use bytes::Bytes;
use eciton_engine::base::{InstanceId, Position, TxId};
use eciton_engine::coord::{Answered, Bus, Mailbox, OfferId, Offered};
use futures::FutureExt;
use parking_lot::Mutex;

use crate::clock::{sleep, yield_now};
use crate::context::Shared;
use crate::executor::ProcessId;
use crate::fault::FaultKind;
use crate::plan::Drawn;
use crate::random::{place, scaled};
use maps::{Maps, Snapshot};

/// What can happen to a message.
const MESSAGE: [FaultKind; 5] = [
    FaultKind::BusLost,
    FaultKind::BusDuplicated,
    FaultKind::BusDelayed,
    FaultKind::BusReordered,
    FaultKind::BusCorrupted,
];
/// What can happen to what is asked for.
const ANSWER: [FaultKind; 2] = [FaultKind::BusLost, FaultKind::BusCorrupted];
const CLAIM: [FaultKind; 2] = [FaultKind::ClaimForgotten, FaultKind::ClaimTwice];

/// Virtual milliseconds by which messages are late.
const LATE_MS: [u64; 5] = [2, 10, 50, 300, 2_000];

/// The bus itself, shared by all processes.
pub struct BusHub {
    shared: Arc<Shared>,
    maps: Mutex<Maps>,
    snapshot: Mutex<Snapshot>,
    /// Who cannot reach it until when; `None` is everybody.
    unreachable: Mutex<Vec<(Option<ProcessId>, u64)>>,
}

/// A message of any kind.
#[derive(Clone)]
enum Message {
    Offer(Offered),
    Answer(Mailbox, TxId, Bytes),
    Slot(Position, Bytes),
}

impl Message {
    fn bytes_mut(&mut self) -> &mut Bytes {
        match self {
            Message::Offer(offered) => &mut offered.intents,
            Message::Answer(_, _, bytes) | Message::Slot(_, bytes) => bytes,
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Offer(offered) => {
                let (id, len) = (offered.id.0, offered.intents.len());
                write!(f, "offer {id:032x}: {len} bytes")
            }
            Message::Answer(_, txid, bytes) => write!(f, "answer {txid}: {} bytes", bytes.len()),
            Message::Slot(n, bytes) => write!(f, "slot {n}: {} bytes", bytes.len()),
        }
    }
}

impl BusHub {
    pub(crate) fn new(shared: Arc<Shared>) -> BusHub {
        BusHub {
            shared,
            maps: Mutex::new(Maps::default()),
            snapshot: Mutex::new(Snapshot::default()),
            unreachable: Mutex::new(Vec::new()),
        }
    }

    /// Forgets everything.
    pub fn flush(&self) {
        self.maps.lock().restore(Snapshot::default());
    }

    /// Becomes what it was when it was last remembered, and remembers what it was until now.
    pub fn roll_back(&self) {
        let mut maps = self.maps.lock();
        let before = maps.snapshot();
        let snapshot = std::mem::replace(&mut *self.snapshot.lock(), before);
        maps.restore(snapshot);
    }

    /// Remembers what it is now, for a roll-back.
    pub fn remember(&self) {
        *self.snapshot.lock() = self.maps.lock().snapshot();
    }

    /// Cannot be reached by a process, or by any, until then.
    pub fn cut(&self, process: Option<ProcessId>, until_ms: u64) {
        self.unreachable.lock().push((process, until_ms));
    }

    /// Can be reached by everybody.
    pub fn heal(&self) {
        self.unreachable.lock().clear();
    }

    fn is_reachable(&self, process: ProcessId) -> bool {
        let mut cuts = self.unreachable.lock();
        if cuts.is_empty() {
            return true;
        }
        let now = self.shared.kernel.now_ms();
        cuts.retain(|(_, until)| *until > now);
        !cuts.iter().any(|(of, _)| of.is_none_or(|of| of == process))
    }

    fn deliver(&self, of: InstanceId, message: Message, order: u64) {
        let woken = {
            let mut maps = self.maps.lock();
            match message {
                Message::Offer(offered) => maps.add_offer(of, offered, order),
                Message::Answer(to, txid, bytes) => maps.add_answer(of, to, txid, bytes),
                Message::Slot(n, bytes) => maps.add_slot(of, n, bytes),
            }
            maps.take_waiting()
        };
        for waker in woken {
            waker.wake();
        }
    }
}

/// The bus as one process sees it.
#[derive(Clone)]
pub struct SimBus {
    hub: Arc<BusHub>,
    process: ProcessId,
}

impl SimBus {
    /// The bus as `process` sees it.
    pub fn new(hub: Arc<BusHub>, process: ProcessId) -> SimBus {
        SimBus { hub, process }
    }

    fn shared(&self) -> &Shared {
        &self.hub.shared
    }

    fn log(&self, what: fmt::Arguments<'_>) {
        self.shared()
            .log(Some(self.process), format_args!("bus {what}"));
    }

    fn inject(&self, drawn: Drawn, object: impl fmt::Display) -> bool {
        self.shared().inject(Some(self.process), drawn.kind, object)
    }

    /// Lets others go first; `false` if the bus cannot be reached, which takes a while to find out.
    async fn reach(&self) -> bool {
        yield_now().await;
        if self.hub.is_reachable(self.process) {
            return true;
        }
        self.log(format_args!("unreachable"));
        sleep(&self.shared().kernel, 20).await;
        false
    }

    /// Sends a message, or does to it what is drawn.
    fn send(&self, of: InstanceId, mut message: Message) {
        let newest = self.shared().kernel.steps();
        let drawn = self.shared().draw(&MESSAGE);
        let Some(drawn) = drawn.filter(|drawn| self.inject(*drawn, &message)) else {
            self.log(format_args!("send {message}"));
            self.hub.deliver(of, message, newest);
            return;
        };
        match drawn.kind {
            FaultKind::BusLost => {}
            FaultKind::BusDelayed => self.send_later(of, message, drawn.bits),
            FaultKind::BusDuplicated => {
                self.hub.deliver(of, message.clone(), newest);
                self.send_later(of, message, drawn.bits);
            }
            FaultKind::BusReordered => {
                let order = scaled(drawn.bits, newest + 1);
                self.hub.deliver(of, message, order);
            }
            _ => {
                let bytes = corrupted(message.bytes_mut(), drawn.bits);
                *message.bytes_mut() = bytes;
                self.hub.deliver(of, message, newest);
            }
        }
    }

    fn send_later(&self, of: InstanceId, message: Message, bits: u64) {
        let ms = LATE_MS[place(bits, LATE_MS.len())];
        let hub = Arc::clone(&self.hub);
        self.shared().later(ms, move || {
            hub.shared.log(None, format_args!("bus late {message}"));
            let newest = hub.shared.kernel.steps();
            hub.deliver(of, message, newest);
        });
    }

    /// What was asked for, on its way back.
    fn receive(&self, what: impl fmt::Display, bytes: Option<Bytes>) -> Option<Bytes> {
        let bytes = bytes?;
        let drawn = self.shared().draw(&ANSWER);
        match drawn.filter(|drawn| self.inject(*drawn, &what)) {
            None => Some(bytes),
            Some(drawn) if drawn.kind == FaultKind::BusCorrupted => {
                Some(corrupted(&bytes, drawn.bits))
            }
            Some(_) => None,
        }
    }

    /// Waits until there are answers, or until that time has gone by.
    async fn wait(&self, of: InstanceId, mailbox: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)> {
        let mut deadline = sleep(&self.shared().kernel, ms_max);
        poll_fn(|context| {
            let mut maps = self.hub.maps.lock();
            let answers = maps.take_answers(of, mailbox);
            if !answers.is_empty() {
                return Poll::Ready(answers);
            }
            maps.wait(of, mailbox, context.waker());
            drop(maps);
            deadline.poll_unpin(context).map(|()| Vec::new())
        })
        .await
    }
}

/// The same bytes with another one among them.
fn corrupted(bytes: &Bytes, bits: u64) -> Bytes {
    let mut bytes = bytes.to_vec();
    if !bytes.is_empty() {
        let at = place(bits, bytes.len());
        // Never 0, so that something changes.
        bytes[at] ^= bits.to_le_bytes()[0] | 1;
    }
    bytes.into()
}

#[async_trait]
impl Bus for SimBus {
    async fn publish(&self, of: InstanceId, by: Mailbox, id: OfferId, intents: Bytes) {
        if self.reach().await {
            self.send(of, Message::Offer(Offered { by, id, intents }));
            self.shared().gap().await;
        }
    }

    async fn intents(
        &self,
        of: InstanceId,
        but: Mailbox,
        count_max: usize,
        len_max: usize,
    ) -> Vec<Offered> {
        if !self.reach().await {
            return Vec::new();
        }
        let offers = self.hub.maps.lock().offers(of, but, count_max, len_max);
        self.log(format_args!("{} offers", offers.len()));
        let received = offers
            .into_iter()
            .filter_map(|Offered { by, id, intents }| {
                let intents = self.receive("an offer", Some(intents))?;
                Some(Offered { by, id, intents })
            });
        received.collect()
    }

    async fn settle(&self, of: InstanceId, settled: Vec<OfferId>, answers: Vec<Answered>) {
        if !self.reach().await {
            return;
        }
        for id in settled {
            self.hub.maps.lock().remove_offer(of, id);
        }
        for Answered { to, txid, answer } in answers {
            self.send(of, Message::Answer(to, txid, answer));
        }
        self.shared().gap().await;
    }

    async fn answers(&self, of: InstanceId, mailbox: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)> {
        if !self.reach().await {
            sleep(&self.shared().kernel, ms_max).await;
            return Vec::new();
        }
        let answers = self.wait(of, mailbox, ms_max).await;
        self.log(format_args!("{} answers", answers.len()));
        let received = answers.into_iter().filter_map(|(txid, bytes)| {
            let bytes = self.receive(format_args!("answer {txid}"), Some(bytes))?;
            Some((txid, bytes))
        });
        received.collect()
    }

    async fn claim(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> bool {
        if !self.reach().await {
            return false;
        }
        let now = self.shared().kernel.now_ms();
        let mut is_granted = self.hub.maps.lock().claim(of, name, owner, now, now + ms);
        if let Some(drawn) = self.shared().draw(&CLAIM) {
            let is_forgotten = drawn.kind == FaultKind::ClaimForgotten;
            // A claim that is taken can get lost at once, so that the next one gets it, too; one
            // that another has can be granted all the same.
            if is_forgotten == is_granted && self.inject(drawn, name) {
                if is_forgotten {
                    self.hub.maps.lock().release(of, name, owner);
                }
                is_granted = true;
            }
        }
        self.log(format_args!("claim {name}: {is_granted}"));
        self.shared().gap().await;
        is_granted
    }

    async fn release(&self, of: InstanceId, name: &str, owner: u128) {
        if self.reach().await {
            self.hub.maps.lock().release(of, name, owner);
            self.log(format_args!("release {name}"));
        }
    }

    async fn offer_slot(&self, of: InstanceId, n: Position, slot: Bytes) {
        if self.reach().await {
            self.send(of, Message::Slot(n, slot));
        }
    }

    async fn slot(&self, of: InstanceId, n: Position) -> Option<Bytes> {
        if !self.reach().await {
            return None;
        }
        let slot = self.hub.maps.lock().slot(of, n);
        let has = if slot.is_some() { "has" } else { "lacks" };
        self.log(format_args!("{has} slot {n}"));
        self.receive(format_args!("slot {n}"), slot)
    }
}
