use std::io::Write;

use flate2::GzBuilder;

use super::{Folder, bzip2, gzip, read, xz, zstd};

const TEXT: &str = "\u{feff}a,b\r\n1,x\r\n2,\"y,\"\r\n3,z";

fn folder(name: &str, bytes: &[u8]) -> Folder {
    Folder::new("format = \"csv\"\npaths = [\"x*\"]\nshard_size = 1024").with(name, bytes)
}

/// [`TEXT`] by `bz2.compress` and `lzma.compress` of Python, which call the reference libraries.
const BZIP2_OF_PYTHON: &[u8] = b"\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x15\x7a\x6d\x7d\x00\x00\x0b\xd9\x89\x00\x12\x10\x04\x38\x00\x30\x00\x00\x70\x00\x08\x80\x00\xa0\x00\x31\x4c\x00\x01\x04\x0d\xa6\xa3\x6a\x43\x8a\xd6\xd8\x83\x44\xbd\xcb\x08\x49\x7c\x5d\xc9\x14\xe1\x42\x40\x55\xe9\xb5\xf4";
const XZ_OF_PYTHON: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x17\xef\xbb\xbf\x61\x2c\x62\x0d\x0a\x31\x2c\x78\x0d\x0a\x32\x2c\x22\x79\x2c\x22\x0d\x0a\x33\x2c\x7a\x00\xec\xb0\x41\x26\x06\x48\x35\x0e\x00\x01\x30\x18\x8e\x1b\xac\xec\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04\x59\x5a";

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
        ("x.csv.bz2", bzip2(TEXT.as_bytes())),
        ("x.csv.bzip2", bzip2(TEXT.as_bytes())),
        ("x.csv.xz", xz(TEXT.as_bytes())),
        // As other programs have written them.
        ("x.csv.bz2", BZIP2_OF_PYTHON.to_vec()),
        ("x.csv.xz", XZ_OF_PYTHON.to_vec()),
        (
            "x.csv.bz2",
            [
                bzip2(&TEXT.as_bytes()[..10]),
                bzip2(b""),
                bzip2(&TEXT.as_bytes()[10..]),
            ]
            .concat(),
        ),
        (
            "x.csv.xz",
            [
                &xz(&TEXT.as_bytes()[..10])[..],
                &[0; 8],
                &xz(b""),
                &xz(&TEXT.as_bytes()[10..]),
                &[0; 4],
            ]
            .concat(),
        ),
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
    assert_eq!(folder("x.csv.bz2", &bzip2(&text)).read().rows, plain.rows);
    assert_eq!(folder("x.csv.xz", &xz(&text)).read().rows, plain.rows);
}

#[test]
fn truncated_streams_are_errors_that_name_file_and_byte() {
    let text = long();
    for (name, codec, whole) in [
        ("x.csv.gz", "gzip", gzip(&text)),
        ("x.csv.zst", "zstd", zstd(&text)),
        ("x.csv.bz2", "bzip2", bzip2(&text)),
        ("x.csv.xz", "xz", xz(&text)),
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
    for (name, mut bytes) in [
        ("x.csv.gz", gzip(&text)),
        ("x.csv.zst", zstd(&text)),
        ("x.csv.bz2", bzip2(&text)),
        ("x.csv.xz", xz(&text)),
    ] {
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
    for (name, stream) in [
        ("x.csv.gz", gzip(text)),
        ("x.csv.zst", zstd(text)),
        ("x.csv.bz2", bzip2(text)),
    ] {
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

/// xz pads streams with multiples of four NULs, and has sizes and checks at the end of each.
#[test]
fn xz_is_read_as_xz_reads_it() {
    let text = TEXT.as_bytes();
    let stream = xz(text);
    for garbage in [&b"x"[..], b"garbage of some length", b"PK\x03\x04"] {
        let failure = folder("x.csv.xz", &[&stream[..], garbage].concat()).failure();
        let expected = format!("trailing garbage from byte {} of the file on", stream.len());
        assert!(failure.contains(&expected), "{failure}");
    }
    let failure = folder("x.csv.xz", &[&stream[..], &[0; 3]].concat()).failure();
    assert!(failure.contains("3 bytes of padding"), "{failure}");
    // Every byte of a stream is checked by something.
    for at in 0..stream.len() {
        let mut damaged = stream.clone();
        damaged[at] ^= 1;
        let folder = folder("x.csv.xz", &damaged);
        let planned = folder.try_read();
        assert!(planned.is_err(), "byte {at} of {}", stream.len());
    }
    for cut in 1..stream.len() {
        let folder = folder("x.csv.xz", &stream[..cut]);
        assert!(folder.try_read().is_err(), "{cut} bytes");
    }
    let bz2 = bzip2(text);
    for cut in 1..bz2.len() {
        let folder = folder("x.csv.bz2", &bz2[..cut]);
        assert!(folder.try_read().is_err(), "{cut} bytes");
    }
}

/// A dictionary is memory that a file asks for.
#[test]
fn xz_dictionaries_are_read_up_to_the_limit() {
    use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
    let wide = |len: u32| {
        let mut options = LzmaOptions::new_preset(0).unwrap();
        options.dict_size(len);
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let stream = Stream::new_stream_encoder(&filters, Check::Crc64).unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(vec![], stream);
        encoder.write_all(TEXT.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(folder("x.csv.xz", &wide(64 << 20)).read().rows, ROWS);
    let refusal = folder("x.csv.xz", &wide(512 << 20)).refusal();
    let expected = "`x.csv.xz`: not supported: an xz dictionary that takes more than the 256 MiB";
    assert!(refusal.contains(expected), "{refusal}");
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
        (
            "x.csv",
            bzip2(b"a,b"),
            "expected text, found bzip2 data; name the file `.bz2`",
        ),
        (
            "x.csv",
            xz(b"a,b"),
            "expected text, found xz data; name the file `.xz`",
        ),
        (
            "x.csv.bz2",
            b"a,b\n1,2\n".to_vec(),
            "expected bzip2 data by the file's name, found plain text",
        ),
        (
            "x.csv.bz2",
            b"BZ0 of another age".to_vec(),
            "the format of bzip version 1",
        ),
        (
            "x.csv.xz",
            bzip2(b"a,b"),
            "expected xz data by the file's name, found bzip2 data",
        ),
        ("x.csv.xz", vec![], "found an empty file"),
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
