//! The bus over Redis. Redis may be away, slow, flushed, restarted or fail over at any moment: a call then
//! comes to nothing, at once or within a bound, and comes back to speed by itself.
//!
//! Each database has a connection of its own, to the node that has its keys, and its calls go out in one
//! pipeline as they come. What needs no reply is not waited for. Answers are pushed over the same connection:
//! what is published while it is lost is lost, which costs patience and nothing else.

mod dial;
mod driver;
mod health;
mod link;
mod link_state;
mod names;
mod options;
mod parcel;
mod script;

pub use options::RedisOptions;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::select;
use parking_lot::Mutex;
use redis::Value;

use super::bus::{Answered, Bus, COMBINING, Claimed, Mailbox, OfferId, Offered};
use super::notes::is_short;
use crate::base::clock::Clock;
use crate::base::entropy::Entropy;
use crate::base::limits::{INTENT_LEN_MAX, NOTES_MAX, SLOT_RECORDS_MAX};
use crate::base::{Error, InstanceId, Position, Result, TxId};
use dial::Dialer;
use driver::Driver;
use link::Link;
use names::Names;
use parcel::{bytes, pack_answer, pack_offered, unpack_notes, unpack_offered};
use script::{ANNOUNCE, ANNOUNCED, CLAIM, Call, GET, PUT, RELEASE, SETTLE, STAND, TAKE};

/// Bytes of an offer on the bus at most, what its intents read included; a larger one is combined by who submits it.
const OFFERED_LEN_MAX: usize = 2 * INTENT_LEN_MAX;
/// Milliseconds between two looks whether a link is up.
const LOOK_MS: u64 = 2;
/// Milliseconds for which a claim passes to whoever is next in line, unless it claims for longer.
const HEIR_MS: u64 = 20;
/// Milliseconds that who goes away waits at most until what it has told is sent.
const FLUSH_MS_MAX: u64 = 100;

/// Hints between processes over Redis: see the module.
pub struct RedisBus {
    options: RedisOptions,
    dialer: Arc<Dialer>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    runtime: tokio::runtime::Handle,
    links: Mutex<HashMap<InstanceId, Arc<Link>>>,
}

impl RedisBus {
    /// A bus whose connections are made when a database first needs them, and kept by tasks of the present
    /// tokio runtime until the bus is dropped. Whether Redis can be reached shows only then, and nobody
    /// waits for it.
    ///
    /// # Errors
    /// [`Error::Invalid`]: an address, a certificate or a key that cannot be read; no tokio runtime.
    pub fn new(
        options: RedisOptions,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<RedisBus> {
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|error| Error::Invalid(format!("Redis needs a tokio runtime: {error}")))?;
        let dialer = Arc::new(Dialer::new(&options)?);
        Ok(RedisBus {
            options,
            dialer,
            clock,
            entropy,
            runtime,
            links: Mutex::default(),
        })
    }

    /// Waits up to `ms_max` milliseconds until Redis can be used for a database; whether it can. One that can be reached and
    /// refuses what it is asked for cannot.
    pub async fn connected(&self, of: InstanceId, ms_max: u64) -> bool {
        let link = self.link(of);
        self.wait_for(ms_max, || link.is_of_use()).await
    }

    /// Waits up to `ms_max` milliseconds until it is so; whether it is.
    async fn wait_for(&self, ms_max: u64, is_so: impl Fn() -> bool) -> bool {
        let mut left = ms_max;
        while !is_so() && left > 0 {
            self.clock.sleep_ms(LOOK_MS.min(left)).await;
            left = left.saturating_sub(LOOK_MS);
        }
        is_so()
    }

    fn link(&self, of: InstanceId) -> Arc<Link> {
        let mut links = self.links.lock();
        let make = || {
            Link::new(Names::new(of), &self.runtime, |shared, jobs| Driver {
                shared,
                jobs,
                dialer: Arc::clone(&self.dialer),
                options: self.options.clone(),
                clock: Arc::clone(&self.clock),
                entropy: Arc::clone(&self.entropy),
            })
        };
        let link = links.entry(of).or_insert_with(|| Arc::new(make()));
        Arc::clone(link)
    }

