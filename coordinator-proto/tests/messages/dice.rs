//! Randomness that repeats, and messages drawn with it.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use protox::prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

/// `SplitMix64` (Steele, Lea, Flood, OOPSLA 2014).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    /// Small, at an edge, or anything.
    fn number(&mut self) -> u64 {
        let any = self.next();
        match any % 4 {
            0 => any >> 60,
            1 => [0, 1, u64::MAX, 1 << 63, i64::MAX as u64, 1 << 32][self.below(6)],
            _ => self.next() >> self.below(64),
        }
    }

    pub(crate) fn bytes(&mut self, len_max: usize) -> Vec<u8> {
        let len = self.below(len_max + 1);
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    fn text(&mut self) -> String {
        let letters: Vec<char> = "aZ0 ._-\"\\\n\u{0}äß漢🐜".chars().collect();
        let len = self.below(12);
        (0..len)
            .map(|_| letters[self.below(letters.len())])
            .collect()
    }

    /// A message of a type, nested `depth` deep at most.
    pub(crate) fn message(&mut self, of: &MessageDescriptor, depth: u32) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        for field in of.fields() {
            let deeper = depth > 0 || !matches!(field.kind(), Kind::Message(_));
            if deeper && self.below(3) > 0 {
                let value = self.field(&field, depth);
                message.set_field(&field, value);
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: u32) -> Value {
        if field.is_list() {
            let len = self.below(5);
            return Value::List((0..len).map(|_| self.value(field, depth)).collect());
        }
        self.value(field, depth)
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "any bits are as good as others"
    )]
    fn value(&mut self, field: &FieldDescriptor, depth: u32) -> Value {
        match field.kind() {
            Kind::Bool => Value::Bool(self.next() % 2 == 1),
            Kind::Int32 => Value::I32(self.number() as i32),
            Kind::Int64 => Value::I64(self.number() as i64),
            Kind::Uint32 => Value::U32(self.number() as u32),
            Kind::Uint64 | Kind::Fixed64 => Value::U64(self.number()),
            Kind::String => Value::String(self.text()),
            Kind::Bytes => Value::Bytes(self.bytes(40).into()),
            // Values that this version does not know, too.
            Kind::Enum(_) => Value::EnumNumber(self.number() as i32),
            Kind::Message(of) => Value::Message(self.message(&of, depth.saturating_sub(1))),
            other => panic!("{}: teach the dice {other:?}", field.full_name()),
        }
    }
}

/// Runs a check with seeds 1 to `count`, or with the one that `ECITON_SEED` names; tells which one fails.
pub(crate) fn with_seeds(count: u64, check: impl Fn(&mut Dice)) {
    let only = env::var("ECITON_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(1..=count, |seed: u64| seed..=seed);
    for seed in seeds {
        let checked = catch_unwind(AssertUnwindSafe(|| check(&mut Dice::new(seed))));
        if let Err(panic) = checked {
            eprintln!("failed with seed {seed}; ECITON_SEED={seed} repeats it");
            resume_unwind(panic);
        }
    }
}
