//! `PostgreSQL`: a server of the measurement's own in the folder, `synchronous_commit` on; a connection a client.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client as Connection, NoTls, Statement};

use super::child::wait_for_the_word;
use super::server::{Server, free_port};
use super::{Client, Done, Orders, Place, Served, Side, Work};
use crate::engine::{Result, text};

pub(super) const SIDE: Side = Side {
    name: "postgres",
    by_name: false,
    serve,
    prepare,
    work,
    count,
};

/// Looks whether it is there, 10 ms apart.
const LOOKS_MAX: u32 = 3000;
/// Who it runs as where the measurement runs as root, which it refuses.
const USER: &str = "postgres";
/// Bytes that it keeps pages in: as much as ours has for its cache, and room for what it needs besides.
const SETTINGS: [&str; 4] = [
    "shared_buffers=256MB",
    "max_connections=600",
    "synchronous_commit=on",
    "listen_addresses=127.0.0.1",
];
const TABLES: &str =
    "CREATE TABLE records (a bigint, b bigint, c bigint, value bytea, PRIMARY KEY (a, b, c));
    CREATE TABLE counters (key bigint PRIMARY KEY, n bigint);
    INSERT INTO counters VALUES (0, 0);";
const PUT: &str = "INSERT INTO records (a, b, c, value) VALUES ($1, $2, $3, $4)
    ON CONFLICT (a, b, c) DO UPDATE SET value = excluded.value";
const ADD: &str = "UPDATE counters SET n = n + 1 WHERE key = 0";

struct Postgres {
    child: Child,
    port: u16,
}

impl Server for Postgres {
    fn url(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user={USER} dbname=postgres",
            self.port
        )
    }

    fn process(&self) -> &Child {
        &self.child
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, and its children with it.
        let id = self.child.id().cast_signed();
        let id = rustix::process::Pid::from_raw(id);
        let quit = rustix::process::Signal::QUIT;
        // What is gone already need not be ended.
        id.map_or(Ok(()), |id| rustix::process::kill_process(id, quit))
            .unwrap_or(());
        self.child.wait().map(drop).unwrap_or(());
    }
}

/// Where its programs are: on the path, or where Debian puts them.
fn program(name: &str) -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let versions =
        installed.filter_map(|version| Some(version.ok()?.path().join("bin").join(name)));
    versions
        .filter(|path| path.is_file())
        .max()
        .unwrap_or_else(|| PathBuf::from(name))
}

/// The numbers of its user, if this is root.
fn user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(text)?;
    let line = users
        .lines()
        .find(|line| line.starts_with(&format!("{USER}:")));
    let numbers = line.and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    let missing = || format!("no user `{USER}`: apt-get install postgresql");
    numbers.ok_or_else(missing).map(Some)
}

fn serve(folder: &Path) -> Served {
    let data = folder.join("postgres");
    fs::create_dir(&data).map_err(text)?;
    let user = user()?;
    let own = |command: &mut Command| {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).current_dir("/");
        if let Some((user, group)) = user {
            command.uid(user).gid(group);
        }
    };
    if let Some((user, group)) = user {
        chown(&data, Some(user), Some(group)).map_err(text)?;
        // Its user must come through to its own folder.
        for above in folder.ancestors().take(2) {
            fs::set_permissions(above, Permissions::from_mode(0o755)).map_err(text)?;
        }
    }
    let mut init = Command::new(program("initdb"));
    init.arg("-D")
        .arg(&data)
        .args(["-U", USER, "--auth=trust", "-N"]);
    own(&mut init);
    let missing = |error| format!("initdb: {error}; apt-get install postgresql");
    let status = init.status().map_err(missing)?;
    if !status.success() {
        return Err(format!("initdb ended: {status}"));
    }
    let port = free_port()?;
    let mut command = Command::new(program("postgres"));
    command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
    command.arg("-k").arg(&data);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    own(&mut command);
    let child = command.spawn().map_err(text)?;
    let mut server = Postgres { child, port };
    for _ in 0..LOOKS_MAX {
        let url = server.url();
        if runtime()?.block_on(connect(&url)).is_ok() {
            return Ok(Some(Box::new(server)));
        }
        if let Ok(Some(status)) = server.child.try_wait() {
            return Err(format!("postgres ended: {status}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err("postgres does not come up".to_owned())
}

fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(text)
}

async fn connect(url: &str) -> Result<Connection> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(text)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("postgres: {error}");
        }
    });
    Ok(client)
}

fn prepare(place: &Place, _work: Work) -> Result<()> {
    runtime()?.block_on(async {
        let client = connect(&place.server).await?;
        client.batch_execute(TABLES).await.map_err(text)
    })
}

fn work(orders: &Orders) -> Result<Done> {
    runtime()?.block_on(async {
        let statement = match orders.work {
            Work::Add => ADD,
            Work::Disjoint | Work::Near | Work::Replace => PUT,
        };
        let mut clients = Vec::new();
        for _ in 0..orders.clients {
            let client = connect(&orders.server).await?;
            let statement = client.prepare(statement).await.map_err(text)?;
            clients.push((client, statement));
        }
        wait_for_the_word()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = clients
            .into_iter()
            .zip(0..)
            .map(|((connection, statement), number)| {
                let client = Client {
                    process: orders.process,
                    number,
                };
                let is_over = Arc::clone(&is_over);
                tokio::spawn(one(connection, statement, orders.work, client, is_over))
            });
        let clients: Vec<_> = clients.collect();
        tokio::time::sleep(orders.lasts).await;
        is_over.store(true, Ordering::Relaxed);
        let mut done = Done::default();
        for client in clients {
            done.join(&client.await.map_err(text)??);
        }
        Ok(done)
    })
}

async fn one(
    connection: Connection,
    statement: Statement,
    work: Work,
    client: Client,
    is_over: Arc<AtomicBool>,
) -> Result<Done> {
    let mut done = Done::default();
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        // A statement by itself is a transaction.
        let changed = if work == Work::Add {
            connection.execute(&statement, &[]).await
        } else {
            let [a, b, c] = work.key(client, number).map(u64::cast_signed);
            let value = Work::value(client, number);
            connection
                .execute(&statement, &[&a, &b, &c, &&value[..]])
                .await
        };
        changed.map_err(text)?;
        done.commits += 1;
        if !is_over.load(Ordering::Relaxed) {
            done.in_time += 1;
            done.latency.add(start.elapsed());
        }
        number += 1;
    }
    Ok(done)
}

fn count(place: &Place, work: Work) -> Result<u64> {
    let sql = match work {
        Work::Add => "SELECT n FROM counters WHERE key = 0",
        Work::Disjoint | Work::Near | Work::Replace => "SELECT count(*) FROM records",
    };
    runtime()?.block_on(async {
        let client = connect(&place.server).await?;
        let row = client.query_one(sql, &[]).await.map_err(text)?;
        u64::try_from(row.get::<_, i64>(0)).map_err(text)
    })
}
