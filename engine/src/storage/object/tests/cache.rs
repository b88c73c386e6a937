//! Segments are asked of the bucket once; everything else every time.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::bucket::Server;
use super::proxy::Proxy;
use super::{ObjectOptions, ObjectStorage, name, options};
use crate::base::SegmentId;
use crate::base::entropy::{Entropy, SeededEntropy, SystemEntropy};
use crate::storage::{Access, CacheOptions, Name, Object, Storage};

const URL: &str = "s3://cache/db";
/// Of the segment that most tests read: pieces, and a part of one.
const LEN: usize = 700_001;

struct Scene {
    server: Server,
    proxy: Proxy,
    dir: TempDir,
}

impl Scene {
    fn new() -> Scene {
        let server = Server::moto();
        server.make_bucket("cache");
        let proxy = Proxy::start(server.address());
        Scene {
            server,
            proxy,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    /// The bucket through the proxy, with the cache.
    async fn reader(&self) -> ObjectStorage {
        reader(self.proxy.endpoint(), &self.folder()).await
    }

    /// Puts an object past the proxy.
    async fn put(&self, name: &Name, bytes: &[u8]) {
        let direct = super::open(URL, format!("http://{}", self.server.address())).await;
        direct.unwrap().create(name, bytes).await.unwrap();
    }

    /// Requests since a count before.
    fn since(&self, before: usize) -> usize {
        self.proxy.seen().len() - before
    }
}

async fn reader(endpoint: String, folder: &Path) -> ObjectStorage {
    let options = ObjectOptions {
        cache: Some(CacheOptions::at(folder)),
        ..options(endpoint)
    };
    let opened = ObjectStorage::open(URL, &options, Access::ReadOnly).await;
    opened.unwrap()
}

fn segment(number: u64) -> Name {
    Name::segment(SegmentId {
        tag: number,
        unique: u128::from(number) << 64,
    })
}

fn content(len: usize) -> Vec<u8> {
    let numbers = (0..len.div_ceil(4)).map(|n| u32::try_from(n).unwrap().to_le_bytes());
    let mut bytes: Vec<u8> = numbers.flatten().collect();
    bytes.truncate(len);
    bytes
}

async fn read_all(object: &dyn Object) -> Bytes {
    let len = usize::try_from(object.len()).unwrap();
    object.read_at(0, len).await.unwrap()
}

async fn opened(storage: &ObjectStorage, name: &Name) -> Arc<dyn Object> {
    storage.open(name).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_is_asked_for_once() {
    let scene = Scene::new();
    let bytes = content(LEN);
    scene.put(&segment(1), &bytes).await;
    let before = scene.proxy.seen().len();
    let object = opened(&scene.reader().await, &segment(1)).await;
    // Page by page: the first piece comes with opening, the others four at a time.
    for (number, page) in bytes.chunks(10_000).enumerate() {
        let read = object.read_at(number as u64 * 10_000, page.len()).await;
        assert_eq!(read.unwrap(), page);
    }
    let pieces = LEN.div_ceil(64 * 1024);
    assert_eq!(scene.since(before), 1 + (pieces - 1).div_ceil(4));
    // By another opening of the database, too, and when the segment was collected.
    let before = scene.proxy.seen().len();
    let again = opened(&scene.reader().await, &segment(1)).await;
    assert_eq!(again.len(), LEN as u64);
    assert_eq!(read_all(&*again).await, bytes);
    let empty = again.read_at(LEN as u64, 0).await.unwrap();
    assert!(empty.is_empty());
    assert!(again.read_at(LEN as u64, 1).await.is_err());
    assert_eq!(scene.since(before), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_and_absent_segments() {
    let scene = Scene::new();
    let storage = scene.reader().await;
    assert!(storage.open(&segment(1)).await.unwrap().is_none());
    for (number, len) in [0, 1, 65_535, 65_536, 65_537].into_iter().enumerate() {
        let (name, bytes) = (segment(number as u64 + 1), content(len));
        scene.put(&name, &bytes).await;
        assert_eq!(read_all(&*opened(&storage, &name).await).await, bytes);
        let before = scene.proxy.seen().len();
        assert_eq!(read_all(&*opened(&storage, &name).await).await, bytes);
        if len > 0 {
            assert_eq!(scene.since(before), 0, "{len}");
        }
    }
}

/// A name that may be given again is not kept: neither a slot's nor one that only looks like a segment's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_change_is_asked_for_each_time() {
    let scene = Scene::new();
    let storage = scene.reader().await;
    let direct = super::open(URL, format!("http://{}", scene.server.address())).await;
    let direct = direct.unwrap();
    for name in [name("log/1"), name("INSTANCE"), name("seg/1")] {
        for bytes in [content(100_000), content(70_000)] {
            direct.create(&name, &bytes).await.unwrap();
            assert_eq!(storage.read(&name).await.unwrap().unwrap(), bytes);
            assert_eq!(read_all(&*opened(&storage, &name).await).await, bytes);
            direct.remove(&name).await.unwrap();
            assert!(storage.open(&name).await.unwrap().is_none());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_cache_is_read_past() {
    let scene = Scene::new();
    let bytes = content(LEN);
    scene.put(&segment(1), &bytes).await;
    let file = scene.folder().join("eciton-segments");
    let seed = u64::try_from(SystemEntropy.next_u128() >> 64).unwrap();
    println!("seed {seed}");
    let dice = SeededEntropy::new(seed);
    for _ in 0..20 {
        let storage = scene.reader().await;
        assert_eq!(read_all(&*opened(&storage, &segment(1)).await).await, bytes);
        spoil(&file, &dice);
        assert_eq!(read_all(&*opened(&storage, &segment(1)).await).await, bytes);
    }
    // Cut to nothing, and removed altogether, below a process that has it open.
    let storage = scene.reader().await;
    std::fs::write(&file, "").unwrap();
    assert_eq!(read_all(&*opened(&storage, &segment(1)).await).await, bytes);
    std::fs::remove_dir_all(scene.folder()).unwrap();
    assert_eq!(read_all(&*opened(&storage, &segment(1)).await).await, bytes);
}

/// Overwrites every piece that is kept, here and there.
fn spoil(file: &Path, dice: &SeededEntropy) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file);
    let file = file.unwrap();
    let places = file.metadata().unwrap().len() / (64 * 1024 + 64);
    let mut entry = [0; 64];
    for place in 0..places {
        let at = places / 16 * 16 * 64 * 1024 + place * 64;
        if file.read_exact_at(&mut entry, at).is_err() || entry == [0; 64] {
            continue;
        }
        let in_entry = dice.next_u64().is_multiple_of(4);
        let spoilt = match in_entry {
            true => at + dice.next_u64() % 44,
            false => place * 64 * 1024 + dice.next_u64() % 20_000,
        };
        file.write_all_at(&dice.next_u64().to_le_bytes()[..1], spoilt)
            .unwrap();
    }
}

const SHARED: &str = "storage::object::tests::cache::processes_share_what_is_kept";
const FULL: &str = "storage::object::tests::cache::a_full_disk_only_stops_the_filling";
const ENDPOINT: &str = "ECITON_TEST_ENDPOINT";
const FOLDER: &str = "ECITON_TEST_FOLDER";

/// Endpoint and folder, in a process that a test has started.
fn inner() -> Option<(String, PathBuf)> {
    let endpoint = std::env::var(ENDPOINT).ok()?;
    Some((endpoint, std::env::var_os(FOLDER)?.into()))
}

/// This test binary once more, after the words of `before`.
fn again(before: &[&str], test: &str, scene: &Scene) -> Command {
    let own = std::env::current_exe().unwrap();
    let own = own.to_str().unwrap();
    let words = [
        before,
        &[own, "--exact", test, "--nocapture", "--test-threads=1"],
    ]
    .concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    command.env(ENDPOINT, scene.proxy.endpoint());
    command.env(FOLDER, scene.folder());
    command
}

fn passed(output: std::io::Result<std::process::Output>) {
    let output = output.unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains("1 passed"),
        "{report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_share_what_is_kept() {
    const SEGMENTS: u64 = 6;
    let check = async |endpoint: String, folder: &Path| {
        for number in 0..SEGMENTS {
            let storage = reader(endpoint.clone(), folder).await;
            let object = opened(&storage, &segment(number)).await;
            assert_eq!(read_all(&*object).await, content(200_000));
        }
    };
    if let Some((endpoint, folder)) = inner() {
        check(endpoint, &folder).await;
        return;
    }
    let scene = Scene::new();
    for number in 0..SEGMENTS {
        scene.put(&segment(number), &content(200_000)).await;
    }
    // At once, each filling what the others fill.
    let begun: Vec<_> = (0..3)
        .map(|_| {
            let mut command = again(&[], SHARED, &scene);
            command.stdout(std::process::Stdio::piped());
            command.stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for process in begun {
        passed(process.wait_with_output());
    }
    // Two that wrote one place at once may have spoilt it; whoever comes alone mends that.
    check(scene.proxy.endpoint(), &scene.folder()).await;
    let before = scene.proxy.seen().len();
    passed(again(&[], SHARED, &scene).output());
    assert_eq!(scene.since(before), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_only_stops_the_filling() {
    if let Some((endpoint, folder)) = inner() {
        let storage = reader(endpoint.clone(), &folder).await;
        for _ in 0..2 {
            let object = opened(&storage, &segment(1)).await;
            assert_eq!(read_all(&*object).await, content(3 * LEN));
        }
        let filler = folder.join("filler");
        // Full to the last byte before anything is opened.
        let filled = std::fs::write(&filler, vec![1; 2 << 20]);
        assert!(filled.is_err(), "the disk is not full");
        let storage = reader(endpoint, &folder).await;
        let object = opened(&storage, &segment(1)).await;
        assert_eq!(read_all(&*object).await, content(3 * LEN));
        std::fs::remove_file(&filler).unwrap();
        return;
    }
    let scene = Scene::new();
    scene.put(&segment(1), &content(3 * LEN)).await;
    let folder = scene.folder();
    std::fs::create_dir(&folder).unwrap();
    let mount = "mount -t tmpfs -o size=1m none \"$0\" && exec \"$@\"";
    let folder = folder.to_str().unwrap();
    let allowed = |flags: &&str| {
        let mut command = Command::new("unshare");
        command.args([flags, "sh", "-c", mount, folder, "true"]);
        command.output().is_ok_and(|output| output.status.success())
    };
    let Some(flags) = ["-m", "-rm"].into_iter().find(allowed) else {
        eprintln!("skipped: no tmpfs can be mounted here");
        return;
    };
    let before = ["unshare", flags, "sh", "-c", mount, folder];
    passed(again(&before, FULL, &scene).output());
}
