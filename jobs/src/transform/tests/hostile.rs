//! Queries that are made, or happen, to take too much: none of them ends the process.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::*;

fn chain(len: usize, of: impl Fn(usize) -> String, between: &str) -> String {
    (0..len).map(of).collect::<Vec<_>>().join(between)
}

fn too_large(sql: &str) -> &'static str {
    match refused(sql) {
        TransformError::TooLarge { what, .. } => what,
        other => panic!("{}...: {other}", &sql[..60]),
    }
}

/// The error of a query that is planned and fails.
fn failed(sql: &str) -> TransformError {
    let transform = plan(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let input: BatchIter<Malformed> = Box::new(two_batches().into_iter().map(Ok));
    let rows: Result<Vec<RecordBatch>, _> = transform.run(input, &never()).unwrap().collect();
    match rows {
        Err(RunError::Transform(error)) => error,
        other => panic!("{sql}: {:?}", other.map(|rows| rows.len())),
    }
}

#[test]
fn a_deep_sum_runs_where_stacks_are_small() {
    let sql = format!("SELECT VendorID{} AS x FROM source", "+1".repeat(120));
    // As small as the threads of a runtime.
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let rows = thread
        .spawn(move || run(&plan(&sql).unwrap(), two_batches()))
        .unwrap();
    assert_eq!(
        ints(&rows.join().unwrap(), "x"),
        [121, 122, 123, 124, 125].map(Some)
    );
}

#[test]
fn what_is_deeper_than_the_limit_is_refused_and_never_overflows_a_stack() {
    for terms in [SQL_DEPTH_MAX + 1, 20_000] {
        let sql = format!("SELECT VendorID{} AS x FROM source", "+1".repeat(terms));
        assert_eq!(too_large(&sql), "levels in an expression", "{terms}");
    }
    let sql = format!(
        "SELECT VendorID{} AS x FROM source",
        "+1".repeat(SQL_TOKENS_MAX)
    );
    assert_eq!(too_large(&sql), "words, values and signs");
    let casts = format!("SELECT VendorID{} AS x FROM source", "::int".repeat(5_000));
    assert_eq!(too_large(&casts), "levels in an expression");
    let concats = format!("SELECT carrier{} AS x FROM source", "||'a'".repeat(5_000));
    assert_eq!(too_large(&concats), "levels in an expression");
    let sets = format!(
        "SELECT VendorID FROM source{}",
        " UNION ALL SELECT 1".repeat(5_000)
    );
    assert_eq!(too_large(&sets), "`UNION`, `INTERSECT` and `EXCEPT`");
    let tables = chain(
        SQL_TABLES_MAX + 1,
        |n| format!("(VALUES (1)) AS t{n}"),
        ", ",
    );
    assert_eq!(
        too_large(&format!("SELECT VendorID FROM source, {tables}")),
        "tables read"
    );
    for (open, close) in [
        ("abs(", ")"),
        ("(", ")"),
        ("CASE WHEN true THEN ", " END"),
        ("NOT ", ""),
    ] {
        let sql = format!(
            "SELECT {}VendorID{} AS x FROM source",
            open.repeat(10_000),
            close.repeat(10_000)
        );
        assert!(plan(&sql).is_err(), "{open}");
    }
}

#[test]
fn tables_of_with_count_as_often_as_they_are_read() {
    let doubled = chain(
        40,
        |n| format!("t{} AS (SELECT a.v FROM t{n} a, t{n} b)", n + 1),
        ", ",
    );
    let sql = format!("WITH t0 AS (SELECT 1 AS v), {doubled} SELECT VendorID FROM source, t40");
    assert_eq!(too_large(&sql), "tables read");
    let few = "WITH t AS (SELECT VendorID AS v FROM source), u AS (SELECT v FROM t) SELECT v FROM u WHERE v > 4";
    assert_eq!(
        ints(&run(&plan(few).unwrap(), two_batches()), "v"),
        [Some(5)]
    );
}

#[test]
fn levels_of_nested_queries_add_up() {
    let plus = "+1".repeat(SQL_DEPTH_MAX - 10);
    let nested = chain(
        3,
        |n| format!("t{} AS (SELECT v{plus} AS v FROM t{n})", n + 1),
        ", ",
    );
    let sql = format!("WITH t0 AS (SELECT VendorID AS v FROM source), {nested} SELECT v FROM t3");
    assert_eq!(too_large(&sql), "levels in its expressions together");
}

#[test]
fn long_chains_of_or_and_and_are_shallow() {
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let ran = thread.spawn(|| {
        for (op, op_of) in [(" OR ", "="), (" AND ", "<>")] {
            let terms = chain(300, |n| format!("VendorID * {n} {op_of} {}", 3 * n + 1), op);
            let rows = run(
                &plan(&format!("SELECT VendorID AS v FROM source WHERE {terms}")).unwrap(),
                two_batches(),
            );
            let expected: Vec<i64> = (1..=5)
                .filter(|v| {
                    let equals = (0..300i64).any(|n| v * n == 3 * n + 1);
                    (op_of == "=") == equals
                })
                .collect();
            assert_eq!(
                ints(&rows, "v"),
                expected.into_iter().map(Some).collect::<Vec<_>>()
            );
        }
    });
    ran.unwrap().join().unwrap();
}

#[test]
fn chains_keep_their_order_and_precedence() {
    let sql = "SELECT VendorID AS v FROM source WHERE VendorID = 1 OR VendorID = 2 AND carrier = 'UA' OR VendorID = 3 AND carrier = 'XX' OR VendorID = 5";
    assert_eq!(
        ints(&run(&plan(sql).unwrap(), two_batches()), "v"),
        [1, 2, 5].map(Some)
    );
    let named = plan("SELECT VendorID = 1 OR VendorID = 2 OR VendorID = 3 FROM source").unwrap();
    assert_eq!(
        named.output_schema().field(0).name(),
        "source.VendorID = Int64(1) OR source.VendorID = Int64(2) OR source.VendorID = Int64(3)"
    );
}

#[test]
fn long_lists_are_fine() {
    let list = chain(5_000, |n| (n * 2).to_string(), ", ");
    let sql = format!("SELECT VendorID AS v FROM source WHERE VendorID IN ({list})");
    assert_eq!(
        ints(&run(&plan(&sql).unwrap(), two_batches()), "v"),
        [2, 4].map(Some)
    );
}

#[test]
fn functions_that_would_give_too_much_fail_the_shard() {
    for sql in [
        "SELECT length(lpad('x', 2000000000, carrier)) AS x FROM source",
        "SELECT length(rpad(carrier, 2000000000, 'xy')) AS x FROM source",
        "SELECT length(lpad(carrier, 2000000000)) AS x FROM source",
        "SELECT length(repeat(carrier, 2000000000)) AS x FROM source",
        "SELECT length(repeat('x', 2000000000)) AS x FROM source",
        "SELECT length(repeat('x', VendorID * 1000000000)) AS x FROM source",
        "SELECT repeat('x', 2147483647) AS x FROM source",
        "SELECT length(replace(repeat('a', 100000), 'a', repeat(carrier, 100000))) AS x FROM source",
        "SELECT length(regexp_replace(repeat(carrier, 100000), '.', repeat('x', 100000), 'g')) AS x FROM source",
        "SELECT array_length(range(0, VendorID * 1000000000)) AS x FROM source",
        "SELECT array_length(range(0, 1000000000)) AS x FROM source",
        "SELECT array_length(generate_series(1, 1000000000)) AS x FROM source",
        "SELECT array_length(generate_series(TIMESTAMP '1970-01-01', TIMESTAMP '2030-01-01', INTERVAL '1 millisecond')) AS x FROM source",
        "SELECT array_length(array_repeat(carrier, 1000000000)) AS x FROM source",
        "SELECT array_length(array_resize([VendorID], 1000000000, 1)) AS x FROM source",
        "SELECT unnest(range(0, 100000000)) AS x FROM source",
        "SELECT length(concat_ws(repeat(carrier, 20000000), '1', '2', '3', '4', '5', '6', '7', '8', '9')) AS x FROM source",
        "SELECT length(array_to_string(range(0, 100000), repeat(carrier, 100000))) AS x FROM source",
        "SELECT length(to_char(arrow_cast(VendorID, 'Timestamp(Second, None)'), repeat('%A', 20000000))) AS x FROM source",
    ] {
        let begun = Instant::now();
        let error = failed(sql);
        assert!(
            matches!(error, TransformError::Memory { .. }),
            "{sql}: {error:?}"
        );
        println!("{:?} {sql}: {error}", begun.elapsed());
    }
}

#[test]
fn doubling_texts_fail_too() {
    let mut sql = "SELECT carrier AS c FROM source".to_owned();
    for level in 0..14 {
        sql = format!(
            "SELECT {} AS c FROM ({sql})",
            ["c||c||c||c", "concat(c, c, c, c)"][level % 2]
        );
    }
    let error = failed(&format!("SELECT length(c) AS x FROM ({sql})"));
    assert!(matches!(error, TransformError::Memory { .. }), "{error:?}");
}

#[test]
fn functions_that_give_what_fits_are_themselves() {
    let sql = "SELECT lpad(carrier, 5, '-') AS a, repeat(carrier, 2) AS b, replace(carrier, 'A', 'bb') AS c, \
               array_to_string(range(0, VendorID), ',') AS d, concat_ws('/', carrier, 'x') AS e, carrier || '!' AS f FROM source LIMIT 1";
    let rows = run(&plan(sql).unwrap(), two_batches());
    for (column, expected) in [
        ("a", "---AA"),
        ("b", "AAAA"),
        ("c", "bbbb"),
        ("d", "0"),
        ("e", "AA/x"),
        ("f", "AA!"),
    ] {
        assert_eq!(strings(&rows, column), [expected], "{column}");
    }
}

#[test]
fn large_rows_are_computed_a_few_at_a_time() {
    // Together they are more than may be given at once, by the estimate, and less in truth.
    let sql = "SELECT length(replace(repeat(carrier, VendorID * 10000), 'Z', repeat('y', 1500))) AS n FROM source";
    let rows = run(&plan(sql).unwrap(), two_batches());
    assert_eq!(ints(&rows, "n"), [1, 2, 3, 4, 5].map(|v| Some(v * 20_000)));
}

#[test]
fn long_constants_make_batches_small() {
    let text = "x".repeat(30_000);
    let sql = format!("SELECT '{text}' AS c, VendorID FROM source");
    let many: Vec<_> = (1..=8192).map(|i| ("AA", i, None, 0.0)).collect();
    let input: BatchIter<Malformed> = Box::new(std::iter::once(Ok(batch(&many))));
    let mut rows = 0;
    for batch in plan(&sql).unwrap().run(input, &never()).unwrap() {
        let batch = batch.unwrap();
        assert!(
            batch.num_rows() <= (64 << 20) / 30_000,
            "{}",
            batch.num_rows()
        );
        rows += batch.num_rows();
    }
    assert_eq!(rows, 8192);
}

/// An interrupt that says so from some moment after the first question on.
fn soon() -> (Interrupt, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    (
        Arc::new(move || count.fetch_add(1, Ordering::Relaxed) > 20),
        asked,
    )
}

#[test]
fn queries_without_output_are_broken_off() {
    let values = chain(1_000, |n| format!("({n})"), ", ");
    for sql in [
        format!(
            "SELECT sum(VendorID) AS x FROM source, (VALUES {values}) v(a), (VALUES {values}) w(b), (VALUES {values}) z(c)"
        ),
        format!(
            "SELECT count(*) AS x FROM source, (VALUES {values}) v(a), (VALUES {values}) w(b), (VALUES {values}) z(c)"
        ),
        format!(
            "SELECT VendorID AS x FROM source JOIN (VALUES {values}) v(a) ON VendorID + a > 0 JOIN (VALUES {values}) w(b) ON VendorID + b > 0 JOIN (VALUES {values}) z(c) ON b * c < -1"
        ),
        format!(
            "SELECT max(x) AS x FROM (SELECT unnest(range(0, 10000)) AS x FROM source, (VALUES {values}) v(a))"
        ),
    ] {
        let transform = plan(&sql).unwrap();
        let input: BatchIter<Malformed> = Box::new(two_batches().into_iter().map(Ok));
        let (interrupt, asked) = soon();
        let output: Result<Vec<_>, _> = transform.run(input, &interrupt).unwrap().collect();
        let found = output.map(|batches| batches.len());
        assert!(
            matches!(found, Err(RunError::Interrupted)),
            "{}: {found:?}",
            &sql[..50]
        );
        assert!(asked.load(Ordering::Relaxed) > 20);
    }
}

#[test]
fn an_interrupt_from_another_thread_is_heard() {
    let values = chain(1_000, |n| format!("({n})"), ", ");
    let sql = format!(
        "SELECT count(*) AS x FROM source, (VALUES {values}) v(a), (VALUES {values}) w(b), (VALUES {values}) z(c)"
    );
    let transform = plan(&sql).unwrap();
    let (end, begun) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicBool::new(false)),
    );
    let (ends, begins) = (Arc::clone(&end), Arc::clone(&begun));
    let interrupt: Interrupt = Arc::new(move || {
        begins.store(true, Ordering::SeqCst);
        ends.load(Ordering::SeqCst)
    });
    let computing = std::thread::spawn(move || {
        let input: BatchIter<Malformed> = Box::new(two_batches().into_iter().map(Ok));
        transform.run(input, &interrupt).unwrap().next()
    });
    while !begun.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(1));
    }
    end.store(true, Ordering::SeqCst);
    assert!(matches!(
        computing.join().unwrap(),
        Some(Err(RunError::Interrupted))
    ));
}

