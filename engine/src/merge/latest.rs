//! The latest of many versions of a whole record, whatever order they arrive in.
//!
//! This is what an upsert merges: one record a row, and of the rows of one key the last one in
//! source order stays, although shards run at the same time, fail, and are repeated. A store whose
//! only column is a `latest` reads as a store of plain values.

use super::wire::{StateReader, put_bytes, put_varint};

/// Where a version stands among the versions of its record; the largest one is the latest.
///
/// Two versions of one record never have the same ordinal unless they are the same, or were both put
/// by hand: a row is one row of one shard of one job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal {
    /// The job's number in its database: a later job's rows win over an earlier one's.
    pub job: u64,
    /// The shard's number in the job, which is its place in the source.
    pub shard: u64,
    /// The row's number in the shard.
    pub row: u64,
}

impl Ordinal {
    /// Of a value that no job wrote. A put replaces what is there all the same, because it is no
    /// merge; a job that merges into the record afterwards wins.
    pub const ZERO: Ordinal = Ordinal {
        job: 0,
        shard: 0,
        row: 0,
    };
}

/// The latest version of a record, or none yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest(Option<Version>);

/// The order of the fields is the order of versions. Values decide between equal ordinals, so that
/// merging commutes whatever comes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    ordinal: Ordinal,
    value: Vec<u8>,
}

const TAG_NONE: u8 = 0;
const TAG_SOME: u8 = 1;

impl Latest {
    /// One version: a JSON text.
    pub fn new(ordinal: Ordinal, json: impl Into<Vec<u8>>) -> Latest {
        Latest(Some(Version {
            ordinal,
            value: json.into(),
        }))
    }

    /// The JSON text of the latest version.
    pub fn value(&self) -> Option<&[u8]> {
        self.0.as_ref().map(|version| version.value.as_slice())
    }

    /// The place of the latest version.
    pub fn ordinal(&self) -> Option<Ordinal> {
        self.0.as_ref().map(|version| version.ordinal)
    }

    /// Takes over the other's version if it is later.
    pub(super) fn absorb(&mut self, other: &Latest) {
        // `None` is less than any version.
        if other.0 > self.0 {
            self.0.clone_from(&other.0);
        }
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        let Some(Version { ordinal, value }) = &self.0 else {
            return out.push(TAG_NONE);
        };
        out.push(TAG_SOME);
        put_varint(ordinal.job.into(), out);
        put_varint(ordinal.shard.into(), out);
        put_varint(ordinal.row.into(), out);
        put_bytes(value, out);
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Latest> {
        match reader.byte()? {
            TAG_NONE => Some(Latest(None)),
            TAG_SOME => {
                let job = reader.varint_u64()?;
                let shard = reader.varint_u64()?;
                let row = reader.varint_u64()?;
                let ordinal = Ordinal { job, shard, row };
                Some(Latest::new(ordinal, reader.bytes()?))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Key;
    use crate::merge::{merge, read_json};

    fn version() -> impl Strategy<Value = Latest> {
        let ordinal = (0u64..3, 0u64..3, 0u64..3);
        let some = (ordinal, prop::sample::select(vec!["1", "2", "{}"]))
            .prop_map(|((job, shard, row), json)| Latest::new(Ordinal { job, shard, row }, json));
        prop_oneof![1 => Just(Latest::default()), 9 => some]
    }

    fn merged(a: &Latest, b: &Latest) -> Latest {
        let mut latest = a.clone();
        latest.absorb(b);
        latest
    }

    proptest! {
        #[test]
        fn the_laws_hold(a in version(), b in version(), c in version()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &a), a.clone());
            prop_assert_eq!(merged(&a, &Latest::default()), a);
        }

        #[test]
        fn versions_come_back(job in any::<u64>(), shard in any::<u64>(), row in any::<u64>(), json in ".*") {
            let latest = Latest::new(Ordinal { job, shard, row }, json);
            let mut bytes = Vec::new();
            latest.encode_into(&mut bytes);
            prop_assert_eq!(Latest::decode(&mut StateReader::new(&bytes)), Some(latest));
        }
    }

    #[test]
    fn a_later_row_shard_or_job_wins_and_reads_as_a_plain_value() {
        let columns = Latest::columns().unwrap();
        let key = Key::from_datums(&[1.into()]).unwrap();
        let record = |job, shard, row, json: &str| {
            Latest::new(Ordinal { job, shard, row }, json)
                .into_operand()
                .unwrap()
        };
        let versions = [
            record(0, 0, 0, "\"by hand\""),
            record(1, 0, 9, r#"{"n":1}"#),
            record(1, 2, 0, r#"{"n":2}"#),
            record(2, 0, 0, r#"{"n":3}"#),
        ];
        for (late, later) in versions.iter().zip(&versions[1..]) {
            let both = merge(later.as_bytes(), late.as_bytes());
            assert_eq!(both, later.as_bytes());
            let json = read_json(&columns, &key, &both).unwrap();
            assert_eq!(
                json.to_string().into_bytes(),
                later.states().unwrap()[0]
                    .latest()
                    .unwrap()
                    .value()
                    .unwrap()
            );
        }
        assert!(Latest::is_only(&columns));
        let broken = record(1, 1, 1, "{");
        assert!(read_json(&columns, &key, broken.as_bytes()).is_err());
    }
}
