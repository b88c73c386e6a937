//! What Redis is asked to do in one step. Each script is sent by its hash, and whole where the server does
//! not know it (any more).

use std::sync::LazyLock;

use bytes::Bytes;
use redis::{Cmd, Script, cmd};

/// A script and its hash.
pub(super) struct Text {
    name: &'static str,
    source: &'static str,
    hash: LazyLock<String>,
}

macro_rules! text {
    ($name:ident, $file:literal) => {
        pub(super) static $name: Text = Text {
            name: $file,
            source: include_str!($file),
            hash: LazyLock::new(|| Script::new(include_str!($file)).get_hash().to_owned()),
        };
    };
}

text!(PUT, "put.lua");
text!(TAKE, "take.lua");
text!(SETTLE, "settle.lua");
text!(CLAIM, "claim.lua");
text!(STAND, "stand.lua");
text!(RELEASE, "release.lua");
text!(GET, "get.lua");
text!(ANNOUNCE, "announce.lua");
text!(ANNOUNCED, "announced.lua");

/// Arguments of [`PUT`] that hold for all that is put.
const PUT_HEAD: usize = 3;
/// Arguments of one call at most to which others are added.
const PUT_ARGS_MAX: usize = 1000;

/// A script with what it works on.
pub(super) struct Call {
    text: &'static Text,
    keys: Vec<String>,
    args: Vec<Bytes>,
}

impl Call {
    pub(super) fn new(text: &'static Text, keys: Vec<String>) -> Call {
        Call {
            text,
            keys,
            args: Vec::new(),
        }
    }

    pub(super) fn arg(mut self, arg: impl Into<Bytes>) -> Call {
        self.args.push(arg.into());
        self
    }

    pub(super) fn number(self, number: u64) -> Call {
        self.arg(number.to_string())
    }

    pub(super) fn count(self, count: usize) -> Call {
        self.arg(count.to_string())
    }

    /// What its script is called.
    pub(super) fn name(&self) -> &'static str {
        self.text.name
    }

    /// Bytes that it sends, about.
    pub(super) fn len(&self) -> usize {
        self.args.iter().map(Bytes::len).sum()
    }

    /// Makes one call of two that put something at the same place; `false` if they are not of that kind.
    pub(super) fn absorb(&mut self, other: &mut Call) -> bool {
        let is_put = |call: &Call| std::ptr::eq(call.text, &raw const PUT);
        assert!(
            [&*self, other]
                .iter()
                .all(|call| !is_put(call) || call.args.len() >= PUT_HEAD),
            "{} and {} arguments of a put",
            self.args.len(),
            other.args.len()
        );
        let are_alike = is_put(self)
            && is_put(other)
            && self.keys == other.keys
            && self.args[..PUT_HEAD] == other.args[..PUT_HEAD];
        if are_alike && self.args.len() < PUT_ARGS_MAX {
            self.args.extend(other.args.drain(PUT_HEAD..));
            assert_eq!(other.args.len(), PUT_HEAD, "all that was put was taken");
            return true;
        }
        false
    }

    /// By its hash, or whole.
    pub(super) fn command(&self, is_whole: bool) -> Cmd {
        let mut command = match is_whole {
            true => cmd("EVAL"),
            false => cmd("EVALSHA"),
        };
        command.arg(match is_whole {
            true => self.text.source,
            false => &self.text.hash,
        });
        command.arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for arg in &self.args {
            command.arg(&arg[..]);
        }
        command
    }

    /// Clears away what it works on: something that no script of ours has put there.
    pub(super) fn clear(&self) -> Cmd {
        let mut command = cmd("UNLINK");
        command.arg(&self.keys);
        command
    }
}
