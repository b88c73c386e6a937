//! Objects that are read by ranges, from a server of this process that can break off, lie and change.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::source::{Reach, plan_within};

/// What the server has, and how it misbehaves.
#[derive(Default)]
struct Files {
    /// Contents and tags by path.
    all: Mutex<BTreeMap<String, (Vec<u8>, String)>>,
    /// Answers to come that end in the middle.
    broken: AtomicU32,
    /// Answers to ranges so far.
    ranges: AtomicU32,
    /// Where readers are sent.
    elsewhere: Mutex<Option<String>>,
}

impl Files {
    fn put(&self, path: &str, bytes: impl Into<Vec<u8>>, tag: &str) {
        let entry = (bytes.into(), format!("\"{tag}\""));
        self.all.lock().insert(path.to_owned(), entry);
    }

    /// Answers one request after the other of a connection.
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let mut words = line.split_whitespace();
            let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let (mut range, mut if_match) = (None, None);
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                let Some((name, value)) = header.trim_end().split_once(": ") else {
                    break;
                };
                match name.to_ascii_lowercase().as_str() {
                    "range" => range = Some(value.to_owned()),
                    "if-match" => if_match = Some(value.to_owned()),
                    _ => {}
                }
            }
            if !self.answer(stream, method, path, range, if_match)? {
                return Ok(());
            }
        }
    }

    /// Sends one answer; false where the connection ends with it.
    fn answer(
        &self,
        mut stream: &TcpStream,
        method: &str,
        path: &str,
        range: Option<String>,
        if_match: Option<String>,
    ) -> std::io::Result<bool> {
        if let Some(to) = &*self.elsewhere.lock() {
            write!(
                stream,
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
            )?;
            return Ok(true);
        }
        let found = self.all.lock().get(path).cloned();
        let Some((bytes, tag)) = found else {
            write!(
                stream,
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
            )?;
            return Ok(true);
        };
        if if_match.is_some_and(|wanted| wanted != tag) {
            write!(
                stream,
                "HTTP/1.1 412 Precondition Failed\r\ncontent-length: 0\r\n\r\n"
            )?;
            return Ok(true);
        }
        let head = format!("etag: {tag}\r\nlast-modified: Tue, 01 Jan 2013 10:00:00 GMT\r\n");
        let total = bytes.len();
        if method == "HEAD" {
            write!(
                stream,
                "HTTP/1.1 200 OK\r\n{head}content-length: {total}\r\n\r\n"
            )?;
            return Ok(true);
        }
        let range = range.expect("objects are read by ranges");
        self.ranges.fetch_add(1, Ordering::SeqCst);
        let (from, to) = range
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        let from: usize = from.parse().unwrap();
        let to = to.parse::<usize>().unwrap().min(total - 1);
        let body = &bytes[from..=to];
        write!(
            stream,
            "HTTP/1.1 206 Partial Content\r\n{head}content-range: bytes {from}-{to}/{total}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        )?;
        let breaks = self
            .broken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                left.checked_sub(1)
            });
        if breaks.is_ok() {
            stream.write_all(&body[..body.len() / 2])?;
            stream.shutdown(std::net::Shutdown::Both)?;
            return Ok(false);
        }
        stream.write_all(body)?;
        Ok(true)
    }
}

/// Starts a server, and gives the beginning of its addresses.
fn server() -> (Arc<Files>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let root = format!("http://{}", listener.local_addr().unwrap());
    let files = Arc::new(Files::default());
    let served = Arc::clone(&files);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let files = Arc::clone(&served);
            // A client that goes away ends its thread.
            std::thread::spawn(move || files.serve(&stream).ok());
        }
    });
    (files, root)
}

fn text(rows: u32) -> String {
    let rows = (0..rows).map(|row| format!("{row},name {}\n", row * 7 % 1000));
    rows.fold("a,b\n".to_owned(), |text, row| text + &row)
}

fn folder(format: &str, url: &str) -> Folder {
    Folder::new(&format!(
        "format = \"{format}\"\npaths = [\"{url}\"]\nshard_size = \"64KiB\""
    ))
}

