//! What every bus must do that is at hand: within its bounds, and while nothing goes wrong.

use std::sync::Arc;

use bytes::Bytes;
use eciton_engine::base::clock::{Clock, SystemClock};
use eciton_engine::base::limits::{NOTE_LEN_MAX, NOTES_MAX};
use eciton_engine::base::{InstanceId, Position, TxId};
use eciton_engine::coord::{Answered, Bus, COMBINING, Claimed, Mailbox, OfferId, Offered};

const OF: InstanceId = InstanceId(0x0ec1);
const OTHER: InstanceId = InstanceId(0x0ec2);
/// Longer than any test takes.
const LONG_MS: u64 = 60_000;
const LEN_MAX: usize = 1_000_000;

/// One process of several on one bus.
pub(crate) struct Process {
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) mailbox: Mailbox,
    /// What must live as long as the test.
    pub(crate) _keep: Option<Arc<dyn Send + Sync>>,
}

impl Process {
    pub(crate) async fn publish(&self, id: u128, text: &'static str) {
        let (id, intents) = (OfferId(id), Bytes::from_static(text.as_bytes()));
        self.bus.publish(OF, self.mailbox, id, intents).await;
        self.arrived().await;
    }

    /// Whatever was called before has reached the bus.
    async fn arrived(&self) {
        self.bus.slot(OF, Position(0)).await;
    }

    async fn seen(&self, count_max: usize, len_max: usize) -> Vec<Bytes> {
        let but = self.mailbox;
        let offered = self.bus.intents(OF, but, count_max, len_max).await;
        offered.into_iter().map(|offered| offered.intents).collect()
    }

