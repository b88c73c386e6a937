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
    assert!(
        folder("x.csv.gz", b"a,b\n1,2\n")
            .refusal()
            .contains("gzip stream")
    );
    assert!(
        folder("x.csv.zst", b"a,b\n1,2\n")
            .refusal()
            .contains("zstd stream")
    );
}
