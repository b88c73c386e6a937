//! Jobs that another version recorded.

use eciton_engine::{Db, Key};
use eciton_proto::prost::Message;
use eciton_proto::v1::{JobSpec, JobState};
use xxhash_rust::xxh3::xxh3_128;

use super::support::*;

use crate::run::records::marks::{LAYOUT_HASHES, LAYOUT_NEEDS};
use crate::run::{
    CancellationToken, End, JobError, ServeOptions, cancel, list, retry, run, serve, status, submit,
};
use crate::spec::fingerprint;

/// [`SUM_JOB`] as the version before `into_existing` and `needs` recorded it: the message `JobSpec`.
const SPEC_BEFORE: &str = "0a0473756d731216080112052a2e637376188008220028013001382c40221a230a2153454c45435420636172726965722c20\
    64656c61792046524f4d20736f757263652a4c0a0a62795f636172726965721207636172726965721a0d0a04726f77731205\
    636f756e741a130a05746f74616c120373756d1a0564656c61791a110a03746f7012036d61781a0564656c61793a06080410\
    b0ea01";

/// A field of a later version, of the number 1999 and the length 1.
const LATER: [u8; 4] = [0xfa, 0x7c, 0x01, 0x07];

async fn put(db: &Db, kind: &str, name: &str, record: Vec<u8>) {
    let store = db.store("_jobs").await.unwrap().unwrap();
    let mut tx = db.begin();
    let key = Key::from_datums(&[kind.into(), name.into()]).unwrap();
    tx.put(&store, &key, record).unwrap();
    tx.commit().await.unwrap();
}

async fn get(db: &Db, kind: &str, name: &str) -> Vec<u8> {
    let store = db.store("_jobs").await.unwrap().unwrap();
    let key = Key::from_datums(&[kind.into(), name.into()]).unwrap();
    let found = db.snapshot().get(&store, &key).await.unwrap();
    found.unwrap().to_vec()
}

/// A database with the job, and its state to be changed.
async fn submitted() -> (
    JobFolder,
    Db,
    JobState,
    std::collections::BTreeMap<String, String>,
) {
    let place = JobFolder::new();
    let (text, expected) = flights(300);
    place.write("flights.csv", text);
    let db = memory_db().await;
    submit(&db, &place.job(SUM_JOB)).await.unwrap();
    let state = JobState::decode(&get(&db, "job", "sums").await[..]).unwrap();
    (place, db, state, expected)
}

/// The version before these guards knows the layouts 1 and 2, and refuses what has another one: what it does not know,
/// overflow that is an error among it, it would leave out.
#[tokio::test]
async fn a_version_from_before_refuses_what_is_recorded_now() {
    let (_place, _db, state, _) = submitted().await;
    assert_eq!(state.layout, LAYOUT_NEEDS);
    assert!(!(1..=LAYOUT_HASHES).contains(&state.layout));
}

#[tokio::test]
async fn a_job_that_was_recorded_before_runs_and_is_joined() {
    let (place, db, mut state, expected) = submitted().await;
    let before: Vec<u8> = (0..SPEC_BEFORE.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&SPEC_BEFORE[at..at + 2], 16).unwrap())
        .collect();
    assert_eq!(get(&db, "spec", "sums").await, before);
    state.layout = LAYOUT_HASHES;
    state.needs.clear();
    state.results = None;
    put(&db, "job", "sums", state.encode_to_vec()).await;
    assert_eq!(list(&db).await.unwrap()[0].state, "pending");
    assert!(submit(&db, &place.job(SUM_JOB)).await.unwrap().joined);
    assert_eq!(run(&db, "sums", options(2)).await.unwrap().end, End::Done);
    assert_eq!(records(&db, "by_carrier").await, expected);
    let state = JobState::decode(&get(&db, "job", "sums").await[..]).unwrap();
    assert_eq!(state.layout, LAYOUT_HASHES);
    let store = db.store("by_carrier").await.unwrap().unwrap();
    assert_eq!(state.results.unwrap().store_number, store.id().0);
}

/// Half done, and its store gone since: it was not kept which one it was, but it had something in it.
#[tokio::test]
async fn a_job_that_was_recorded_before_fails_with_its_store_too() {
    let (_place, db, _, _) = submitted().await;
    let stopped = run(&db, "sums", stop_after(2, 1)).await.unwrap();
    assert_eq!(stopped.end, End::Stopped);
    let mut state = JobState::decode(&get(&db, "job", "sums").await[..]).unwrap();
    state.layout = LAYOUT_HASHES;
    state.results = None;
    put(&db, "job", "sums", state.encode_to_vec()).await;
    db.drop_store("by_carrier").await.unwrap();
    let report = run(&db, "sums", options(1)).await.unwrap();
    assert_eq!(report.end, End::Failed);
    assert!(report.status.reason.contains("was dropped"));
}

