use std::collections::BTreeMap;

use super::support::*;
use crate::run::{End, check, run};

#[tokio::test]
async fn without_a_query_only_the_columns_that_merge_are_read() {
    let place = JobFolder::new();
    // The last row has no number where nobody looks.
    place.write(
        "a.csv",
        "note,delay,extra,carrier\nx,1,7,AA\ny,2,8,AA\nz,4,oops,UA\n",
    );
    let job = SUM_JOB.replace(
        "[transform]\nsql = \"SELECT carrier, delay FROM source\"",
        "[source.schema]\nextra = \"int64\"",
    );
    let db = memory_db().await;
    let report = submit_and_run(&db, &place.job(&job), 1).await;
    assert_eq!(report.end, End::Done, "{:?}", report.status.failures);
    let sums = [("AA", (2, 3, 2)), ("UA", (1, 4, 4))];
    let sums = sums.map(|(carrier, sum)| (carrier.to_owned(), sum));
    assert_eq!(
        records(&db, "by_carrier").await,
        shown(&BTreeMap::from(sums))
    );
}

#[tokio::test]
async fn a_checked_job_is_recorded_by_the_plan_of_its_check() {
    let place = JobFolder::new();
    let (text, expected) = flights(500);
    place.write("a.csv", text);
    let job = place.job(SUM_JOB);
    let (first, second) = (check(&job).await.unwrap(), check(&job).await.unwrap());
    // What comes later is not in the plan.
    place.write("b.csv", "carrier,delay\nAA,1\n");
    let db = memory_db().await;
    let submitted = first.submit(&db).await.unwrap();
    assert!(!submitted.joined);
    assert!(second.submit(&db).await.unwrap().joined);
    assert_eq!(run(&db, "sums", options(2)).await.unwrap().end, End::Done);
    assert_eq!(records(&db, "by_carrier").await, expected);
}
