//! How long things took, in buckets a twentieth wide, so that those of many processes can be put together.

use std::time::Duration;

use serde_json::{Value, json};

/// How much longer the times of a bucket are than those of the one before.
const STEP: f64 = 1.05;

/// Counts of times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Histogram(Vec<u64>);

impl Histogram {
    pub(crate) fn add(&mut self, time: Duration) {
        let bucket = bucket_of(time);
        if self.0.len() <= bucket {
            self.0.resize(bucket + 1, 0);
        }
        self.0[bucket] += 1;
    }

    pub(crate) fn join(&mut self, other: &Histogram) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// Microseconds that a share of all stayed below.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts of one measurement"
    )]
    pub(crate) fn below_us(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.iter().sum();
        let wanted = (all as f64 * share).ceil() as u64;
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += count;
            seen >= wanted && seen > 0
        });
        bucket
            .and_then(|bucket| i32::try_from(bucket).ok())
            .map(|bucket| STEP.powi(bucket + 1))
    }

    pub(crate) fn encode(&self) -> Value {
        json!(self.0)
    }

    pub(crate) fn decode(value: &Value) -> Option<Histogram> {
        let counts = value.as_array()?.iter().map(Value::as_u64);
        counts.collect::<Option<_>>().map(Histogram)
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the logarithm of a time is small and not below zero"
)]
fn bucket_of(time: Duration) -> usize {
    let us = (time.as_secs_f64() * 1e6).max(1.0);
    us.log(STEP).floor() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_found_to_a_twentieth() {
        let mut histogram = Histogram::default();
        for ms in 1..=1000 {
            histogram.add(Duration::from_millis(ms));
        }
        for (share, us) in [(0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let found = histogram.below_us(share).unwrap();
            assert!((us..us * STEP * STEP).contains(&found), "{found} for {us}");
        }
        assert_eq!(Histogram::default().below_us(0.5), None);
    }

    #[test]
    fn parts_that_were_told_make_the_whole() {
        let (mut whole, mut odd, mut even) = <(Histogram, Histogram, Histogram)>::default();
        for us in 0..5000 {
            let time = Duration::from_micros(us * us);
            whole.add(time);
            if us % 2 == 0 {
                even.add(time);
            } else {
                odd.add(time);
            }
        }
        let told = Histogram::decode(&even.encode()).unwrap();
        odd.join(&told);
        assert_eq!(odd, whole);
        assert_eq!(Histogram::decode(&json!([1, "x"])), None);
    }
}