    /// Says that something is to be put among others, of which there are so many at most of so many bytes.
    fn put(&self, keys: Vec<String>, (count_max, len_max): (usize, usize)) -> Call {
        Call::new(&PUT, keys)
            .count(count_max)
            .count(len_max)
            .number(self.options.key_ms_max.max(1))
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn publish(&self, of: InstanceId, by: Mailbox, id: OfferId, intents: Bytes) {
        let link = self.link(of);
        // Before the intents: whoever answers them finds somebody listening.
        link.inbox(by);
        if intents.len() > OFFERED_LEN_MAX || !link.is_up() {
            return;
        }
        let bounds = (self.options.intents_max, self.options.intents_len_max);
        let call = self.put(link.shared.names.intents(), bounds).arg("");
        let call = call.arg(id.0.to_be_bytes().to_vec());
        link.tell(call.arg(pack_offered(&Offered { by, id, intents })));
    }

    async fn intents(
        &self,
        of: InstanceId,
        but: Mailbox,
        count_max: usize,
        len_max: usize,
    ) -> Vec<Offered> {
        let link = self.link(of);
        let call = Call::new(&TAKE, link.shared.names.intents())
            .arg(but.0.to_be_bytes().to_vec())
            .count(count_max)
            .count(len_max)
            .number(self.options.intent_ms_max);
        let mut offered = link.ask(call).await.map_or(Vec::new(), unpack_offered);
        offered.truncate(count_max);
        offered
    }

    async fn settle(&self, of: InstanceId, settled: Vec<OfferId>, answers: Vec<Answered>) {
        let link = self.link(of);
        let mut keys = link.shared.names.intents();
        keys.push(link.shared.names.line(COMBINING));
        let (mut settled, mut answers) = (&settled[..], &answers[..]);
        while !(settled.is_empty() && answers.is_empty()) {
            let (ids, later) = settled.split_at(settled.len().min(SLOT_RECORDS_MAX));
            let (told, then) = answers.split_at(answers.len().min(SLOT_RECORDS_MAX));
            (settled, answers) = (later, then);
            let mut call = Call::new(&SETTLE, keys.clone()).count(ids.len());
            for id in ids {
                call = call.arg(id.0.to_be_bytes().to_vec());
            }
            let mut messages: BTreeMap<Mailbox, BytesMut> = BTreeMap::new();
            for Answered { to, txid, answer } in told {
                pack_answer(messages.entry(*to).or_default(), *txid, answer);
            }
            for (to, message) in messages {
                call = call
                    .arg(link.shared.names.channel(to))
                    .arg(message.freeze());
            }
            link.tell(call);
        }
    }

    async fn answers(&self, of: InstanceId, mailbox: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)> {
        let link = self.link(of);
        let inbox = link.inbox(mailbox);
        // Looked at after the inbox is there: from then on the driver nudges it where the link goes down.
        if !link.is_up() {
            return Vec::new();
        }
        inbox.take(&*self.clock, ms_max).await
    }

    async fn claim(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> bool {
        let link = self.link(of);
        let call = Call::new(&CLAIM, vec![link.shared.names.claim(name)])
            .arg(owner.to_be_bytes().to_vec())
            .number(ms.clamp(1, self.options.key_ms_max.max(1)));
        // Nobody is there who could know of another claim.
        !matches!(link.ask(call).await, Some(Value::Int(0)))
    }

    async fn stand(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> Claimed {
        let link = self.link(of);
        // Before the claim passes: whoever is nudged listens.
        link.inbox(Mailbox(owner));
        let names = &link.shared.names;
        let key_ms_max = self.options.key_ms_max.max(1);
        let call = Call::new(&STAND, vec![names.claim(name), names.line(name)])
            .arg(owner.to_be_bytes().to_vec())
            .number(ms.clamp(1, key_ms_max));
        match link.ask(call.number(key_ms_max)).await {
            Some(Value::Int(before)) => {
                u64::try_from(before).map_or(Claimed::Held, Claimed::Behind)
            }
            _ => Claimed::Held,
        }
    }

    async fn release(&self, of: InstanceId, name: &str, owner: u128) {
        let link = self.link(of);
        let names = &link.shared.names;
        let call = Call::new(&RELEASE, vec![names.claim(name), names.line(name)])
            .arg(owner.to_be_bytes().to_vec());
        link.tell(call.arg(names.channels()).number(HEIR_MS));
    }

    async fn announce(&self, of: InstanceId, id: &str, note: Bytes, ms: u64) {
        let link = self.link(of);
        if !is_short(id, &note) || !link.is_up() {
            return;
        }
        let key_ms_max = self.options.key_ms_max.max(1);
        let call = Call::new(&ANNOUNCE, link.shared.names.notes())
            .arg(id.to_owned())
            .arg(note)
            .number(ms.min(key_ms_max));
        link.tell(call.count(NOTES_MAX).number(key_ms_max));
    }

    async fn announced(&self, of: InstanceId) -> Vec<(String, Bytes)> {
        let link = self.link(of);
        let call = Call::new(&ANNOUNCED, link.shared.names.notes()).count(NOTES_MAX);
        link.ask(call).await.map_or(Vec::new(), unpack_notes)
    }

    async fn offer_slot(&self, of: InstanceId, n: Position, slot: Bytes) {
        let link = self.link(of);
        if slot.len() > self.options.slot_len_max || !link.is_up() {
            return;
        }
        let bounds = (self.options.slots_max, self.options.slots_len_max);
        let call = self.put(link.shared.names.slots(), bounds).number(n.0);
        link.tell(call.number(n.0).arg(slot));
    }

    async fn slot(&self, of: InstanceId, n: Position) -> Option<Bytes> {
        let link = self.link(of);
        let keys = link.shared.names.slots().into_iter().take(1).collect();
        let call = Call::new(&GET, keys).number(n.0);
        link.ask(call.count(self.options.slot_len_max))
            .await
            .and_then(bytes)
    }

    async fn flush(&self, of: InstanceId) {
        let link = self.link(of);
        // Whoever ends soon after his start would not tell that he was alone.
        let health = &link.shared.health;
        if !self
            .wait_for(self.options.connect_ms_max, || health.is_known())
            .await
        {
            health.away(None, "it has not answered so far");
        }
        select(Box::pin(link.flush()), self.clock.sleep_ms(FLUSH_MS_MAX)).await;
    }
}
