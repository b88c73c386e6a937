use std::collections::HashMap;
use std::fs;

use super::super::{KeptHash, Planned, Shard, Source, content_hash, mend};
use super::{Folder, gzip, read};

const CSV: &str = "format = \"csv\"\npaths = [\"*\"]\nshard_size = 1024\n";
const SCHEMA: &str = "[source.schema]\na = \"int64\"\nb = \"string\"\n";

/// What is kept of hashes.
const BITS: u32 = 24;

/// What a run leaves behind: so many bits of the hashes of the shards that were read.
fn run(source: &Source, shards: &[Shard], bits: u32) -> HashMap<u64, KeptHash> {
    let hash = |shard: &Shard| {
        let read = read(source, &[*shard]).ok()?;
        let hash = KeptHash::new(content_hash(read.hashes[0]), bits);
        Some((shard.number, hash))
    };
    shards.iter().filter_map(hash).collect()
}

fn lines(count: usize) -> Vec<String> {
    (0..count)
        .map(|i| format!("{i},{}", "x".repeat(i % 7)))
        .collect()
}

fn text(lines: &[String]) -> String {
    format!("a,b\n{}\n", lines.join("\n"))
}

/// Runs over the broken file, mends it, and reads everything with the shards as they are then.
fn mended(
    folder: &Folder,
    name: &str,
    good: &[u8],
) -> Result<(Planned, Vec<Vec<String>>, usize), String> {
    mended_by(BITS, folder, name, good)
}

fn mended_by(
    bits: u32,
    folder: &Folder,
    name: &str,
    good: &[u8],
) -> Result<(Planned, Vec<Vec<String>>, usize), String> {
    let (source, shards) = folder.open();
    let done = run(&source, &shards, bits);
    fs::write(folder.path(name), good).unwrap();
    let planned =
        mend(&source, &shards, |number| done.get(&number).copied()).map_err(|e| e.to_string())?;
    let source = planned.source(source.spec().clone()).unwrap();
    let now = planned.shards().unwrap();
    assert_eq!(now.len(), shards.len(), "shards keep their numbers");
    let found = read(&source, &now).map_err(|e| e.to_string())?;
    for (shard, hash) in now.iter().zip(&found.hashes) {
        assert!(
            done.get(&shard.number)
                .is_none_or(|before| *before == KeptHash::new(content_hash(*hash), bits)),
            "{shard:?} was done"
        );
    }
    Ok((planned, found.rows, shards.len() - done.len()))
}

#[test]
fn done_shards_are_found_wherever_they_are_now() {
    let good = lines(2000);
    for newlines in [false, true] {
        for (broken, failed) in [
            (vec![3], 1),
            (vec![1999], 1),
            (vec![1000], 1),
            (vec![3, 700, 701, 1200, 1999], 4),
        ] {
            let mut bad = good.clone();
            for line in &broken {
                bad[*line] = format!("oops {line},this is no integer");
            }
            let settings = format!("{CSV}newlines_in_values = {newlines}\n{SCHEMA}");
            let folder = Folder::new(&settings).with("x.csv", text(&bad));
            let (_, rows, count) = mended(&folder, "x.csv", text(&good).as_bytes()).unwrap();
            assert_eq!(count, failed, "{broken:?}");
            let found: Vec<_> = rows
                .iter()
                .map(|row| row.join(",").replace('∅', ""))
                .collect();
            assert_eq!(found, good, "{broken:?}");
        }
    }
}

#[test]
fn lines_may_come_and_go_in_failed_shards() {
    let good = lines(2000);
    let mut bad = good.clone();
    bad[900] = "oops,x".to_owned();
    bad[1500] = "oops,x".to_owned();
    let mut mended_lines = good.clone();
    mended_lines.splice(900..901, ["7,new".to_owned(), "8,new".to_owned()]);
    mended_lines.remove(1501);
    let folder = Folder::new(&format!("{CSV}{SCHEMA}")).with("x.csv", text(&bad));
    let (_, rows, _) = mended(&folder, "x.csv", text(&mended_lines).as_bytes()).unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| row.join(",").replace('∅', ""))
        .collect();
    assert_eq!(found, mended_lines);
}

