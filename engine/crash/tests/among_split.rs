//! That a link which is cut carries nothing, that the other one does, and that it is whole again afterwards.

#![cfg(target_os = "linux")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::time::Duration;

use eciton_crash::among::redis::{Redis, Stand};
use eciton_crash::among::split::{Cut, Split, command_in};

/// Tries at Redis, each of a second at most.
const TRIES_MAX: u32 = 60;

fn reaches(split: &Split, redis: &Redis, side: usize) -> bool {
    let address = Split::addresses()[side].to_string();
    let asked = command_in(Some(&split.side(side)), Path::new("timeout"))
        .args(["1", "redis-cli", "-h", &address, "-p"])
        .args([&redis.port().to_string(), "PING"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&asked.stdout).contains("PONG")
}

fn comes_to_reach(split: &Split, redis: &Redis, side: usize) -> bool {
    (0..TRIES_MAX).any(|_| reaches(split, redis, side))
}

#[test]
fn a_cut_link_carries_nothing_and_is_whole_afterwards() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes network namespaces: it must run as root, with `ip` of iproute2"
    );
    let temp = tempfile::tempdir().unwrap();
    let mut split = Split::make().unwrap();
    let stand = Stand {
        namespace: Some(split.hub()),
        addresses: Split::addresses(),
        args: &[],
    };
    let redis = Redis::start(&temp.path().join("redis"), &stand).unwrap();
    assert!(comes_to_reach(&split, &redis, 0));
    for cut in Cut::ALL {
        assert!(split.cut(0, cut, Duration::from_hours(24)).unwrap());
        assert!(!split.cut(0, cut, Duration::ZERO).unwrap());
        assert!(!reaches(&split, &redis, 0), "{cut:?}");
        assert!(comes_to_reach(&split, &redis, 1), "{cut:?}");
        split.mend(false).unwrap();
        assert!(!reaches(&split, &redis, 0), "{cut:?}");
        split.mend(true).unwrap();
        assert!(comes_to_reach(&split, &redis, 0), "{cut:?}");
    }
}