#[test]
fn an_object_gives_what_the_file_gives() {
    let (files, root) = server();
    let text = text(40_000);
    files.put("/d/a.csv", text.clone(), "1");
    files.put("/d/b%20c.csv.gz", gzip(text.as_bytes()), "2");
    let of_file = Folder::new("format = \"csv\"\npaths = [\"a.csv\"]\nshard_size = \"64KiB\"");
    let expected = of_file.with("a.csv", &text).read();
    let of_object = folder("csv", &format!("{root}/d/a.csv"));
    let (_, shards) = of_object.open();
    assert!(shards.len() > 5, "{} shards", shards.len());
    let found = of_object.read();
    assert_eq!(found.rows, expected.rows);
    assert_eq!(found.hashes, expected.hashes);
    let packed = folder("csv", &format!("{root}/d/b%20c.csv.gz")).read();
    assert_eq!(packed.rows, expected.rows);
}

/// An answer that ends early is asked for again, and is never the end of the file.
#[test]
fn answers_that_break_off_are_asked_for_again_and_are_no_ends() {
    let (files, root) = server();
    let text = text(40_000);
    files.put("/a.csv", text.clone(), "1");
    let of_object = folder("csv", &format!("{root}/a.csv"));
    let expected = of_object.read().rows;
    let (source, shards) = of_object.open();
    files.broken.store(3, Ordering::SeqCst);
    let found = read(&source, &shards).unwrap();
    assert_eq!(found.rows, expected);
    assert_eq!(files.broken.load(Ordering::SeqCst), 0, "answers broke off");
    files.broken.store(u32::MAX, Ordering::SeqCst);
    let error = read(&source, &shards).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(
        error.to_string().contains("/a.csv`: cannot be read"),
        "{error}"
    );
}

/// So does a compressed one, which could be taken for damaged.
#[test]
fn a_compressed_object_that_breaks_off_is_not_damaged() {
    let (files, root) = server();
    files.put("/a.csv.gz", gzip(text(40_000).as_bytes()), "1");
    let of_object = folder("csv", &format!("{root}/a.csv.gz"));
    let (source, shards) = of_object.open();
    files.broken.store(u32::MAX, Ordering::SeqCst);
    let error = read(&source, &shards).unwrap_err();
    assert!(matches!(error, SourceError::Io { .. }), "{error:?}");
    assert!(error.is_transient(), "{error}");
}

#[test]
fn an_object_that_was_replaced_fails_by_name() {
    let (files, root) = server();
    for (tag, other) in [("2", text(5_000)), ("3", text(5_001))] {
        files.put("/a.csv", text(5_000), "1");
        let of_object = folder("csv", &format!("{root}/a.csv"));
        let (source, shards) = of_object.open();
        assert!(read(&source, &shards).is_ok());
        files.put("/a.csv", other, tag);
        let error = read(&source, &shards).unwrap_err();
        assert!(matches!(error, SourceError::Stale { .. }), "{error:?}");
        let told = error.to_string();
        assert!(told.contains("/a.csv`: the file changed since"), "{told}");
    }
    let (source, shards) = folder("csv", &format!("{root}/a.csv")).open();
    files.all.lock().clear();
    let error = read(&source, &shards).unwrap_err();
    assert!(!error.is_transient(), "{error}");
    assert!(error.to_string().contains("no such object"), "{error}");
}

#[test]
fn what_is_not_there_and_who_does_not_answer_is_told_when_the_job_is_planned() {
    let (files, root) = server();
    files.put("/a.csv", "a\n1\n", "1");
    let told = folder("csv", &format!("{root}/b.csv")).refusal();
    assert!(told.contains("job.toml:4: key `source.paths`"), "{told}");
    assert!(told.contains("matches no object"), "{told}");
    // A port that nobody listens at any more.
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let told = folder("csv", &format!("http://{gone}/a.csv")).refusal();
    assert!(told.contains("cannot be read"), "{told}");
    assert!(told.contains(&gone.to_string()), "{told}");
    let told = folder("csv", &format!("{root}/a.zip")).refusal();
    assert!(told.contains("matches no object"), "{told}");
    files.put("/a.zip", "PK", "1");
    let told = folder("csv", &format!("{root}/a.zip")).refusal();
    assert!(told.contains("compression `.zip` is not read"), "{told}");
}