#[test]
fn changes_in_done_shards_are_refused_with_the_name_of_the_file() {
    let good = lines(2000);
    let mut bad = good.clone();
    bad[1000] = "oops,x".to_owned();
    let refused = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = good.clone();
        change(&mut changed);
        let folder = Folder::new(&format!("{CSV}{SCHEMA}")).with("x.csv", text(&bad));
        mended(&folder, "x.csv", text(&changed).as_bytes()).unwrap_err()
    };
    for change in [
        (&|lines: &mut Vec<String>| lines[5] = "5,changed".to_owned()) as &dyn Fn(&mut Vec<String>),
        &|lines| lines[5] = lines[5].replace('x', "y"),
        &|lines| lines[1900] = "1900,changed".to_owned(),
        &|lines| lines.truncate(1500),
    ] {
        let message = refused(change);
        let start = "`x.csv`: the file changed since the job was recorded: expected changes in failed shards \
                     only; shard ";
        assert!(message.starts_with(start), "{message}");
    }
    let folder = Folder::new(&format!("{CSV}{SCHEMA}")).with("x.csv", text(&bad));
    let other = text(&good).replace("a,b", "a,c");
    assert_eq!(
        mended(&folder, "x.csv", other.as_bytes()).unwrap_err(),
        "`x.csv`: the file changed since the job was recorded: expected the header that was recorded, found \
         `a`, `c`"
    );
}

/// Editors end the last line of what they save, or do not.
#[test]
fn the_end_of_the_last_line_is_no_change() {
    let good = lines(2000);
    let mut bad = good.clone();
    bad[1000] = "oops,x".to_owned();
    let ends = ["", "\n", "\r\n", "\r"];
    let text = |lines: &[String], end: &str| format!("a,b\n{}{end}", lines.join("\n"));
    for settings in [
        format!("{CSV}{SCHEMA}"),
        format!("{CSV}newlines_in_values = true\n{SCHEMA}"),
    ] {
        for (before, after) in ends.iter().flat_map(|b| ends.iter().map(move |a| (*b, *a))) {
            let folder = Folder::new(&settings).with("x.csv", text(&bad, before));
            let (source, shards) = folder.open();
            let done = run(&source, &shards, BITS);
            assert_eq!(done.len(), shards.len() - 1);
            let again = |source: &Source, shards: &[Shard], good: String| {
                fs::write(folder.path("x.csv"), good).unwrap();
                let planned = mend(source, shards, |number| done.get(&number).copied()).unwrap();
                let source = planned.source(source.spec().clone()).unwrap();
                let shards = planned.shards().unwrap();
                let rows = read(&source, &shards).unwrap().rows.into_iter();
                let rows: Vec<_> = rows.map(|row| row.join(",").replace('∅', "")).collect();
                assert_eq!(rows, lines(2000), "{before:?} {after:?}");
                (source, shards)
            };
            let (source, shards) = again(&source, &shards, text(&good, after));
            // What was taken once is taken again, whatever the next editor does.
            for next in ends {
                again(&source, &shards, text(&good, next));
            }
        }
    }
    // A blank line is a record of a file of one column.
    for (before, after) in [("1", "1\n\n"), ("1\n", "1\n\n"), ("1\n\n", "1\n")] {
        let one = "format = \"csv\"\npaths = [\"*\"]\nshard_size = 1024\n[source.schema]\na = \"int64\"\n";
        let folder = Folder::new(one)
            .with("x.csv", format!("a\n{before}"))
            .with("y.csv", "a\noops\n");
        let error = mended(&folder, "x.csv", format!("a\n{after}").as_bytes()).unwrap_err();
        assert!(error.contains("`x.csv`: the file changed"), "{error}");
    }
}

#[test]
fn the_shard_that_changed_is_the_one_that_is_named() {
    let good = lines(2000);
    let mut bad = good.clone();
    bad[10] = "oops,x".to_owned();
    for changed in [500, 1000, 1500, 1999] {
        let folder = Folder::new(&format!("{CSV}{SCHEMA}")).with("x.csv", text(&bad));
        let (_, shards) = folder.open();
        let before = text(&bad[..changed]).len() as u64;
        let its = shards.iter().rfind(|shard| shard.start < before).unwrap();
        let mut other = good.clone();
        other[changed].push_str("longer");
        let error = mended(&folder, "x.csv", text(&other).as_bytes()).unwrap_err();
        let named = format!("; shard {} (byte ", its.number);
        assert!(error.contains(&named), "{changed}: {named} {error}");
    }
}

