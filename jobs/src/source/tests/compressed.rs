use std::io::Write;

use flate2::GzBuilder;

use super::{Folder, gzip, read, zstd};

const TEXT: &str = "\u{feff}a,b\r\n1,x\r\n2,\"y,\"\r\n3,z";

fn folder(name: &str, bytes: &[u8]) -> Folder {
    Folder::new("format = \"csv\"\npaths = [\"x*\"]\nshard_size = 1024").with(name, bytes)
}

/// Rows enough to outlast the sample.
fn long() -> Vec<u8> {
    let rows =
        (0..40_000_u64).map(|i| format!("{i},{:x}\n", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    rows.fold("a,b\n".to_owned(), |text, row| text + &row)
        .into_bytes()
}

#[test]
fn a_compressed_file_is_one_shard() {
    for (name, bytes) in [
        ("x.csv.gz", gzip(TEXT.as_bytes())),
        ("x.csv.zst", zstd(TEXT.as_bytes())),
        ("x.csv.GZ", gzip(TEXT.as_bytes())),
        // Several members, as `cat a.gz b.gz` makes them, also in the middle of a line.
        (
            "x.csv.gz",
            [gzip(&TEXT.as_bytes()[..10]), gzip(&TEXT.as_bytes()[10..])].concat(),
        ),
        (
            "x.csv.zst",
            [zstd(&TEXT.as_bytes()[..10]), zstd(&TEXT.as_bytes()[10..])].concat(),
        ),
    ] {
        let folder = folder(name, &bytes);
        let (source, shards) = folder.open();
        assert_eq!(shards.len(), 1, "{name}");
        let found = read(&source, &shards).unwrap();
        assert_eq!(found.rows, [["1", "x"], ["2", "y,"], ["3", "z"]], "{name}");
        assert_eq!(
            found.hashes,
            [xxhash_rust::xxh3::xxh3_128(TEXT.as_bytes())],
            "{name}"
        );
    }
}

#[test]
fn long_streams_are_read_to_the_end() {
    let text = long();
    let plain = folder("x.csv", &text).read();
    assert_eq!(plain.rows.len(), 40_000);
    assert_eq!(folder("x.csv.gz", &gzip(&text)).read().rows, plain.rows);
    assert_eq!(folder("x.csv.zst", &zstd(&text)).read().rows, plain.rows);
}

#[test]
fn truncated_streams_are_errors_that_name_file_and_byte() {
    let text = long();
    for (name, codec, whole) in [
        ("x.csv.gz", "gzip", gzip(&text)),
        ("x.csv.zst", "zstd", zstd(&text)),
    ] {
        // Planning reads the start only, so it is the shard that fails.
        for cut in [whole.len() - 1, whole.len() / 2] {
            let failure = folder(name, &whole[..cut]).failure();
            assert!(
                failure.starts_with(&format!("`{name}`: byte ")),
                "{failure}"
            );
            let expected =
                format!("of the decompressed text: damaged or truncated {codec} stream: ");
            assert!(failure.contains(&expected), "{failure}");
        }
        let refusal = folder(name, &whole[..3]).refusal();
        assert!(
            refusal.contains(&format!("`{name}`: byte 0 of the decompressed text")),
            "{refusal}"
        );
    }
    let text = TEXT.as_bytes();
    let second = gzip(text);
    for cut in [1, 2, 3, 9, second.len() - 1] {
        let torn = [gzip(text), second[..cut].to_vec()].concat();
        let failure = folder("x.csv.gz", &torn).failure();
        assert!(failure.contains("gzip stream"), "{cut}: {failure}");
    }
    let torn = [gzip(text), second[..5].to_vec()].concat();
    let failure = folder("x.csv.gz", &torn).failure();
    assert!(
        failure.contains("damaged or truncated gzip stream"),
        "{failure}"
    );
}

#[test]
fn damaged_streams_are_errors() {
    let text = long();
    for (name, mut bytes) in [("x.csv.gz", gzip(&text)), ("x.csv.zst", zstd(&text))] {
        let middle = bytes.len() / 2;
        bytes[middle..middle + 32].fill(0xa5);
        let (source, shards) = folder(name, &bytes).open();
        assert!(read(&source, &shards).is_err(), "{name}");
    }
}

const ROWS: [[&str; 2]; 3] = [["1", "x"], ["2", "y,"], ["3", "z"]];

#[test]
fn gzip_is_read_as_gzip_reads_it() {
    let text = TEXT.as_bytes();
    let member = gzip(text);
    let mut named = GzBuilder::new()
        .filename("a.csv")
        .comment("of a test")
        .extra(b"AB\x02\x00xy".to_vec())
        .write(vec![], flate2::Compression::fast());
    named.write_all(text).unwrap();
    for bytes in [
        [&member[..], &[0; 1]].concat(),
        [&member[..], &vec![0; 300_000]].concat(),
        // Members on the blocks of a tape.
        [&gzip(&text[..9])[..], &[0; 512], &gzip(&text[9..]), &[0; 7]].concat(),
        [&gzip(b"")[..], &member, &gzip(b"")].concat(),
        named.finish().unwrap(),
    ] {
        assert_eq!(folder("x.csv.gz", &bytes).read().rows, ROWS);
        assert_eq!(folder("x.csv.gzip", &bytes).read().rows, ROWS);
    }
}

#[test]
fn zstd_is_read_as_zstd_reads_it() {
    let text = TEXT.as_bytes();
    let frame = zstd(text);
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    let mut checked = zstd::Encoder::new(vec![], 1).unwrap();
    checked.include_checksum(true).unwrap();
    checked.write_all(text).unwrap();
    let checked = checked.finish().unwrap();
    for bytes in [
        [&skippable[..], &frame, &skippable].concat(),
        [&zstd(&text[..9])[..], &skippable, &zstd(&text[9..])].concat(),
        [&zstd(b"")[..], &frame, &zstd(b"")].concat(),
        checked.clone(),
    ] {
        assert_eq!(folder("x.csv.zst", &bytes).read().rows, ROWS);
        assert_eq!(folder("x.csv.zstd", &bytes).read().rows, ROWS);
    }
    let mut wrong = checked;
    *wrong.last_mut().unwrap() ^= 1;
    let refusal = folder("x.csv.zst", &wrong).refusal();
    assert!(refusal.contains("damaged or truncated zstd"), "{refusal}");
}

#[test]
fn wide_windows_are_read_up_to_the_limit() {
    let text = long();
    let wide = |log: u32| {
        let mut encoder = zstd::Encoder::new(vec![], 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap()
    };
    let plain = folder("x.csv", &text).read().rows;
    assert_eq!(folder("x.csv.zst", &wide(28)).read().rows, plain);
    // The same frame, said to need more.
    let mut wider = wide(28);
    assert_eq!(
        (wider[4], wider[5]),
        (0, (28 - 10) << 3),
        "no single segment"
    );
    wider[5] = 22 << 3;
    let refusal = folder("x.csv.zst", &wider).refusal();
    assert!(
        refusal.contains(
            "`x.csv.zst`: not supported: a zstd window of 4096 MiB, more than the 2048 MiB"
        ),
        "{refusal}"
    );
}

#[test]
fn unsupported_streams_are_not_called_damaged() {
    let gz = gzip(TEXT.as_bytes());
    let method = [&gz[..2], &[7], &gz[3..]].concat();
    let flags = [&gz[..3], &[0x20], &gz[4..]].concat();
    let old = [&[0x27, 0xb5, 0x2f, 0xfd][..], &[0; 30]].concat();
    let dictionary = [&[0x28, 0xb5, 0x2f, 0xfd, 0x21, 9, 40][..], &[0; 30]].concat();
    let reserved = [&[0x28, 0xb5, 0x2f, 0xfd, 0x28, 40][..], &[0; 30]].concat();
    for (name, bytes, what) in [
        ("x.csv.gz", method, "gzip with method 7"),
        ("x.csv.gz", flags, "flags 0x20"),
        ("x.csv.zst", old, "zstd of a version before 0.8"),
        ("x.csv.zst", dictionary, "zstd with a dictionary (number 9)"),
        ("x.csv.zst", reserved, "zstd of a later version"),
    ] {
        let refusal = folder(name, &bytes).refusal();
        assert!(
            refusal.contains(&format!("`{name}`: not supported: ")),
            "{refusal}"
        );
        assert!(refusal.contains(what), "{refusal}");
    }
}

#[test]
fn trailing_garbage_is_named_with_its_place() {
    let text = TEXT.as_bytes();
    for (name, stream) in [("x.csv.gz", gzip(text)), ("x.csv.zst", zstd(text))] {
        for garbage in [&b"x"[..], b"\0\0garbage of some length", b"PK\x03\x04"] {
            let zeros = if name.ends_with("gz") {
                garbage.iter().take_while(|byte| **byte == 0).count()
            } else {
                0
            };
            let at = stream.len() + zeros;
            let bytes = [&stream[..], garbage].concat();
            let failure = folder(name, &bytes).failure();
            let expected = format!("trailing garbage from byte {at} of the file on");
            assert!(failure.contains(&expected), "{failure}");
        }
    }
}

#[test]
fn contents_that_names_do_not_tell_are_told() {
    for (name, bytes, what) in [
        (
            "x.csv",
            gzip(b"a,b"),
            "expected text, found gzip data; name the file `.gz`",
        ),
        (
            "x.csv",
            zstd(b"a,b"),
            "expected text, found zstd data; name the file `.zst`",
        ),
        ("x.csv", b"PK\x03\x04".to_vec(), "found a zip archive"),
        ("x.csv", b"PAR1\x15\x04".to_vec(), "found a Parquet file"),
        (
            "x.csv.gz",
            b"a,b\n1,2\n".to_vec(),
            "expected gzip data by the file's name, found plain text",
        ),
        (
            "x.csv.gz",
            zstd(b"a,b"),
            "expected gzip data by the file's name, found zstd data",
        ),
        (
            "x.csv.zst",
            b"a,b\n1,2\n".to_vec(),
            "expected zstd data by the file's name, found plain text",
        ),
        ("x.csv.zst", vec![], "found an empty file"),
    ] {
        let refusal = folder(name, &bytes).refusal();
        assert!(refusal.contains(&format!("`{name}`: ")), "{refusal}");
        assert!(refusal.contains(what), "{refusal}");
    }
    // Text may begin with letters that something else begins with, too.
    let found = folder("x.csv", b"PAR1,BZh\nORC,1\n").read();
    assert_eq!(found.rows, [["ORC", "1"]]);
}
