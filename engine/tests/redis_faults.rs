//! Redis that is away, forgets, hangs, refuses or moves: calls come to nothing within a bound, and come back
//! by themselves.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use crate::support::link::{LONG_MS, bus};
use crate::support::redis::{Certificates, RedisCluster, RedisServer};
use bytes::Bytes;
use eciton_engine::base::{Error, InstanceId, Position, TxId};
use eciton_engine::coord::redis::{RedisBus, RedisOptions};
use eciton_engine::coord::{Answered, Bus, COMBINING, Claimed, Mailbox, OfferId};

const OF: InstanceId = InstanceId(77);
const HERE: Mailbox = Mailbox(1);
const THERE: Mailbox = Mailbox(2);

async fn seen(bus: &RedisBus, of: InstanceId) -> usize {
    bus.intents(of, HERE, 1000, 1_000_000).await.len()
}

async fn publish(bus: &RedisBus, of: InstanceId, id: u128) {
    bus.publish(of, THERE, OfferId(id), Bytes::from("intents"))
        .await;
}

/// Everything works: intents, claims, slots and answers.
async fn works(bus: &RedisBus, of: InstanceId) -> bool {
    publish(bus, of, 1).await;
    let is_seen = seen(bus, of).await == 1;
    let answered = Answered {
        to: THERE,
        txid: TxId(1),
        answer: Bytes::from("answer"),
    };
    bus.settle(of, vec![OfferId(1)], vec![answered]).await;
    let answers = bus.answers(of, THERE, 2000).await;
    bus.offer_slot(of, Position(4), Bytes::from("slot")).await;
    let has_slot = bus.slot(of, Position(4)).await.is_some();
    let is_excluded =
        bus.claim(of, "works", 1, 60_000).await && !bus.claim(of, "works", 2, 60_000).await;
    // The second has it where the first call came to nothing.
    bus.release(of, "works", 1).await;
    bus.release(of, "works", 2).await;
    // A line for a claim: one holds it, the next stands behind, and it is free once both have gone.
    let first = bus.stand(of, COMBINING, 1, 60_000).await;
    let second = bus.stand(of, COMBINING, 2, 60_000).await;
    let is_in_line = first == Claimed::Held && second == Claimed::Behind(0);
    bus.release(of, COMBINING, 2).await;
    bus.release(of, COMBINING, 1).await;
    let is_free = bus.claim(of, COMBINING, 3, 60_000).await;
    bus.release(of, COMBINING, 3).await;
    bus.announce(of, "works", Bytes::from("note"), 60_000).await;
    let is_announced = bus.announced(of).await.len() == 1;
    bus.announce(of, "works", Bytes::new(), 0).await;
    let is_withdrawn = bus.announced(of).await.is_empty();
    let is_known = is_announced && is_withdrawn;
    is_seen && answers.len() == 1 && has_slot && is_excluded && is_in_line && is_free && is_known
}

/// It is at hand, and works at the latest once whatever was in between is over.
async fn comes_back(bus: &RedisBus, of: InstanceId) {
    for _ in 0..100 {
        assert!(bus.connected(of, LONG_MS).await, "it never comes back");
        if works(bus, of).await {
            return;
        }
    }
    panic!("it is there and does not work");
}