/// Whatever a later version has added to a job: this one leaves it to others, says by which name, and goes on with
/// other jobs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_with_what_is_not_known_is_left_to_others_by_name() {
    #[derive(Clone, Copy, Debug)]
    enum Later {
        Field,
        InnerField,
        Value,
        Need,
        StateField,
    }
    for later in [
        Later::Field,
        Later::InnerField,
        Later::Value,
        Later::Need,
        Later::StateField,
    ] {
        let (place, db, mut state, expected) = submitted().await;
        let recorded = get(&db, "spec", "sums").await;
        let mut spec = JobSpec::decode(&recorded[..]).unwrap();
        let mut bytes = recorded.clone();
        match later {
            Later::Field => bytes.extend(LATER),
            Later::InnerField => {
                // Field 7 again: messages are merged, and its unknown field with them.
                bytes.extend([0x3a, 4]);
                bytes.extend(LATER);
            }
            Later::Value => {
                spec.source.as_mut().unwrap().on_error = 77;
                bytes = spec.encode_to_vec();
            }
            Later::Need => state.needs.push("wings".to_owned()),
            Later::StateField => {}
        }
        let is_changed = bytes != recorded;
        put(&db, "spec", "sums", bytes.clone()).await;
        state.spec_hash = xxh3_128(&bytes).to_be_bytes().to_vec();
        let mut record = state.encode_to_vec();
        if matches!(later, Later::StateField) {
            record.extend(LATER);
        }
        put(&db, "job", "sums", record.clone()).await;
        let another = SUM_JOB
            .replace("\"sums\"", "\"another\"")
            .replace("\"by_carrier\"", "\"another\"");
        submit(&db, &place.job(&another)).await.unwrap();

        let refused = run(&db, "sums", options(1)).await.unwrap_err();
        assert!(
            matches!(refused, JobError::Needs { .. }),
            "{later:?}: {refused}"
        );
        let told = refused.to_string();
        assert!(told.contains("job `sums` needs"), "{later:?}: {told}");
        assert!(told.contains("upgrade"), "{later:?}: {told}");
        if matches!(later, Later::Need) {
            assert!(told.contains("`wings`"), "{told}");
        }
        // It is listed, and not changed: what is not known would be lost.
        assert_eq!(status(&db, "sums").await.unwrap().unwrap().state, "pending");
        if matches!(later, Later::Need | Later::StateField) {
            for changed in [
                cancel(&db, "sums").await.map(drop),
                retry(&db, "sums").await.map(drop),
            ] {
                let refused = changed.unwrap_err();
                assert!(matches!(refused, JobError::Needs { .. }), "{refused}");
            }
        }
        if is_changed {
            // The same file as this version reads it is another job.
            let refused = submit(&db, &place.job(SUM_JOB)).await.unwrap_err();
            assert!(matches!(refused, JobError::Differs { .. }), "{refused}");
        }
        let stop = CancellationToken::new();
        let options = ServeOptions::new(1, stop.clone());
        let serving = tokio::spawn({
            let db = db.clone();
            async move { serve(&db, &options).await }
        });
        until("the other job does not end", async || {
            serving.is_finished() || status(&db, "another").await.unwrap().unwrap().state == "done"
        })
        .await;
        stop.cancel();
        serving.await.unwrap().unwrap();
        assert_eq!(records(&db, "another").await, expected);
        assert!(records(&db, "by_carrier").await.is_empty(), "{later:?}");
        assert_eq!(get(&db, "job", "sums").await, record, "{later:?}");
        assert_eq!(get(&db, "spec", "sums").await, bytes, "{later:?}");
    }
}

/// Other bytes than those that were recorded are damage, and no later version's.
#[tokio::test]
async fn a_specification_that_was_altered_is_damaged() {
    let (_place, db, _, _) = submitted().await;
    let mut spec = JobSpec::decode(&get(&db, "spec", "sums").await[..]).unwrap();
    spec.run.as_mut().unwrap().max_attempts = 9;
    put(&db, "spec", "sums", spec.encode_to_vec()).await;
    let refused = run(&db, "sums", options(1)).await.unwrap_err();
    assert!(matches!(refused, JobError::Damaged { .. }), "{refused}");
}

/// A key that says what was meant before it existed changes nothing about what a job is.
#[tokio::test]
async fn what_is_new_and_says_nothing_encodes_to_nothing() {
    let place = JobFolder::new();
    let said = SUM_JOB.replace("key = [", "into_existing = false\nkey = [");
    let (plain, said) = (place.job(SUM_JOB), place.job(&said));
    assert_eq!(fingerprint(plain.spec()), fingerprint(said.spec()));
}
