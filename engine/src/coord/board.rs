//! A bus within one program: what several handles at one database have in common there.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::bus::{Answered, Bus, COMBINING, Claimed, Mailbox, OfferId, Offered};
use super::inbox::Inbox;
use super::notes::Notes;
use crate::base::clock::Clock;
use crate::base::limits::{BUS_INTENTS_LEN_MAX, BUS_INTENTS_MAX, BUS_SLOTS_LEN_MAX, BUS_SLOTS_MAX};
use crate::base::{InstanceId, Position, TxId};

const NS_A_MS: u64 = 1_000_000;

/// A bus in memory, which loses nothing within its bounds.
pub struct Board {
    clock: Arc<dyn Clock>,
    databases: Mutex<HashMap<InstanceId, Database>>,
    mailboxes: Mutex<HashMap<Mailbox, Arc<Inbox>>>,
}

#[derive(Default)]
struct Database {
    /// By age.
    offers: BTreeMap<u64, Offered>,
    places: HashMap<OfferId, u64>,
    place_next: u64,
    offers_len: usize,
    slots: BTreeMap<Position, Bytes>,
    slots_len: usize,
    /// Owner and end of each claim.
    claims: HashMap<String, (u128, u64)>,
    /// Who waits for each, in order, and for how many milliseconds it is then claimed.
    lines: HashMap<String, VecDeque<(u128, u64)>>,
    notes: Notes,
}

impl Database {
    fn remove(&mut self, id: OfferId) {
        let place = self.places.remove(&id);
        if let Some(offered) = place.and_then(|place| self.offers.remove(&place)) {
            assert!(
                offered.intents.len() <= self.offers_len,
                "an offer of {} bytes among {}",
                offered.intents.len(),
                self.offers_len
            );
            self.offers_len -= offered.intents.len();
        }
        assert_eq!(
            self.places.len(),
            self.offers.len(),
            "each offer has its place"
        );
    }

    /// Whether `owner` has the claim now.
    fn claim(&mut self, name: &str, owner: u128, now: u64, ms: u64) -> bool {
        self.claims.retain(|_, (_, until)| *until > now);
        let holder = self.claims.get(name);
        let is_free = holder.is_none_or(|(holder, _)| *holder == owner);
        if is_free {
            let until = now.saturating_add(ms.saturating_mul(NS_A_MS));
            self.claims.insert(name.to_owned(), (owner, until));
            self.leave(name, owner);
            let line = self.lines.get(name);
            assert!(
                line.is_none_or(|line| line.iter().all(|(waits, _)| *waits != owner)),
                "{owner:032x} has {name} and waits for it"
            );
        }
        is_free
    }

    fn leave(&mut self, name: &str, owner: u128) {
        if let Some(line) = self.lines.get_mut(name) {
            line.retain(|(waits, _)| *waits != owner);
        }
    }

    /// Whose turn it is to look, after `owner` let go of a claim.
    fn release(&mut self, name: &str, owner: u128, now: u64) -> Option<Mailbox> {
        self.leave(name, owner);
        let is_own = |(holder, _): &(u128, u64)| *holder == owner;
        if !self.claims.get(name).is_some_and(is_own) {
            return None;
        }
        self.claims.remove(name);
        let line = self.lines.get_mut(name);
        let (heir, ms) = line.and_then(VecDeque::pop_front)?;
        self.claim(name, heir, now, ms);
        Some(Mailbox(heir))
    }
}

impl Board {
    /// A board with nothing on it.
    pub fn new(clock: Arc<dyn Clock>) -> Board {
        Board {
            clock,
            databases: Mutex::default(),
            mailboxes: Mutex::default(),
        }
    }

    fn inbox(&self, mailbox: Mailbox) -> Arc<Inbox> {
        Arc::clone(self.mailboxes.lock().entry(mailbox).or_default())
    }
}

#[async_trait]
impl Bus for Board {
    async fn publish(&self, of: InstanceId, by: Mailbox, id: OfferId, intents: Bytes) {
        if intents.len() > BUS_INTENTS_LEN_MAX {
            return;
        }
        let mut databases = self.databases.lock();
        let database = databases.entry(of).or_default();
        database.remove(id);
        database.offers_len += intents.len();
        database.places.insert(id, database.place_next);
        let offered = Offered { by, id, intents };
        database.offers.insert(database.place_next, offered);
        database.place_next += 1;
        while database.offers.len() > BUS_INTENTS_MAX || database.offers_len > BUS_INTENTS_LEN_MAX {
            let Some(oldest) = database.offers.first_entry().map(|oldest| oldest.get().id) else {
                break;
            };
            database.remove(oldest);
        }
        assert!(
            database.offers_len <= BUS_INTENTS_LEN_MAX,
            "{} bytes of offers",
            database.offers_len
        );
        assert!(
            database.offers.len() <= BUS_INTENTS_MAX,
            "{} offers",
            database.offers.len()
        );
    }