#[test]
fn files_that_are_done_may_not_grow() {
    let folder = Folder::new(&format!("{CSV}{SCHEMA}"))
        .with("x.csv", text(&lines(10)))
        .with("y.csv", "a,b\noops,x\n");
    let longer = text(&lines(11));
    assert_eq!(
        mended(&folder, "x.csv", longer.as_bytes()).unwrap_err(),
        format!(
            "`x.csv`: the file changed since the job was recorded: expected its end at byte {}, since all \
             before is done, found {}",
            text(&lines(10)).len(),
            longer.len()
        )
    );
}

#[test]
fn a_failed_compressed_file_may_be_any_other() {
    let bad = text(&["1,x".to_owned(), "oops,x".to_owned()]);
    let folder = Folder::new(&format!("{CSV}{SCHEMA}")).with("x.csv.gz", gzip(bad.as_bytes()));
    let (planned, rows, _) =
        mended(&folder, "x.csv.gz", &gzip(text(&lines(3000)).as_bytes())).unwrap();
    assert_eq!(rows.len(), 3000);
    assert_eq!(planned.plan.shards, 1);
}

#[test]
fn without_a_change_the_plan_stays() {
    let folder = Folder::new(&format!("{CSV}{SCHEMA}")).with("x.csv", text(&lines(2000)));
    let mut planned = folder.plan();
    // How types were found is not recorded.
    planned.sampled_rows = 0;
    let (source, shards) = folder.open();
    let done = run(&source, &shards, BITS);
    let again = mend(&source, &shards, |number| done.get(&number).copied()).unwrap();
    assert_eq!(again, planned);
    // The same with a shard to do again.
    let again = mend(&source, &shards, |number| {
        done.get(&number).copied().filter(|_| number != 3)
    })
    .unwrap();
    assert_eq!(again, planned);
}

/// A shard of a few bits is found in many places: only where its neighbours follow is it meant.
#[test]
fn neighbours_tell_a_place_that_a_short_hash_does_not() {
    let good = lines(8000);
    let mut bad = good.clone();
    bad[100] = "oops,x".to_owned();
    bad[7900] = "oops,x".to_owned();
    let mut mended_lines = good.clone();
    mended_lines.splice(100..101, lines(77));
    for bits in [2, 3, 24, 64] {
        let folder = Folder::new(&format!("{CSV}{SCHEMA}")).with("x.csv", text(&bad));
        let good = text(&mended_lines);
        let (_, rows, failed) = mended_by(bits, &folder, "x.csv", good.as_bytes()).unwrap();
        let found: Vec<_> = rows
            .iter()
            .map(|row| row.join(",").replace('∅', ""))
            .collect();
        assert_eq!((found, failed), (mended_lines.clone(), 2), "{bits}");
    }
}

/// Among so many places some other bytes may well have the same few bits.
#[test]
fn a_shard_alone_is_looked_for_nearby_unless_its_hash_is_long() {
    let good = lines(2000);
    let mut bad = good.clone();
    // All but a few lines in the middle, which have a shard or two to themselves.
    for line in (0..2000).filter(|line| !(900..1100).contains(line)) {
        bad[line] = format!("oops {},", "y".repeat(good[line].len().saturating_sub(6)));
    }
    let after = |count: usize| {
        let mut lines = vec![format!("1,{}", "x".repeat(1000)); count];
        lines.extend(good.clone());
        text(&lines)
    };
    let folder = || Folder::new(&format!("{CSV}{SCHEMA}")).with("x.csv", text(&bad));
    let (_, rows, _) = mended(&folder(), "x.csv", after(10).as_bytes()).unwrap();
    assert_eq!(rows.len(), 2010);
    let far = after(2000);
    let (_, rows, _) = mended_by(64, &folder(), "x.csv", far.as_bytes()).unwrap();
    assert_eq!(rows.len(), 4000);
    let folder = folder();
    let (source, shards) = folder.open();
    let done = run(&source, &shards, 16);
    assert!((1..=2).contains(&done.len()), "{done:?}");
    let refused = mended_by(16, &folder, "x.csv", far.as_bytes()).unwrap_err();
    assert!(
        refused.contains("expected changes in failed shards only"),
        "{refused}"
    );
}