/// Nothing is to be had, and nobody waits for it.
async fn is_silent(bus: &RedisBus, of: InstanceId) {
    publish(bus, of, 9).await;
    assert_eq!(seen(bus, of).await, 0);
    assert!(bus.claim(of, "silent", 1, LONG_MS).await);
    assert!(bus.claim(of, "silent", 2, LONG_MS).await);
    assert_eq!(bus.slot(of, Position(1)).await, None);
    bus.announce(of, "silent", Bytes::new(), LONG_MS).await;
    assert_eq!(bus.announced(of).await, []);
    // However long they would wait: nothing can come.
    assert_eq!(bus.answers(of, THERE, LONG_MS * 1000).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forgotten_in_the_middle_is_gone_and_the_rest_goes_on() {
    let server = RedisServer::start();
    let bus = bus(&RedisOptions::at(&server.url()));
    comes_back(&bus, OF).await;
    publish(&bus, OF, 5).await;
    assert_eq!(seen(&bus, OF).await, 1);
    server.cli(&["FLUSHALL"]);
    assert_eq!(seen(&bus, OF).await, 0);
    assert!(works(&bus, OF).await);
    server.cli(&["SCRIPT", "FLUSH"]);
    assert!(works(&bus, OF).await);
    // A part of it is evicted.
    for part in ["intents", "intents:order", "intents:bytes"] {
        publish(&bus, OF, 6).await;
        assert_eq!(seen(&bus, OF).await, 1);
        let key = format!("{{eciton:{:032x}:0}}:{part}", OF.0);
        assert_eq!(server.cli(&["DEL", &key]), "1");
        publish(&bus, OF, 7).await;
        assert!((1..=2).contains(&seen(&bus, OF).await), "{part}");
        server.cli(&["FLUSHALL"]);
    }
    // Connections are cut.
    server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    comes_back(&bus, OF).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_stays_behind() {
    let server = RedisServer::start();
    let options = RedisOptions {
        key_ms_max: 300,
        ..RedisOptions::at(&server.url())
    };
    let bus = bus(&options);
    comes_back(&bus, OF).await;
    publish(&bus, OF, 5).await;
    assert!(bus.claim(OF, "work", 1, LONG_MS).await);
    assert_eq!(seen(&bus, OF).await, 1);
    assert_ne!(server.cli(&["DBSIZE"]), "0");
    while server.cli(&["DBSIZE"]) != "0" {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_there_is_bounded_and_the_oldest_goes() {
    let server = RedisServer::start();
    let options = RedisOptions {
        intents_max: 10,
        intents_len_max: 1000,
        slots_max: 5,
        slots_len_max: 1000,
        slot_len_max: 500,
        intent_ms_max: 200,
        ..RedisOptions::at(&server.url())
    };
    let bus = bus(&options);
    assert!(bus.connected(OF, LONG_MS).await);
    let text = |len: usize| Bytes::from(vec![b'x'; len]);
    for id in 0..50 {
        bus.publish(OF, THERE, OfferId(id), text(10)).await;
    }
    assert!(seen(&bus, OF).await <= 10);
    for id in 100..110 {
        bus.publish(OF, THERE, OfferId(id), text(300)).await;
    }
    assert!(seen(&bus, OF).await <= 3);
    bus.publish(OF, THERE, OfferId(200), text(1001)).await;
    assert_eq!(seen(&bus, OF).await, 0);
    publish(&bus, OF, 201).await;
    // They are not visible for ever.
    while seen(&bus, OF).await > 0 {}
    for n in 1..=20 {
        bus.offer_slot(OF, Position(n), text(10)).await;
    }
    assert_eq!(bus.slot(OF, Position(15)).await, None);
    assert_eq!(bus.slot(OF, Position(16)).await, Some(text(10)));
    bus.offer_slot(OF, Position(21), text(501)).await;
    assert_eq!(bus.slot(OF, Position(21)).await, None);
    for n in 22..=24 {
        bus.offer_slot(OF, Position(n), text(450)).await;
    }
    assert_eq!(bus.slot(OF, Position(22)).await, None);
    assert_eq!(bus.slot(OF, Position(24)).await, Some(text(450)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_ours_under_our_names_is_cleared_away() {
    let server = RedisServer::start();
    let bus = bus(&RedisOptions::at(&server.url()));
    assert!(bus.connected(OF, LONG_MS).await);
    for what in [
        "intents",
        "intents:order",
        "slots",
        "claim:works",
        "notes",
        "notes:ends",
    ] {
        let key = format!("{{eciton:{:032x}:0}}:{what}", OF.0);
        server.cli(&["DEL", &key]);
        server.cli(&["RPUSH", &key, "not", "ours"]);
        comes_back(&bus, OF).await;
    }
    // A value that no script of ours has put there.
    let key = format!("{{eciton:{:032x}:0}}:slots", OF.0);
    let long = "x".repeat(RedisOptions::default().slot_len_max / 16);
    server.cli(&["HSET", &key, "7", &long]);
    for _ in 0..17 {
        server.cli(&["EVAL", APPEND, "1", &key, &long]);
    }
    assert_eq!(bus.slot(OF, Position(7)).await, None);
    assert!(works(&bus, OF).await);
}

const APPEND: &str = "local v = redis.call('HGET', KEYS[1], '7') \
     redis.call('HSET', KEYS[1], '7', v .. ARGV[1]) return 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_refuses_and_nothing_else_happens() {
    let server = RedisServer::start();
    let bus = bus(&RedisOptions::at(&server.url()));
    comes_back(&bus, OF).await;
    server.cli(&["CONFIG", "SET", "maxmemory", "1"]);
    publish(&bus, OF, 3).await;
    assert_eq!(seen(&bus, OF).await, 0);
    assert!(bus.claim(OF, "work", 1, LONG_MS).await);
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    comes_back(&bus, OF).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_comes_back_empty_at_the_same_place() {
    let mut server = RedisServer::start();
    let bus = bus(&RedisOptions::at(&server.url()));
    comes_back(&bus, OF).await;
    // Somebody waits for an answer that will never come.
    let waits = tokio::spawn({
        let bus = Arc::clone(&bus);
        async move { bus.answers(OF, THERE, LONG_MS * 1000).await }
    });
    server.kill();
    assert_eq!(waits.await.unwrap(), []);
    is_silent(&bus, OF).await;
    server.restart();
    comes_back(&bus, OF).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_given_up_and_taken_up_again() {
    let server = RedisServer::start();
    let options = RedisOptions {
        connect_ms_max: 200,
        response_ms_max: 100,
        ..RedisOptions::at(&server.url())
    };
    let bus = bus(&options);
    comes_back(&bus, OF).await;
    server.stop();
    // The first one finds out.
    assert!(bus.claim(OF, "work", 1, LONG_MS).await);
    // It is told before the connection is given up.
    while bus.connected(OF, 0).await {
        tokio::task::yield_now().await;
    }
    is_silent(&bus, OF).await;
    server.go_on();
    comes_back(&bus, OF).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_read_only_is_of_no_use_until_it_is_not() {
    let (server, other) = (RedisServer::start(), RedisServer::start());
    let options = RedisOptions {
        backoff_ms_max: 50,
        ..RedisOptions::at(&server.url())
    };
    let bus = bus(&options);
    comes_back(&bus, OF).await;
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    publish(&bus, OF, 3).await;
    assert_eq!(seen(&bus, OF).await, 0);
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    comes_back(&bus, OF).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_needed_and_the_rights_that_are_documented_suffice() {
    let server = RedisServer::start();
    let rights = "+@scripting +@pubsub +hello +ping +client +time +exists +get +set +del +unlink \
        +pexpire +decrby +hset +hget +hmget +hdel +hlen +hstrlen +zadd +zrem +zcard +zrange \
        +zrangebyscore +zrank +zpopmin";
    let mut args = vec![
        "ACL",
        "SETUSER",
        "ant",
        "on",
        ">colony",
        "~{eciton:*",
        "&{eciton:*",
    ];
    args.extend(rights.split_whitespace());
    assert_eq!(server.cli(&args), "OK");
    assert_eq!(server.cli(&["ACL", "SETUSER", "default", "off"]), "OK");
    let options = RedisOptions {
        username: Some("ant".to_owned()),
        password: Some("colony".to_owned()),
        ..RedisOptions::at(&server.url())
    };
    comes_back(&bus(&options), OF).await;
    let url = format!("redis://ant:colony@127.0.0.1:{}", server.port());
    comes_back(&bus(&RedisOptions::at(&url)), OF).await;
    let wrong = bus(&RedisOptions {
        password: Some("beehive".to_owned()),
        ..options
    });
    assert!(!wrong.connected(OF, 200).await);
    is_silent(&wrong, OF).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_on_both_sides() {
    let certificates = Certificates::make();
    let server = certificates.server("colony");
    let options = RedisOptions {
        password: Some("colony".to_owned()),
        ca_file: Some(certificates.path("ca.pem")),
        cert_file: Some(certificates.path("client.pem")),
        key_file: Some(certificates.path("client.key")),
        ..RedisOptions::at(&format!("rediss://127.0.0.1:{}", server.port()))
    };
    comes_back(&bus(&options), OF).await;
    let others = Certificates::make();
    let wrong = [
        // Another authority, no certificate of its own, no TLS.
        RedisOptions {
            ca_file: Some(others.path("ca.pem")),
            ..options.clone()
        },
        RedisOptions {
            cert_file: None,
            key_file: None,
            ..options.clone()
        },
        RedisOptions::at(&server.url()),
    ];
    for wrong in wrong {
        let bus = bus(&wrong);
        assert!(!bus.connected(OF, 300).await, "{wrong:?}");
        is_silent(&bus, OF).await;
    }
}

#[tokio::test]
async fn settings_that_cannot_be_meant_are_refused() {
    let certificates = Certificates::make();
    let tls = RedisOptions::at("rediss://127.0.0.1");
    let missing = Some(certificates.path("missing.pem"));
    let refused = [
        RedisOptions::at("http://127.0.0.1"),
        RedisOptions::at(""),
        RedisOptions {
            ca_file: missing,
            ..tls.clone()
        },
        RedisOptions {
            cert_file: Some(certificates.path("client.pem")),
            ..tls.clone()
        },
        RedisOptions {
            ca_file: Some(certificates.path("ca.key")),
            cert_file: Some(certificates.path("ca.key")),
            key_file: Some(certificates.path("ca.pem")),
            ..tls
        },
    ];
    for options in refused {
        let clock = Arc::new(eciton_engine::base::clock::SystemClock::new());
        let entropy = Arc::new(eciton_engine::base::entropy::SystemEntropy);
        let refused = RedisBus::new(options.clone(), clock, entropy).err();
        assert!(
            matches!(refused, Some(Error::Invalid(_))),
            "{options:?}: {refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_cluster_one_node_has_a_database_and_the_others_live_without_it() {
    let mut cluster = RedisCluster::start();
    let node_of = |of: u128| cluster.node_of(&format!("{{eciton:{of:032x}:0}}:claim:"));
    let on = |node| (1..1000).find(|of| node_of(*of) == node).unwrap();
    let (first, second) = (InstanceId(on(0)), InstanceId(on(1)));
    // By way of the node that has neither of them.
    let options = RedisOptions {
        backoff_ms_max: 100,
        ..RedisOptions::at(&format!("{},{}", cluster.nodes[2].url(), cluster.urls()))
    };
    let (here, there) = (bus(&options), bus(&options));
    for of in [first, second] {
        comes_back(&here, of).await;
        comes_back(&there, of).await;
        publish(&here, of, 3).await;
        here.slot(of, Position(0)).await;
        assert_eq!(seen(&there, of).await, 1);
    }
    cluster.nodes[0].kill();
    assert!(here.claim(first, "work", 1, LONG_MS).await);
    is_silent(&here, first).await;
    assert_eq!(seen(&there, second).await, 1);
    there.settle(second, vec![OfferId(3)], Vec::new()).await;
    comes_back(&there, second).await;
    comes_back(&here, second).await;
    cluster.nodes[0].restart();
    comes_back(&here, first).await;
    comes_back(&there, first).await;
    // What belongs to the first is given to the third, while everybody is connected.
    let (from, to) = (0, 2);
    let ids: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| node.cli(&["CLUSTER", "MYID"]))
        .collect();
    let slot = cluster.nodes[to].cli(&[
        "CLUSTER",
        "KEYSLOT",
        &format!("{{eciton:{:032x}:0}}", first.0),
    ]);
    cluster.nodes[from].cli(&["FLUSHALL"]);
    for node in [to, from, 1] {
        let told = cluster.nodes[node].cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &ids[to]]);
        assert_eq!(told, "OK");
    }
    comes_back(&here, first).await;
    comes_back(&there, first).await;
}
