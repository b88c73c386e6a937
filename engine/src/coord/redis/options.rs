//! How Redis is reached, and how much is left there.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::base::limits::{BUS_INTENTS_LEN_MAX, BUS_INTENTS_MAX, BUS_SLOTS_LEN_MAX, BUS_SLOTS_MAX};

/// Settings of a [`RedisBus`](super::RedisBus). The defaults are the recommended values.
///
/// Redis 6 or newer, one node or a Redis Cluster: what belongs to one database lies in one hash slot, so a
/// cluster is told by its redirections and needs no setting. No persistence is needed, and none helps. A
/// memory limit of Redis should leave room for `intents_len_max` and `slots_len_max` a database.
///
/// A user needs `+@scripting +@pubsub +hello +ping +client +time +exists +get +set +del +unlink +pexpire
/// +decrby +hset +hget +hmget +hdel +hlen +hstrlen +zadd +zrem +zcard +zrange +zrangebyscore +zrank +zpopmin`, the
/// keys `~{eciton:*` and the channels `&{eciton:*`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisOptions {
    /// Where it is: `redis://[user[:password]@]host[:port][/db]`, with TLS `rediss://…`. Of a cluster a few
    /// of its nodes, tried in turn; those that it redirects to are found by themselves.
    pub urls: Vec<String>,
    /// The user, if the address has none.
    pub username: Option<String>,
    /// The password, if the address has none.
    pub password: Option<String>,
    /// A file with the certificates of the authorities to be trusted, PEM; the system's where there is none.
    pub ca_file: Option<PathBuf>,
    /// A file with this client's certificate, PEM, where the server asks for one.
    pub cert_file: Option<PathBuf>,
    /// A file with the key that goes with it, PEM.
    pub key_file: Option<PathBuf>,
    /// Milliseconds that connecting may take, names, TLS and password included.
    pub connect_ms_max: u64,
    /// Milliseconds that a reply may take. Then Redis counts as away, and until it is back no call waits
    /// for it. A call waits for two replies at most.
    pub response_ms_max: u64,
    /// Milliseconds before the first new attempt to connect; doubled from one to the next, each drawn from
    /// the upper half.
    pub backoff_ms_min: u64,
    /// Milliseconds between two attempts at most.
    pub backoff_ms_max: u64,
    /// Milliseconds after which an idle connection is tried.
    pub ping_ms: u64,
    /// Milliseconds after which what was left at Redis is gone if nobody touches it: more than any claim.
    pub key_ms_max: u64,
    /// Milliseconds for which an intent stays visible: more than anybody waits for its answer.
    pub intent_ms_max: u64,
    /// Intents of one database at most; the oldest go.
    pub intents_max: usize,
    /// Bytes of them at most; the oldest go.
    pub intents_len_max: usize,
    /// Recent slots of one database at most; the oldest go.
    pub slots_max: usize,
    /// Bytes of them at most; the oldest go.
    pub slots_len_max: usize,
    /// Bytes of one slot at most; a longer one is read from the folder.
    pub slot_len_max: usize,
}

impl Default for RedisOptions {
    fn default() -> RedisOptions {
        RedisOptions {
            urls: vec!["redis://127.0.0.1:6379".to_owned()],
            username: None,
            password: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            connect_ms_max: 1000,
            response_ms_max: 250,
            backoff_ms_min: 20,
            backoff_ms_max: 2000,
            ping_ms: 5000,
            key_ms_max: 60_000,
            intent_ms_max: 10_000,
            intents_max: BUS_INTENTS_MAX,
            intents_len_max: BUS_INTENTS_LEN_MAX,
            slots_max: BUS_SLOTS_MAX,
            slots_len_max: BUS_SLOTS_LEN_MAX,
            slot_len_max: 1024 * 1024,
        }
    }
}

impl RedisOptions {
    /// The defaults for a Redis at one address, or for a cluster by several, separated by commas.
    pub fn at(urls: &str) -> RedisOptions {
        let urls = urls.split(',').map(str::trim).filter(|url| !url.is_empty());
        RedisOptions {
            urls: urls.map(str::to_owned).collect(),
            ..RedisOptions::default()
        }
    }
}

/// Without what is secret: addresses may hold passwords.
impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bare = |url: &String| match (url.find("://"), url.rfind('@')) {
            (Some(scheme), Some(at)) if at > scheme => {
                format!("{}…{}", &url[..scheme + 3], &url[at..])
            }
            _ => url.clone(),
        };
        let urls: Vec<String> = self.urls.iter().map(bare).collect();
        f.debug_struct("RedisOptions")
            .field("urls", &urls)
            .field("username", &self.username)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("ca_file", &self.ca_file)
            .field("cert_file", &self.cert_file)
            .field("connect_ms_max", &self.connect_ms_max)
            .field("response_ms_max", &self.response_ms_max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_from_a_file_by_name_and_the_rest_is_recommended() {
        let text = r#"{"urls": ["rediss://a:1"], "response_ms_max": 9}"#;
        let options: RedisOptions = serde_json::from_str(text).unwrap();
        let expected = RedisOptions {
            response_ms_max: 9,
            ..RedisOptions::at("rediss://a:1")
        };
        assert_eq!(options, expected);
        let unknown = serde_json::from_str::<RedisOptions>(r#"{"url": "x"}"#);
        assert!(unknown.unwrap_err().to_string().contains("`url`"));
        assert_eq!(RedisOptions::at("redis://a, redis://b,").urls.len(), 2);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let options = RedisOptions {
            password: Some("hidden".to_owned()),
            ..RedisOptions::at("redis://me:hidden@host:1/2")
        };
        let text = format!("{options:?}");
        assert!(text.contains("redis://…@host:1/2"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }
}
