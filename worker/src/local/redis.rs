//! A Redis for these workers alone: on this machine, with a password, without persistence.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, io};

use eciton_engine::coord::redis::RedisOptions;
use eciton_engine::entropy::{Entropy as _, SystemEntropy};

use super::member::Member;
use super::news::{SwarmNews, Who};
use super::this_program;
use crate::failure::Failure;

/// What the server is called.
const PROGRAM: &str = "redis-server";
/// Ports that are tried: between choosing and listening somebody else may take one.
const PORTS_MAX: u32 = 5;
/// How long a server may take until it listens.
const START_MAX: Duration = Duration::from_secs(20);
/// Time between two looks whether it does.
const LOOKS_APART: Duration = Duration::from_millis(10);

/// A server that is started again where it ends, at the same address, and killed where this is dropped.
pub(crate) struct OwnRedis {
    pub(crate) member: Member,
    url: String,
}

impl OwnRedis {
    /// The server's program, if there is one on the PATH.
    pub(crate) fn program() -> Option<PathBuf> {
        let folders = env::var_os("PATH")?;
        let paths = env::split_paths(&folders).map(|folder| folder.join(PROGRAM));
        paths.into_iter().find(|path| path.is_file())
    }

    /// Starts a server, and returns once it listens.
    ///
    /// # Errors
    /// [`Failure::Work`]: it does not.
    pub(crate) async fn start(program: &Path, news: &SwarmNews<'_>) -> Result<OwnRedis, Failure> {
        // The port is open to every user of this machine, and whoever writes there writes to the database.
        let password = format!("{:032x}", SystemEntropy.next_u128());
        for _ in 0..PORTS_MAX {
            let port = free_port()?;
            let member = member(program.to_owned(), port, &password);
            let url = format!("redis://:{password}@{}:{port}", Ipv4Addr::LOCALHOST);
            let mut redis = OwnRedis { member, url };
            if redis.listens(port, news).await? {
                return Ok(redis);
            }
        }
        Err(Failure::Work(format!(
            "{}: ended {PORTS_MAX} times before it listened",
            program.display()
        )))
    }

    /// Where it is, with the password.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where it is, without the password.
    pub(crate) fn address(&self) -> String {
        match self.url.rsplit_once('@') {
            Some((_, address)) => format!("redis://{address}"),
            None => String::new(),
        }
    }

    /// How to reach it.
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions::at(&self.url)
    }

    /// Whether it listens: `false` where it has ended instead.
    async fn listens(&mut self, port: u16, news: &SwarmNews<'_>) -> Result<bool, Failure> {
        self.member.attend(news)?;
        let (began, address) = (
            Instant::now(),
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        );
        while began.elapsed() < START_MAX {
            if self.member.look_for_end(news)?.is_some() {
                return Ok(false);
            }
            if TcpStream::connect_timeout(&address, LOOKS_APART).is_ok() {
                return Ok(true);
            }
            tokio::time::sleep(LOOKS_APART).await;
        }
        let seconds = START_MAX.as_secs();
        Err(Failure::Work(format!(
            "redis does not listen at port {port} after {seconds} s"
        )))
    }
}

fn member(program: PathBuf, port: u16, password: &str) -> Member {
    // Read from its standard input: arguments can be seen by everybody.
    let settings = format!(
        "bind {}\nport {port}\nrequirepass {password}\nsave \"\"\nappendonly no\nlogfile \"\"\n",
        Ipv4Addr::LOCALHOST
    );
    Member::new(Who::Redis, settings, move || {
        let parent = std::process::id().to_string();
        let mut args: Vec<OsString> = vec!["tied".into(), "--parent".into(), parent.into()];
        args.extend([program.clone().into(), "-".into()]);
        let mut command = this_program(&args)?;
        // It writes nothing; wherever it stands, it keeps nothing busy.
        command.current_dir(env::temp_dir());
        Ok(command)
    })
}

fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