    async fn intents(
        &self,
        of: InstanceId,
        but: Mailbox,
        count_max: usize,
        len_max: usize,
    ) -> Vec<Offered> {
        let databases = self.databases.lock();
        let Some(database) = databases.get(&of) else {
            return Vec::new();
        };
        let mut len = 0;
        let offers = database.offers.values();
        let others = offers.filter(|offered| offered.by != but).take(count_max);
        let fits = others.take_while(|offered| {
            len += offered.intents.len();
            len <= len_max
        });
        fits.cloned().collect()
    }

    async fn settle(&self, of: InstanceId, settled: Vec<OfferId>, answers: Vec<Answered>) {
        if let Some(database) = self.databases.lock().get_mut(&of) {
            for id in settled {
                database.remove(id);
            }
            for answered in &answers {
                database.leave(COMBINING, answered.to.0);
            }
        }
        for Answered { to, txid, answer } in answers {
            self.inbox(to).put([(txid, answer)]);
        }
    }

    async fn answers(&self, _of: InstanceId, mailbox: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)> {
        let inbox = self.inbox(mailbox);
        inbox.take(&*self.clock, ms_max).await
    }

    async fn claim(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> bool {
        let now = self.clock.monotonic_ns();
        let mut databases = self.databases.lock();
        let database = databases.entry(of).or_default();
        database.claim(name, owner, now, ms)
    }

    async fn stand(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> Claimed {
        let now = self.clock.monotonic_ns();
        let mut databases = self.databases.lock();
        let database = databases.entry(of).or_default();
        if database.claim(name, owner, now, ms) {
            return Claimed::Held;
        }
        let line = database.lines.entry(name.to_owned()).or_default();
        let own = line.iter().position(|(waits, _)| *waits == owner);
        let before = own.unwrap_or(line.len());
        match line.get_mut(before) {
            Some(own) => own.1 = ms,
            None => line.push_back((owner, ms)),
        }
        assert!(
            before < line.len(),
            "{owner:032x} stands behind {before} in a line of {}",
            line.len()
        );
        Claimed::Behind(before as u64)
    }

    async fn release(&self, of: InstanceId, name: &str, owner: u128) {
        let now = self.clock.monotonic_ns();
        let next = {
            let mut databases = self.databases.lock();
            let database = databases.get_mut(&of);
            database.and_then(|database| database.release(name, owner, now))
        };
        if let Some(next) = next {
            self.inbox(next).nudge();
        }
    }

    async fn announce(&self, of: InstanceId, id: &str, note: Bytes, ms: u64) {
        let now = self.clock.monotonic_ns();
        let mut databases = self.databases.lock();
        databases
            .entry(of)
            .or_default()
            .notes
            .put(id, note, now, ms);
    }

    async fn announced(&self, of: InstanceId) -> Vec<(String, Bytes)> {
        let now = self.clock.monotonic_ns();
        let mut databases = self.databases.lock();
        databases
            .get_mut(&of)
            .map_or_else(Vec::new, |database| database.notes.shown(now))
    }

    async fn offer_slot(&self, of: InstanceId, n: Position, slot: Bytes) {
        if slot.len() > BUS_SLOTS_LEN_MAX {
            return;
        }
        let mut databases = self.databases.lock();
        let database = databases.entry(of).or_default();
        database.slots_len += slot.len();
        let before = database.slots.insert(n, slot);
        database.slots_len -= before.map_or(0, |before| before.len());
        while database.slots.len() > BUS_SLOTS_MAX || database.slots_len > BUS_SLOTS_LEN_MAX {
            let oldest = database.slots.pop_first();
            database.slots_len -= oldest.map_or(0, |(_, oldest)| oldest.len());
        }
        assert!(
            database.slots_len <= BUS_SLOTS_LEN_MAX,
            "{} bytes of slots",
            database.slots_len
        );
        assert!(
            !database.slots.is_empty() || database.slots_len == 0,
            "{} bytes of no slots",
            database.slots_len
        );
    }

    async fn slot(&self, of: InstanceId, n: Position) -> Option<Bytes> {
        self.databases.lock().get(&of)?.slots.get(&n).cloned()
    }
}
