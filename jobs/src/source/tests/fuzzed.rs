//! The short form of `cargo xtask fuzz sources`: files and job files with drawn damage, without coverage to guide it.

use std::fs;
use std::path::Path;

use self::drive::{KINDS, Kind, Place};
use super::{gzip, zstd};

#[path = "../../../fuzz/drive.rs"]
mod drive;

/// Drawn inputs of each seed file.
const ROUNDS: usize = 10;
/// Bytes of the files that damage is done to.
const SEED_LEN_MAX: usize = 4096;

/// Bytes that mean something to one of the formats.
const KNOWN: [u8; 16] = [
    0, 1, 0x7f, 0x80, 0xff, b'"', b'\\', b',', b'\n', b'\r', b'{', b'}', b'[', b'0', b'-', b'e',
];

/// Numbers that are told by the first of them.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.draw() % end.max(1) as u64).unwrap()
    }
}

fn kind_of(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let kinds = [
        (".csv.gz", Kind::CsvGzip),
        (".csv.zst", Kind::CsvZstd),
        (".jsonl.gz", Kind::JsonlGzip),
        (".csv", Kind::Csv),
        (".jsonl", Kind::Jsonl),
        (".parquet", Kind::Parquet),
        (".toml", Kind::JobFile),
    ];
    let kind = kinds.into_iter().find(|(end, _)| name.ends_with(end));
    kind.map(|(_, kind)| kind)
}

fn files_below(dir: &Path, found: &mut Vec<(Kind, Vec<u8>)>) {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files_below(&path, found);
        } else if let Some(kind) = kind_of(&path) {
            let bytes = fs::read(&path).unwrap();
            // The head of a longer text is a text, too.
            if bytes.len() <= SEED_LEN_MAX {
                found.push((kind, bytes));
            } else if matches!(kind, Kind::Csv | Kind::Jsonl) {
                found.push((kind, bytes[..SEED_LEN_MAX].to_vec()));
            }
        }
    }
}

fn seeds() -> Vec<(Kind, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![];
    for dir in [
        "../worker/tests/faults",
        "examples",
        "src/source/tests/data",
    ] {
        files_below(&root.join(dir), &mut found);
    }
    let text = b"k,v\n1,\"x,\ny\"\n\"2\",z\r\n\n3,\n";
    let lines = b"{\"k\":1,\"v\":[1,null]}\n{\"k\":\"\\u00e9\",\"w\":{}}\n";
    found.push((Kind::Csv, text.to_vec()));
    found.push((Kind::CsvGzip, [gzip(text), gzip(text), vec![0; 9]].concat()));
    found.push((Kind::CsvZstd, [zstd(text), zstd(text)].concat()));
    found.push((Kind::JsonlGzip, gzip(lines)));
    found.push((Kind::Jsonl, lines.to_vec()));
    found
}

/// One change of some bytes.
fn damage(random: &mut Random, bytes: &mut Vec<u8>, kind: Kind) {
    // What a footer says matters most.
    let at = match random.below(2) {
        0 if kind == Kind::Parquet => bytes.len() / 2 + random.below(bytes.len() / 2),
        _ => random.below(bytes.len()),
    };
    let end = (at + 1 + random.below(16)).min(bytes.len());
    match random.below(7) {
        _ if bytes.is_empty() => bytes.push(KNOWN[random.below(KNOWN.len())]),
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = KNOWN[random.below(KNOWN.len())],
        2 => bytes.insert(at, KNOWN[random.below(KNOWN.len())]),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.truncate(at),
        5 => {
            let copy = bytes[at..end].to_vec();
            let to = random.below(bytes.len());
            bytes.splice(to..to, copy);
        }
        _ => bytes[at..end].fill(0xff),
    }
}

#[test]
fn drawn_damage_ends_in_rows_or_in_an_error() {
    let seed = std::env::var("ECITON_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(0x5eed_0015);
    println!("ECITON_SEED={seed}");
    let mut random = Random(seed);
    let place = Place::new();
    let seeds = seeds();
    assert!(seeds.len() > 30, "{} files to begin with", seeds.len());
    for (kind, good) in &seeds {
        let number = KINDS.iter().position(|known| known == kind).unwrap();
        for round in 0..ROUNDS {
            let mut bytes = good.clone();
            for _ in 0..round.div_ceil(2) {
                damage(&mut random, &mut bytes, *kind);
            }
            let options = random.draw().to_le_bytes()[0];
            let data = [&[u8::try_from(number).unwrap(), options], bytes.as_slice()].concat();
            let driven =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| place.drive(&data)));
            if let Err(panic) = driven {
                println!("{kind:?}, options {options:#x}: {}", bytes.escape_ascii());
                std::panic::resume_unwind(panic);
            }
        }
    }
}
