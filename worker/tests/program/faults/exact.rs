//! Random values at random places in random formats come out exactly, or the job fails and names them.
//!
//! `ECITON_EXACT_CASES` sets how many cases are tried and `ECITON_EXACT_SEED` with which one to begin; a failure prints
//! its seed.

use std::env;
use std::io::Write;

use serde_json::{Value, json};

use super::super::support::Place;
use super::run;

/// Cases tried where nobody says how many.
const CASES: u64 = 40;
/// Rows that types are inferred from.
const SAMPLE_ROWS: u64 = 1000;

/// A small generator of random numbers.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        let at = usize::try_from(self.below(items.len() as u64)).unwrap();
        items[at].clone()
    }
}

/// A value as it stands in a file, and everything that it may be in a store.
#[derive(Clone, Debug)]
struct Written {
    /// The text of the field, or between the quotes of a string.
    text: String,
    /// Whether JSON has it as it is, without quotes.
    bare: bool,
    /// What it means, besides its own text.
    meanings: Vec<Value>,
}

/// The types that a column may be declared with; empty: it is inferred.
const DECLARED: [&str; 16] = [
    "",
    "",
    "",
    "",
    "",
    "string",
    "json",
    "int64",
    "uint64",
    "int16",
    "float64",
    "float32",
    "date",
    "timestamp",
    "bool",
    "decimal(12,3)",
];

fn integer(random: &mut Random, size: u64) -> Written {
    let value = match size {
        0 => i128::from(random.below(100)),
        1 => i128::from(random.next().cast_signed() >> 20),
        2 => i128::from(random.next().cast_signed()),
        3 => i128::from(random.next()),
        _ => i128::from(random.next()) * 1_000_003,
    };
    Written {
        text: value.to_string(),
        bare: true,
        meanings: vec![serde_json::from_str(&value.to_string()).unwrap()],
    }
}

fn float(random: &mut Random) -> Written {
    let digits = random.below(10_000_000);
    let text = format!("{}.{digits:07}", random.below(1000));
    let value: f64 = text.parse().unwrap();
    let mut meanings = vec![json!(value)];
    if let Ok(small) = text.parse::<f32>() {
        meanings.push(json!(f64::from(small)));
    }
    Written {
        text,
        bare: true,
        meanings,
    }
}

fn date(random: &mut Random) -> Written {
    let text = format!(
        "{:04}-{:02}-{:02}",
        1900 + random.below(200),
        1 + random.below(12),
        1 + random.below(28)
    );
    // Declared as a timestamp it is its midnight.
    let meanings = vec![
        json!({"$date": text}),
        json!({"$ts": format!("{text}T00:00:00Z")}),
    ];
    Written {
        text,
        bare: false,
        meanings,
    }
}

fn timestamp(random: &mut Random, offset: bool) -> Written {
    let day = date(random).text;
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    let fraction = random.pick(&["", ".5", ".250000", ".123456", ".1234567", ".000001000"]);
    let zone = if offset { "Z" } else { "" };
    let kept = fraction.trim_end_matches('0');
    let meanings = match kept.len() > 7 {
        true => vec![],
        false => vec![json!({"$ts": format!("{day}T{clock}{kept}Z")})],
    };
    Written {
        text: format!("{day}T{clock}{fraction}{zone}"),
        bare: false,
        meanings,
    }
}

fn odd(random: &mut Random) -> Written {
    let (text, bare): (&str, bool) = random.pick(&[
        ("007", false),
        ("+5", false),
        ("1_000", false),
        (" 1", false),
        ("yes", false),
        ("T", false),
        ("NaN", false),
        ("2024-02-30", false),
        ("24:00", false),
        ("2024-01-01T23:59:60Z", false),
        ("0000-01-01", false),
        ("10000-01-01", false),
        ("a \u{e9} b", false),
        ("null", false),
        ("1e400", true),
        ("9007199254740993", true),
        ("3.141592653589793238", true),
        ("18446744073709551616", true),
        ("0.0001", true),
    ]);
    let meanings = match text {
        "9007199254740993" => vec![json!(9_007_199_254_740_993_u64)],
        "3.141592653589793238" => vec![
            json!(std::f64::consts::PI),
            json!(f64::from(std::f32::consts::PI)),
        ],
        "0.0001" => vec![json!(0.0001), json!(f64::from(0.0001_f32))],
        // What the job file declares to be a number may be written so.
        "007" => vec![json!(7), json!(7.0)],
        "+5" => vec![json!(5), json!(5.0)],
        "NaN" => vec![json!({"$f64": "NaN"})],
        _ => vec![],
    };
    Written {
        text: text.to_owned(),
        bare,
        meanings,
    }
}

fn boolean(random: &mut Random) -> Written {
    let value = random.below(2) == 0;
    Written {
        text: value.to_string(),
        bare: true,
        meanings: vec![json!(value)],
    }
}

fn value(random: &mut Random, kind: u64) -> Written {
    match kind {
        0..=4 => integer(random, kind),
        5 => float(random),
        6 => date(random),
        7 => timestamp(random, true),
        8 => timestamp(random, false),
        9 => boolean(random),
        _ => odd(random),
    }
}