#[test]
fn operators_are_used_again_and_give_the_same() {
    for sql in [
        "SELECT carrier AS k, VendorID + 1 AS v FROM source WHERE VendorID > 1",
        "SELECT carrier AS k, sum(VendorID) AS v FROM source GROUP BY carrier ORDER BY k",
        "SELECT carrier AS k, VendorID AS v FROM source ORDER BY distance DESC LIMIT 2",
        "SELECT carrier AS k, max(VendorID) AS v FROM source GROUP BY carrier ORDER BY v DESC LIMIT 1",
        "SELECT carrier AS k, row_number() OVER (PARTITION BY carrier ORDER BY VendorID) AS v FROM source ORDER BY k, v",
        "SELECT s.carrier AS k, w.v AS v FROM source s JOIN (VALUES ('AA', 1), ('UA', 2)) AS w(code, v) ON s.carrier = w.code ORDER BY k, v",
        "SELECT carrier AS k, w.v AS v FROM source, (VALUES (1), (2)) AS w(v) ORDER BY k, v",
        "SELECT carrier AS k, w.v AS v FROM source JOIN (VALUES (1), (2)) AS w(v) ON VendorID < w.v ORDER BY k, v",
        "SELECT carrier AS k, VendorID AS v FROM source UNION ALL SELECT 'ZZ', 1",
        "SELECT DISTINCT carrier AS k, 1 AS v FROM source ORDER BY k",
        "SELECT carrier AS k, unnest([VendorID, 1]) AS v FROM source",
        "SELECT carrier AS k, VendorID + (SELECT max(a) FROM (VALUES (1), (3)) AS t(a)) AS v FROM source",
        "SELECT carrier AS k, VendorID AS v FROM source WHERE VendorID IN (SELECT a FROM (VALUES (1), (3)) AS t(a))",
        "SELECT carrier AS k, VendorID AS v FROM source WHERE VendorID NOT IN (SELECT a FROM (VALUES (1), (3)) AS t(a))",
    ] {
        let transform = plan(sql).unwrap();
        let first = run(&plan(sql).unwrap(), two_batches());
        let other = vec![batch(&[("ZZ", 9, None, 9.0)])];
        let alone = run(&plan(sql).unwrap(), other.clone());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..3 {
                        assert_eq!(run(&transform, two_batches()), first, "{sql}");
                        assert_eq!(run(&transform, other.clone()), alone, "{sql}");
                    }
                });
            }
        });
        assert_eq!(
            run(&transform, Vec::new()).num_rows(),
            run(&plan(sql).unwrap(), Vec::new()).num_rows(),
            "{sql}"
        );
    }
}
