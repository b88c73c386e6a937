//! `stream`: values of any length, by range.

use std::io::Write;
use std::process::Stdio;

use crate::support::{Ended, Place};

/// More than a chunk, and no two parts alike.
fn film(len: u32) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0])
        .collect()
}

fn stored(place: &Place) -> Vec<u8> {
    let out = place.path("out");
    let call = [
        "stream", "read", "films", "garden", "--out", "out", "--json",
    ];
    let told = place.call(&call).done().json();
    let bytes = std::fs::read(out).unwrap();
    assert_eq!(told["bytes"], bytes.len(), "{told}");
    bytes
}

#[test]
fn a_stream_is_written_read_and_edited_by_range() {
    let place = Place::new();
    let mut expected = film(3_000_000);
    place.write("film", &expected);
    place.write("reel", b"another reel");
    let call = [
        "stream", "write", "films", "garden", "film", "--create", "--json",
    ];
    let told = place.call(&call).done().json();
    assert_eq!(told["len"], 3_000_000, "{told}");
    assert_eq!(stored(&place), expected);

    let mut edit = |flags: &[&str], change: &dyn Fn(&mut Vec<u8>)| {
        let call = [&["stream", "write", "films", "garden", "reel"], flags].concat();
        place.call(&call).done();
        change(&mut expected);
        assert!(stored(&place) == expected, "{flags:?}");
    };
    let reel = || b"another reel".to_vec();
    edit(&["--insert", "1500000"], &|film| {
        film.splice(1_500_000..1_500_000, reel());
    });
    edit(&["--over", "7"], &|film| {
        film.splice(7..19, reel());
    });
    edit(&["--append"], &|film| film.extend(reel()));
    edit(&["--replace", "1000..2000000"], &|film| {
        film.splice(1000..2_000_000, reel());
    });
    place
        .call(&["stream", "cut", "films", "garden", "0..990"])
        .done();
    expected.drain(..990);
    assert!(stored(&place) == expected);

    let listed = place
        .call(&["stream", "ls", "films", "--json"])
        .done()
        .json();
    assert_eq!(listed["key"], "garden", "{listed}");
    assert_eq!(listed["len"], expected.len(), "{listed}");
    let part = [
        "stream", "read", "films", "garden", "--from", "5", "--len", "9",
    ];
    let part = place.command(&part).output().unwrap();
    assert_eq!(part.stdout, &expected[5..14]);
    place.call(&["db", "verify"]).done();

    place.call(&["stream", "rm", "films", "garden"]).done();
    place
        .call(&["stream", "read", "films", "garden"])
        .with_code(1)
        .told(&["no stream", "garden", "films"]);
}

#[test]
fn a_stream_comes_from_standard_input_and_may_be_empty() {
    let place = Place::new();
    let mut child = place
        .command(&["stream", "write", "films", "garden", "--create"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"the first reel")
        .unwrap();
    Ended::from(child.wait_with_output().unwrap()).done();
    assert_eq!(stored(&place), b"the first reel");
    // Standard input is empty here: so is the stream then.
    let told = place
        .call(&["stream", "write", "films", "garden", "--json"])
        .done()
        .json();
    assert_eq!(told["len"], 0, "{told}");
    assert_eq!(stored(&place), b"");
}

#[test]
fn what_is_beyond_a_stream_changes_nothing() {
    let place = Place::new();
    place.write("film", b"0123456789");
    let write = ["stream", "write", "films", "garden", "film"];
    place.call(&write).with_code(2).told(&["not a database"]);
    place.call(&[&write[..], &["--create"]].concat()).done();
    for flags in [["--over", "11"], ["--insert", "11"], ["--replace", "3..11"]] {
        place
            .call(&[&write[..], &flags].concat())
            .with_code(2)
            .told(&["11 lies beyond the stream's 10 bytes"]);
    }
    place
        .call(&["stream", "cut", "films", "garden", "5..11"])
        .with_code(2);
    place
        .call(&["stream", "cut", "films", "garden", "5..4"])
        .with_code(2);
    place
        .call(&["stream", "read", "films", "garden", "--from", "11"])
        .with_code(2);
    place
        .call(&["stream", "read", "films", "garden", "--json"])
        .with_code(2);
    place
        .call(&[&write[..], &["--append", "--insert", "1"]].concat())
        .with_code(2);
    place
        .call(&["stream", "write", "films", "garden", "nowhere"])
        .with_code(1)
        .told(&["nowhere"]);
    place.call(&["stream", "ls", "nothing"]).with_code(2);
    assert_eq!(stored(&place), b"0123456789");
}