/// A job that came over the network reads below the prefixes alone, and is sent nowhere else.
#[test]
fn bounded_jobs_read_below_their_prefixes_alone() {
    let (files, root) = server();
    files.put("/pub/a.csv", "a\n1\n", "1");
    files.put("/pub-2/a.csv", "a\n1\n", "1");
    files.put("/secret.csv", "a\n1\n", "1");
    let bounded = |prefixes: &[String]| {
        let reach = Reach::below([]).unwrap();
        reach.with_remote(prefixes).unwrap()
    };
    let nothing = bounded(&[]);
    let public = bounded(&[format!("{root}/pub")]);
    let planned = |path: &str, reach: &Reach| {
        plan_within(&folder("csv", &format!("{root}/{path}")).job(), reach)
    };
    assert!(planned("pub/a.csv", &public).is_ok());
    for path in [
        "pub-2/a.csv",
        "secret.csv",
        "absent.csv",
        "pub%2f..%2fsecret.csv",
    ] {
        let before = files.ranges.load(Ordering::SeqCst);
        let told = match folder_of(&root, path) {
            Ok(job) => plan_within(&job, &public).unwrap_err().to_string(),
            Err(told) => told,
        };
        let is_refused = told.contains("jobs that come over gRPC") || told.contains("no name");
        assert!(is_refused, "{path}: {told}");
        assert_eq!(files.ranges.load(Ordering::SeqCst), before, "{path}");
    }
    let told = planned("pub/a.csv", &nothing).unwrap_err().to_string();
    assert!(told.contains("jobs that come over gRPC"), "{told}");
    // Recorded by one whose reach was wider.
    let of_object = folder("csv", &format!("{root}/secret.csv"));
    let (source, shards) = of_object.open();
    assert!(!public.may_hold(source.files()));
    let error = read(&source.within(public.clone()), &shards).unwrap_err();
    assert!(
        error.to_string().contains("jobs that come over gRPC"),
        "{error}"
    );
    // Sent elsewhere, a bounded job goes nowhere.
    let (others, other_root) = server();
    others.put("/pub/a.csv", "a\n7\n", "1");
    *files.elsewhere.lock() = Some(format!("{other_root}/pub/a.csv"));
    assert!(planned("pub/a.csv", &public).is_err());
    assert_eq!(others.ranges.load(Ordering::SeqCst), 0);
}

/// A job file over an address, which may be refused already.
fn folder_of(root: &str, path: &str) -> Result<JobFile, String> {
    let text = format!(
        "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"{root}/{path}\"]\n[upsert]\nstore = \"s\"\nkey = [\"a\"]\n"
    );
    JobFile::parse(std::path::Path::new("job.toml"), &text).map_err(|error| error.to_string())
}

#[test]
fn addresses_that_cannot_be_are_refused_in_the_job_file() {
    for (url, told) in [
        ("ftp://host/a.csv", "expected a path, or an address"),
        (
            "https://u:SECRET@host/a.csv",
            "credentials come from the environment",
        ),
        ("https://host/a.csv?token=SECRET", "expected no `?`"),
        (
            "http://169.254.169.254/latest/meta-data",
            "expected https://",
        ),
        ("s3://bucket/a/***", "expected a glob"),
        ("s3://bucket", "expected a key behind the bucket"),
    ] {
        let text = format!(
            "name = \"j\"\n[source]\nformat = \"csv\"\npaths = [\"{url}\"]\n[upsert]\nstore = \"s\"\nkey = [\"a\"]\n"
        );
        let refused = JobFile::parse(std::path::Path::new("job.toml"), &text).unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.contains("job.toml:4: key `source.paths`"),
            "{refused}"
        );
        assert!(refused.contains(told), "{url}: {refused}");
        assert!(!refused.contains("SECRET"), "{refused}");
    }
}
