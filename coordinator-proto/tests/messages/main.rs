//! Messages as bytes: there and back, beside another implementation; what is not known; what is no message.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod dice;
mod kinds;

use std::collections::BTreeSet;

use dice::{Dice, with_seeds};
use eciton_proto::FILE_DESCRIPTOR_SET;
use eciton_proto::prost::Message as _;
use eciton_proto::prost::encoding::encode_varint;
use eciton_proto::v1::{JobPhase, JobState, MergeSpec, PullResponse, RunSpec, TaskJob, task_job};
use kinds::{TYPES, Type};
use protox::prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

/// Seeds of each check; a seed draws every type.
const SEEDS: u64 = 60;
/// How deep drawn messages are nested.
const DEPTH: u32 = 4;

fn pool() -> DescriptorPool {
    DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the exported descriptors are whole")
}

fn descriptor(pool: &DescriptorPool, of: &Type) -> MessageDescriptor {
    pool.get_message_by_name(of.name)
        .unwrap_or_else(|| panic!("{} is in no file", of.name))
}

#[test]
fn every_message_is_tried() {
    let tried: BTreeSet<String> = TYPES.iter().map(|of| of.name.to_owned()).collect();
    let pool = pool();
    let all = pool.all_messages().map(|of| of.full_name().to_owned());
    assert_eq!(tried, all.collect());
}

/// The generated code against one that is driven by the exported descriptors: both read each other's bytes,
/// and write the same fields. Their order may differ: the generated code writes a oneof whose numbers lie apart where
/// its first one stands.
#[test]
fn messages_go_there_and_back() {
    let pool = pool();
    with_seeds(SEEDS, |dice| {
        for of in TYPES {
            let drawn = dice.message(&descriptor(&pool, of), DEPTH);
            let bytes = drawn.encode_to_vec();
            let again = (of.recode)(&bytes).unwrap_or_else(|error| panic!("{}: {error}", of.name));
            assert_eq!(again.len(), bytes.len(), "{}", of.name);
            let twice = (of.recode)(&again).unwrap_or_else(|error| panic!("{}: {error}", of.name));
            assert_eq!(twice, again, "{}", of.name);
            let read = DynamicMessage::decode(descriptor(&pool, of), again.as_slice());
            let read = read.unwrap_or_else(|error| panic!("{}: {error}", of.name));
            assert_eq!(read.unknown_fields().count(), 0, "{}", of.name);
            assert_eq!(read.encode_to_vec(), bytes, "{}", of.name);
        }
    });
}

#[test]
fn what_is_no_message_is_an_error_or_another_message() {
    let (mut read, mut refused) = (0, 0);
    let pool = pool();
    let counts = std::cell::RefCell::new((&mut read, &mut refused));
    with_seeds(SEEDS, |dice| {
        for of in TYPES {
            for _ in 0..4 {
                let bytes = damaged(dice, &descriptor(&pool, of));
                // `recode` asserts that what was read holds together.
                let mut counts = counts.borrow_mut();
                match (of.recode)(&bytes) {
                    Ok(_) => *counts.0 += 1,
                    Err(_) => *counts.1 += 1,
                }
            }
        }
    });
    // One seed alone may have no luck.
    if std::env::var_os("ECITON_SEED").is_none() {
        assert!(read > 100 && refused > 100, "{read} read, {refused} not");
    }
}

/// Any bytes, or those of a message with a few changed, left out, or cut off.
fn damaged(dice: &mut Dice, of: &MessageDescriptor) -> Vec<u8> {
    if dice.below(3) == 0 {
        return dice.bytes(200);
    }
    let mut bytes = dice.message(of, DEPTH).encode_to_vec();
    for _ in 0..=dice.below(4) {
        if bytes.is_empty() {
            break;
        }
        let at = dice.below(bytes.len());
        match dice.below(4) {
            0 => bytes.truncate(at),
            1 => drop(bytes.remove(at)),
            2 => bytes[at] = 0xFF,
            _ => bytes[at] ^= 1 << dice.below(8),
        }
    }
    bytes
}

/// A length that nothing can have asks for no memory.
#[test]
fn a_length_that_lies_is_refused() {
    for of in TYPES {
        // A field of two to the 63rd bytes, and nothing after it.
        for field in [1_u8, 2, 3, 15] {
            let mut bytes = vec![field << 3 | 2];
            bytes.extend([0xFF; 8]);
            bytes.push(0x7F);
            assert!((of.recode)(&bytes).is_err(), "{} field {field}", of.name);
        }
    }
}

/// Fields of a later version are dropped: the crate's documentation says so, and no reader may rely on more.
#[test]
fn unknown_fields_are_dropped() {
    let known = RunSpec {
        max_attempts: 4,
        lease_ms: 30_000,
        ..RunSpec::default()
    };
    let mut unknown = Vec::new();
    // Field 1000, each way of writing one: a number, eight bytes, text, four bytes.
    for (wire, value) in [
        (0, vec![7]),
        (1, vec![1; 8]),
        (2, vec![2, b'h', b'i']),
        (5, vec![1; 4]),
    ] {
        encode_varint(1000 << 3 | wire, &mut unknown);
        unknown.extend(value);
    }
    let bytes = [known.encode_to_vec(), unknown.clone()].concat();
    let read = RunSpec::decode(bytes.as_slice()).expect("unknown fields are no error");
    assert_eq!(read, known);
    assert_eq!(read.encode_to_vec(), known.encode_to_vec());
    for of in TYPES {
        assert_eq!((of.recode)(&unknown), Ok(vec![]), "{}", of.name);
    }
}

/// A value of a later version stays as its number, and reads as the enum's 0.
#[test]
fn unknown_enum_values_read_as_none() {
    let bytes = [1 << 3, 99];
    let state = JobState::decode(bytes.as_slice()).expect("an unknown value is no error");
    assert_eq!((state.phase, state.phase()), (99, JobPhase::Unspecified));
    assert_eq!(state.encode_to_vec(), bytes);
}

/// A step of a later version reads as none: what `PullRequest.steps` is for.
#[test]
fn an_unknown_alternative_reads_as_absent() {
    let mut bytes = TaskJob {
        step: None,
        sink: Some(task_job::Sink::Merge(MergeSpec::default())),
        ..TaskJob::default()
    }
    .encode_to_vec();
    bytes.extend([0xAA, 0x06, 0]);
    let job = TaskJob::decode(bytes.as_slice()).expect("an unknown field is no error");
    assert!(job.step.is_none() && job.sink.is_some());
}

/// Absent and empty are the same, so equal messages have equal bytes: none.
#[test]
fn the_default_takes_no_bytes() {
    for of in TYPES {
        assert_eq!((of.recode)(&[]), Ok(vec![]), "{}", of.name);
    }
    assert_eq!(PullResponse::default().encoded_len(), 0);
}