    /// Settles the offer `id`, of the one transaction of the same name.
    async fn settle(&self, id: u128, answer: Option<(Mailbox, &'static str)>) {
        let answered = answer.map(|(to, text)| Answered {
            to,
            txid: TxId(id),
            answer: Bytes::from_static(text.as_bytes()),
        });
        let answers = Vec::from_iter(answered);
        self.bus.settle(OF, vec![OfferId(id)], answers).await;
        self.arrived().await;
    }

    async fn answers(&self, ms_max: u64) -> Vec<(TxId, Bytes)> {
        self.bus.answers(OF, self.mailbox, ms_max).await
    }
}

#[allow(unused_macros, reason = "one of the tests uses it")]
/// One test of each property for the bus on which `$processes` makes two processes.
macro_rules! bus_suite {
    ($processes:path) => {
        bus_suite! { $processes:
            intents_are_seen_by_others_oldest_first_until_they_are_settled,
            an_offer_replaces_its_own, intents_come_within_bounds,
            an_answer_goes_to_its_mailbox_before_or_after_somebody_waits,
            answers_come_together, waiting_ends, a_claim_excludes_others_until_it_is_over,
            a_claim_passes_down_the_line, whoever_is_answered_stands_in_no_line,
            slots_are_found_again, databases_see_nothing_of_each_other,
            notes_are_seen_by_all_until_they_are_over_or_taken_away, notes_come_within_bounds,
        }
    };
    ($processes:path: $($property:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $property() {
                let (here, there) = $processes().await;
                $crate::support::bus::$property(&here, &there).await;
            }
        )*
    };
}
#[allow(unused_imports, reason = "one of the tests uses it")]
pub(crate) use bus_suite;

pub(crate) async fn intents_are_seen_by_others_oldest_first_until_they_are_settled(
    here: &Process,
    there: &Process,
) {
    // Not in the order of their names.
    for (id, text) in [(5, "first"), (3, "second"), (9, "third")] {
        here.publish(id, text).await;
        // Within one millisecond they are of one age.
        SystemClock::new().sleep_ms(3).await;
    }
    there.publish(4, "its own").await;
    assert_eq!(there.seen(10, LEN_MAX).await, ["first", "second", "third"]);
    assert_eq!(here.seen(10, LEN_MAX).await, ["its own"]);
    let offered = here.bus.intents(OF, here.mailbox, 10, LEN_MAX).await;
    let expected = Offered {
        by: there.mailbox,
        id: OfferId(4),
        intents: Bytes::from("its own"),
    };
    assert_eq!(offered, [expected]);
    there.settle(3, Some((here.mailbox, "done"))).await;
    here.settle(9, None).await;
    assert_eq!(there.seen(10, LEN_MAX).await, ["first"]);
}

pub(crate) async fn an_offer_replaces_its_own(here: &Process, there: &Process) {
    here.publish(1, "before").await;
    here.publish(1, "after").await;
    assert_eq!(there.seen(10, LEN_MAX).await, ["after"]);
}

pub(crate) async fn intents_come_within_bounds(here: &Process, there: &Process) {
    for id in 0..300 {
        here.publish(id, "0123456789").await;
    }
    assert_eq!(there.seen(7, LEN_MAX).await.len(), 7);
    assert_eq!(there.seen(1000, LEN_MAX).await.len(), 300);
    // A bus may count what it has around them, too.
    let few = there.seen(1000, 200).await.len();
    assert!((4..=20).contains(&few), "{few}");
    assert_eq!(there.seen(0, LEN_MAX).await.len(), 0);
    assert_eq!(there.seen(10, 5).await.len(), 0);
}

pub(crate) async fn an_answer_goes_to_its_mailbox_before_or_after_somebody_waits(
    here: &Process,
    there: &Process,
) {
    here.publish(1, "one").await;
    here.publish(2, "two").await;
    there.publish(3, "three").await;
    let answer = |text: &'static str| Some((here.mailbox, text));
    there.settle(1, answer("early")).await;
    assert_eq!(here.answers(LONG_MS).await, [(TxId(1), "early".into())]);
    let (waited, ()) = tokio::join!(here.answers(LONG_MS), there.settle(2, answer("late")));
    assert_eq!(waited, [(TxId(2), "late".into())]);
    assert_eq!(there.answers(1).await, []);
}

pub(crate) async fn answers_come_together(here: &Process, there: &Process) {
    here.publish(0, "opens the mailbox").await;
    let answer = |id: u128| Answered {
        to: here.mailbox,
        txid: TxId(id),
        answer: Bytes::from("done"),
    };
    let answers = (0..64).map(answer).collect();
    there.bus.settle(OF, vec![OfferId(0)], answers).await;
    let mut answers = here.answers(LONG_MS).await;
    while answers.len() < 64 {
        answers.extend(here.answers(LONG_MS).await);
    }
    let txids: Vec<u128> = answers.iter().map(|(txid, _)| txid.0).collect();
    assert_eq!(txids, (0..64).collect::<Vec<u128>>());
}

pub(crate) async fn waiting_ends(here: &Process, _: &Process) {
    assert_eq!(here.answers(0).await, []);
    assert_eq!(here.answers(5).await, []);
}

pub(crate) async fn a_claim_excludes_others_until_it_is_over(here: &Process, there: &Process) {
    let (here, there) = (&here.bus, &there.bus);
    assert!(here.claim(OF, "work", 1, LONG_MS).await);
    assert!(here.claim(OF, "work", 1, LONG_MS).await);
    assert!(!there.claim(OF, "work", 2, LONG_MS).await);
    assert!(there.claim(OF, "other", 2, LONG_MS).await);
    there.release(OF, "work", 2).await;
    there.slot(OF, Position(0)).await;
    assert!(!there.claim(OF, "work", 2, LONG_MS).await);
    here.release(OF, "work", 1).await;
    here.slot(OF, Position(0)).await;
    assert!(there.claim(OF, "work", 2, 20).await);
    // It ends by itself.
    while !here.claim(OF, "work", 1, LONG_MS).await {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn a_claim_passes_down_the_line(here: &Process, there: &Process) {
    let stand = async |at: &Process, owner| at.bus.stand(OF, COMBINING, owner, LONG_MS).await;
    assert_eq!(stand(here, here.mailbox.0).await, Claimed::Held);
    assert_eq!(stand(there, there.mailbox.0).await, Claimed::Behind(0));
    assert_eq!(stand(there, 3).await, Claimed::Behind(1));
    // Asking again keeps the place.
    assert_eq!(stand(there, there.mailbox.0).await, Claimed::Behind(0));
    assert_eq!(stand(here, here.mailbox.0).await, Claimed::Held);
    here.bus.release(OF, COMBINING, here.mailbox.0).await;
    // At once, although nothing has come: it is its turn.
    assert_eq!(there.answers(LONG_MS).await, []);
    assert_eq!(stand(here, here.mailbox.0).await, Claimed::Behind(1));
    assert_eq!(stand(there, there.mailbox.0).await, Claimed::Held);
    // Whoever leaves is not waited for.
    there.bus.release(OF, COMBINING, 3).await;
    there.bus.release(OF, COMBINING, there.mailbox.0).await;
    assert_eq!(here.answers(LONG_MS).await, []);
    assert_eq!(stand(here, here.mailbox.0).await, Claimed::Held);
    here.bus.release(OF, COMBINING, here.mailbox.0).await;
    here.arrived().await;
    assert!(there.bus.claim(OF, COMBINING, 4, LONG_MS).await);
}

pub(crate) async fn whoever_is_answered_stands_in_no_line(here: &Process, there: &Process) {
    let stand = async |at: &Process, owner| at.bus.stand(OF, COMBINING, owner, LONG_MS).await;
    assert_eq!(stand(here, here.mailbox.0).await, Claimed::Held);
    assert_eq!(stand(there, there.mailbox.0).await, Claimed::Behind(0));
    assert_eq!(stand(there, 3).await, Claimed::Behind(1));
    here.settle(1, Some((there.mailbox, "done"))).await;
    assert_eq!(stand(there, 3).await, Claimed::Behind(0));
    assert_eq!(there.answers(LONG_MS).await, [(TxId(1), "done".into())]);
}

pub(crate) async fn slots_are_found_again(here: &Process, there: &Process) {
    for n in 1..=20 {
        let slot = Bytes::from(vec![u8::try_from(n).unwrap(); 100]);
        here.bus.offer_slot(OF, Position(n), slot).await;
    }
    here.arrived().await;
    let found = there.bus.slot(OF, Position(17)).await;
    assert_eq!(found, Some(Bytes::from(vec![17; 100])));
    assert_eq!(there.bus.slot(OF, Position(21)).await, None);
}

pub(crate) async fn notes_are_seen_by_all_until_they_are_over_or_taken_away(
    here: &Process,
    there: &Process,
) {
    let announce = async |at: &Process, id: &str, note: &'static str, ms| {
        at.bus.announce(OF, id, note.into(), ms).await;
        at.arrived().await;
    };
    let seen = async |at: &Process| {
        let mut notes = at.bus.announced(OF).await;
        notes.sort_unstable();
        let text = |note: &Bytes| String::from_utf8(note.to_vec()).unwrap();
        let notes = notes.iter();
        notes
            .map(|(id, note)| format!("{id}={}", text(note)))
            .collect::<Vec<_>>()
    };
    announce(here, "a", "one", LONG_MS).await;
    announce(there, "b", "two", LONG_MS).await;
    announce(here, "a", "three", LONG_MS).await;
    assert_eq!(seen(here).await, ["a=three", "b=two"]);
    assert_eq!(seen(there).await, ["a=three", "b=two"]);
    announce(there, "c", "soon over", 20).await;
    while seen(here).await.len() > 2 {
        tokio::task::yield_now().await;
    }
    announce(there, "b", "", 0).await;
    assert_eq!(seen(here).await, ["a=three"]);
    assert_eq!(there.bus.announced(OTHER).await, []);
}

pub(crate) async fn notes_come_within_bounds(here: &Process, there: &Process) {
    let long = Bytes::from(vec![b'x'; NOTE_LEN_MAX + 1]);
    here.bus.announce(OF, "long", long, LONG_MS).await;
    here.bus
        .announce(OF, "first", "1".into(), LONG_MS / 2)
        .await;
    for n in 0..NOTES_MAX {
        let id = format!("n{n}");
        here.bus.announce(OF, &id, "2".into(), LONG_MS).await;
        // No more than wait to be sent.
        if n % 1000 == 0 {
            here.arrived().await;
        }
    }
    here.arrived().await;
    let notes = there.bus.announced(OF).await;
    assert_eq!(notes.len(), NOTES_MAX);
    let are_late = notes.iter().all(|(id, _)| id.starts_with('n'));
    assert!(are_late, "those that end sooner go");
}

pub(crate) async fn databases_see_nothing_of_each_other(here: &Process, there: &Process) {
    here.publish(1, "one").await;
    here.bus.offer_slot(OF, Position(1), "slot".into()).await;
    assert!(here.bus.claim(OF, "work", 1, LONG_MS).await);
    let seen = there.bus.intents(OTHER, there.mailbox, 10, LEN_MAX).await;
    assert_eq!(seen, []);
    assert_eq!(there.bus.slot(OTHER, Position(1)).await, None);
    assert!(there.bus.claim(OTHER, "work", 2, LONG_MS).await);
}