/// Whether a value in a store is what was written.
fn is_exact(found: &Value, written: &Written, jsonl: bool, declared: &str) -> bool {
    // A declaration says how a text is meant; a guess may not.
    let as_declared = ["007", "+5", "3.141592653589793238", "NaN"].contains(&written.text.as_str());
    let quoted = serde_json::to_string(&written.text).unwrap();
    match found {
        Value::String(text) if declared == "json" && !written.bare => *text == quoted,
        Value::String(text) => *text == written.text,
        Value::Object(object) if object.contains_key("$dec") => {
            let text = object["$dec"].as_str().unwrap();
            let plain = |text: &str| -> String {
                let text = text.trim_start_matches(['+', '0']);
                match text.contains('.') {
                    true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                    false => text.to_owned(),
                }
            };
            plain(text) == plain(&written.text)
        }
        found if as_declared && (declared.is_empty() || (jsonl && !written.bare)) => {
            panic!("{written:?} became {found}")
        }
        Value::Number(number) => written.meanings.iter().any(|meaning| {
            let same = |other: &Value| {
                other.as_f64() == number.as_f64() && !(number.is_i64() ^ other.is_i64())
            };
            meaning == found || same(meaning) || number.to_string() == format!("{}.0", written.text)
        }),
        found => written.meanings.contains(found),
    }
}

fn line(id: u64, written: &Written, jsonl: bool, delimiter: char) -> String {
    match jsonl {
        true if written.bare => format!("{{\"id\":{id},\"k\":{}}}\n", written.text),
        true => format!(
            "{{\"id\":{id},\"k\":{}}}\n",
            serde_json::to_string(&written.text).unwrap()
        ),
        false => format!("{id}{delimiter}{}\n", written.text),
    }
}

fn compressed(text: &str, extension: &str) -> Vec<u8> {
    match extension {
        ".gz" => {
            let mut encoder = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        }
        _ => text.as_bytes().to_vec(),
    }
}

fn try_case(seed: u64) {
    let mut random = Random(seed);
    let (format, delimiter, extension) = random.pick(&[
        ("csv", ',', ""),
        ("tsv", '\t', ""),
        ("jsonl", ',', ""),
        ("jsonl", ',', ".gz"),
        ("csv", ',', ".gz"),
    ]);
    let jsonl = format == "jsonl";
    let declared = random.pick(&DECLARED);
    let common = random.below(10);
    let rows = SAMPLE_ROWS + 200;
    // Before the end of the sample or behind it; the other rows are of one kind, without fractions that are too fine.
    let place = random.below(rows);
    let late = random.below(11);
    let special = value(&mut random, late);
    let name = format!("x.{format}{extension}");
    let mut text = if jsonl {
        String::new()
    } else {
        format!("id{delimiter}k\n")
    };
    let mut all = Vec::new();
    for id in 0..rows {
        let written = match id == place {
            true => special.clone(),
            false => loop {
                let written = value(&mut random, common);
                if !written.meanings.is_empty() {
                    break written;
                }
            },
        };
        text += &line(id, &written, jsonl, delimiter);
        all.push(written);
    }
    let folder = Place::new();
    folder.write(&name, compressed(&text, extension));
    let schema = match declared {
        "" => String::new(),
        declared if declared == "json" && !jsonl => "[source.schema]\nk = \"string\"\n".to_owned(),
        declared => format!("[source.schema]\nk = \"{declared}\"\n"),
    };
    let declared = if declared == "json" && !jsonl {
        "string"
    } else {
        declared
    };
    folder.write(
        "job.toml",
        format!(
            "name = \"j\"\n[source]\nformat = \"{format}\"\npaths = [\"{name}\"]\nshard_size = 4096\n{schema}\
             [upsert]\nstore = \"t\"\nkey = [\"id\"]\n"
        ),
    );
    let case = format!(
        "seed {seed}: {special:?} in {name} at {place}, others like {:?}, declared `{declared}`",
        all[0]
    );
    let ended = run(&folder);
    if ended.code == Some(1) {
        let named = [
            format!("`{name}`: line "),
            "column ".to_owned(),
            "(`k`)".to_owned(),
            "found `".to_owned(),
        ];
        for words in named {
            assert!(ended.stderr.contains(&words), "{case}: {ended:#?}");
        }
        // The others are what the first rows are: only the special one may be refused where the type is a guess.
        if declared.is_empty() {
            let number = place + 1 + u64::from(!jsonl);
            let refused_early = place < SAMPLE_ROWS;
            assert!(
                refused_early || ended.stderr.contains(&format!("line {number},")),
                "{case}: {ended:#?}"
            );
        }
        return;
    }
    assert_eq!(ended.code, Some(0), "{case}: {ended:#?}");
    let records = folder.call(&["scan", "t", "--json"]).done().json_lines();
    assert_eq!(records.len() as u64, rows, "{case}");
    for record in records {
        let id = usize::try_from(record["key"].as_u64().unwrap()).unwrap();
        let found = &record["value"]["k"];
        assert!(
            is_exact(found, &all[id], jsonl, declared),
            "{case}: {:?} became {found}",
            all[id]
        );
    }
}

#[test]
fn random_values_are_exact_or_named() {
    let number = |name: &str| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let cases = number("ECITON_EXACT_CASES").unwrap_or(CASES);
    let first = number("ECITON_EXACT_SEED").unwrap_or(0);
    println!("seeds {first} to {}", first + cases - 1);
    (first..first + cases).for_each(try_case);
}
