use eciton_proto::v1::{JobPhase, JobView};

use super::support::*;
use crate::run::records::ledger::Ledger;
use crate::run::{JobError, JobPage, PageOf, cancel, page, preview, status, submit, view};
use crate::source::Reach;

/// Each view has what it says, and agrees with `status`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_agree_with_the_status() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(500).0);
    let db = memory_db().await;
    let absent = view(&db, "sums", JobView::Basic).await.unwrap_err();
    assert!(matches!(absent, JobError::NotFound { .. }), "{absent}");
    let report = submit_and_run(&db, &place.job(SUM_JOB), 2).await;
    let absent = view(&db, "sum", JobView::Basic).await.unwrap_err();
    assert_eq!(
        absent.to_string(),
        "no job named `sum`: expected one of `sums`"
    );
    let full = view(&db, "sums", JobView::Unspecified).await.unwrap();
    let counts = full.counts.unwrap();
    assert_eq!(counts.done, report.status.shards.done);
    assert_eq!(counts.rows_read, report.status.rows_read);
    assert_eq!(counts.records_merged, report.status.records_merged);
    assert_eq!(counts.attempts, report.status.attempts);
    assert_eq!((full.phase(), full.number), (JobPhase::Done, 1));
    assert_eq!(Some(full.finished_ms), report.status.finished_at);
    let basic = view(&db, "sums", JobView::Basic).await.unwrap();
    assert_eq!(
        (basic.store.as_str(), basic.shards),
        ("by_carrier", report.status.shards.total)
    );
    assert!(basic.counts.is_none() && basic.spec.is_none());
    let spec = view(&db, "sums", JobView::Spec).await.unwrap();
    assert_eq!(spec.spec.as_ref(), Some(place.job(SUM_JOB).spec()));
    assert!(spec.counts.is_none());

    // As a version recorded it that added nothing up: its sums would be wrong.
    let ledger = Ledger::find(&db).await.unwrap().unwrap();
    let mut tx = db.begin();
    let mut state = ledger.job_state(&mut tx, "sums").await.unwrap().unwrap();
    state.layout = 0;
    ledger.put_job_state(&mut tx, "sums", &state).unwrap();
    tx.commit().await.unwrap();
    let refused = view(&db, "sums", JobView::Basic).await.unwrap_err();
    let told = refused.to_string();
    assert!(matches!(refused, JobError::Damaged { .. }), "{told}");
    assert!(
        told.contains("`sums`") && told.contains("layout 0"),
        "{told}"
    );
}

#[tokio::test]
async fn a_preview_writes_nothing() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(100).0);
    let db = memory_db().await;
    let job = place.job(SUM_JOB);
    let position = db.info().position;
    let looked = preview(&db, &job, &Reach::anywhere()).await.unwrap();
    assert_eq!(
        (looked.number, looked.joined, looked.state),
        (0, false, "absent")
    );
    assert_eq!(db.info().position, position, "something was written");
    let recorded = submit(&db, &job).await.unwrap();
    assert_eq!(recorded.shards, looked.shards);
    let looked = preview(&db, &job, &Reach::anywhere()).await.unwrap();
    assert_eq!(
        (looked.number, looked.joined, looked.state),
        (1, true, "pending")
    );
    let other = place.job(&SUM_JOB.replace("max(delay)", "min(delay)"));
    let refused = preview(&db, &other, &Reach::anywhere()).await.unwrap_err();
    assert!(matches!(refused, JobError::Differs { .. }), "{refused}");
}

/// Every job is on exactly one page, in the order of the names, whatever the filter and the length of a page.
#[tokio::test]
async fn pages_have_every_job_once() {
    let place = JobFolder::new();
    place.write("flights.csv", flights(10).0);
    let db = memory_db().await;
    let of = PageOf {
        limit: 1,
        ..PageOf::default()
    };
    assert_eq!(page(&db, &of).await.unwrap(), JobPage::default());
    let names = ["B", "a", "a-1", "a.1", "a.10", "a.2", "ab", "b"];
    for name in names {
        let text = SUM_JOB
            .replace("\"sums\"", &format!("\"{name}\""))
            .replace("\"by_carrier\"", &format!("\"{name}\""));
        submit(&db, &place.job(&text)).await.unwrap();
    }
    for name in ["a.1", "b"] {
        cancel(&db, name).await.unwrap();
    }
    let cancelled = [JobPhase::Cancelled];
    let both = [JobPhase::Cancelled, JobPhase::Pending];
    for (prefix, phases, expected) in [
        ("", &[][..], &names[..]),
        ("", &both, &names),
        ("a", &[], &names[1..7]),
        ("a.", &[], &names[3..6]),
        ("a.1", &[], &names[3..5]),
        ("ax", &[], &[]),
        ("", &cancelled, &["a.1", "b"]),
        ("a", &cancelled, &["a.1"]),
        ("", &[JobPhase::Done], &[]),
    ] {
        for limit in 1..=9 {
            for counts in [false, true] {
                let mut found = Vec::new();
                let mut after = String::new();
                loop {
                    let of = PageOf {
                        after: &after,
                        prefix,
                        phases,
                        limit,
                        counts,
                    };
                    let page = page(&db, &of).await.unwrap();
                    assert!(page.jobs.len() <= limit);
                    assert!(page.jobs.iter().all(|job| job.counts.is_some() == counts));
                    found.extend(page.jobs.into_iter().map(|job| job.name));
                    match page.next {
                        Some(next) => after = next,
                        None => break,
                    }
                }
                assert_eq!(found, expected, "`{prefix}` {phases:?}, {limit} a page");
            }
        }
    }
    assert_eq!(status(&db, "b").await.unwrap().unwrap().state, "cancelled");
}
