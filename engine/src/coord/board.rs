//! A bus within one program: what several handles at one database have in common there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use super::bus::{Answered, Bus, Mailbox, Offered};
use super::inbox::Inbox;
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
    intents: BTreeMap<u64, (TxId, Offered)>,
    places: HashMap<TxId, u64>,
    place_next: u64,
    intents_len: usize,
    slots: BTreeMap<Position, Bytes>,
    slots_len: usize,
    /// Owner and end of each claim.
    claims: HashMap<String, (u128, u64)>,
}

impl Database {
    fn remove(&mut self, txid: TxId) {
        let place = self.places.remove(&txid);
        if let Some((_, offered)) = place.and_then(|place| self.intents.remove(&place)) {
            self.intents_len -= offered.intent.len();
        }
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
    async fn publish(&self, of: InstanceId, by: Mailbox, txid: TxId, intent: Bytes) {
        if intent.len() > BUS_INTENTS_LEN_MAX {
            return;
        }
        let mut databases = self.databases.lock();
        let database = databases.entry(of).or_default();
        database.remove(txid);
        database.intents_len += intent.len();
        database.places.insert(txid, database.place_next);
        let offered = (txid, Offered { by, intent });
        database.intents.insert(database.place_next, offered);
        database.place_next += 1;
        while database.intents.len() > BUS_INTENTS_MAX || database.intents_len > BUS_INTENTS_LEN_MAX
        {
            let Some(oldest) = database.intents.first_entry().map(|oldest| oldest.get().0) else {
                break;
            };
            database.remove(oldest);
        }
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
        let others = database.intents.values().map(|(_, offered)| offered);
        let others = others.filter(|offered| offered.by != but).take(count_max);
        let fits = others.take_while(|offered| {
            len += offered.intent.len();
            len <= len_max
        });
        fits.cloned().collect()
    }

    async fn settle(&self, of: InstanceId, answered: Vec<Answered>) {
        for Answered { txid, answer } in answered {
            if let Some(database) = self.databases.lock().get_mut(&of) {
                database.remove(txid);
            }
            if let Some((to, answer)) = answer {
                self.inbox(to).put([(txid, answer)]);
            }
        }
    }

    async fn answers(&self, _of: InstanceId, mailbox: Mailbox, ms_max: u64) -> Vec<(TxId, Bytes)> {
        let inbox = self.inbox(mailbox);
        inbox.take(&*self.clock, ms_max).await
    }

    async fn claim(&self, of: InstanceId, name: &str, owner: u128, ms: u64) -> bool {
        let now = self.clock.monotonic_ns();
        let mut databases = self.databases.lock();
        let claims = &mut databases.entry(of).or_default().claims;
        claims.retain(|_, (_, until)| *until > now);
        let is_free = claims.get(name).is_none_or(|(holder, _)| *holder == owner);
        if is_free {
            let until = now.saturating_add(ms.saturating_mul(NS_A_MS));
            claims.insert(name.to_owned(), (owner, until));
        }
        is_free
    }

    async fn release(&self, of: InstanceId, name: &str, owner: u128) {
        let oldest = {
            let mut databases = self.databases.lock();
            let Some(database) = databases.get_mut(&of) else {
                return;
            };
            let is_own = |(holder, _): &(u128, u64)| *holder == owner;
            if !database.claims.get(name).is_some_and(is_own) {
                return;
            }
            database.claims.remove(name);
            let oldest = database.intents.first_key_value();
            oldest.map(|(_, (_, offered))| offered.by)
        };
        if let Some(by) = oldest {
            self.inbox(by).nudge();
        }
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
    }

    async fn slot(&self, of: InstanceId, n: Position) -> Option<Bytes> {
        self.databases.lock().get(&of)?.slots.get(&n).cloned()
    }
}
