//! What things are called at Redis. One hash tag a database, so that all of it lies on one node of a cluster.

use crate::base::InstanceId;
use crate::coord::Mailbox;

/// The only lane there is yet: one log a database.
const LANE: u32 = 0;

/// The names of one database.
#[derive(Clone)]
pub(super) struct Names {
    tag: String,
}

impl Names {
    pub(super) fn new(of: InstanceId) -> Names {
        Names {
            tag: format!("{{eciton:{:032x}:{LANE}}}", of.0),
        }
    }

    /// Intents: values, order, bytes.
    pub(super) fn intents(&self) -> Vec<String> {
        self.three("intents")
    }

    /// Slots: values, order, bytes.
    pub(super) fn slots(&self) -> Vec<String> {
        self.three("slots")
    }

    /// Notes: what they say, and when each ends.
    pub(super) fn notes(&self) -> Vec<String> {
        let tag = &self.tag;
        vec![format!("{tag}:notes"), format!("{tag}:notes:ends")]
    }

    fn three(&self, what: &str) -> Vec<String> {
        let tag = &self.tag;
        vec![
            format!("{tag}:{what}"),
            format!("{tag}:{what}:order"),
            format!("{tag}:{what}:bytes"),
        ]
    }

    pub(super) fn claim(&self, name: &str) -> String {
        format!("{}:claim:{name}", self.tag)
    }

    /// Who waits for a claim, in order.
    pub(super) fn line(&self, name: &str) -> String {
        format!("{}:line:{name}", self.tag)
    }

    /// What the names of channels begin with; the mailbox's 16 bytes follow.
    pub(super) fn channels(&self) -> Vec<u8> {
        format!("{}:answers:", self.tag).into_bytes()
    }

    /// The channel on which the answers for a mailbox come.
    pub(super) fn channel(&self, mailbox: Mailbox) -> Vec<u8> {
        let mut channel = self.channels();
        channel.extend_from_slice(&mailbox.0.to_be_bytes());
        channel
    }

    /// Whose channel that is.
    pub(super) fn mailbox(&self, channel: &[u8]) -> Option<Mailbox> {
        let name = channel.strip_prefix(&self.channels()[..])?;
        name.try_into().ok().map(u128::from_be_bytes).map(Mailbox)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_says_whose_it_is() {
        let names = Names::new(InstanceId(77));
        let channel = names.channel(Mailbox(5));
        assert_eq!(names.mailbox(&channel), Some(Mailbox(5)));
        let other = Names::new(InstanceId(78));
        assert_eq!(other.mailbox(&channel), None);
        assert_eq!(names.mailbox(b"\xff"), None);
    }
}
