//! How many numbers lie between given edges.

use std::sync::Arc;

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::wire::{StateReader, put_varint};
use crate::base::{Datum, Error, Result};

/// Edges of a histogram at most: 1,024 bins between them.
pub const EDGES_MAX: usize = 1025;

/// Bytes of a state at most: the number of bins, a fingerprint of the edges, and a count of each bin.
pub(super) fn histogram_len_max(edges: usize) -> usize {
    2 + 8 + (edges + 1) * 10
}

/// Where the bins of a histogram end: finite numbers, each larger than the one before. Cheap to clone.
///
/// `n` edges make `n + 1` bins: what is below the first edge, what lies between one (included) and the next (excluded), and
/// what is not below the last one. NaN is larger than everything.
#[derive(Clone, Debug)]
pub struct Edges(Arc<[f64]>);

impl Edges {
    /// The edges at these numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`] of none, of what is not finite, and of edges that do not ascend; [`Error::Limit`] beyond
    /// [`EDGES_MAX`].
    pub fn new(edges: &[f64]) -> Result<Edges> {
        if edges.len() > EDGES_MAX {
            return Err(Error::Limit {
                what: "edges of a histogram",
                got: edges.len() as u64,
                max: EDGES_MAX as u64,
            });
        }
        if edges.is_empty() {
            return Err(Error::Invalid("a histogram has no edges".to_owned()));
        }
        if let Some(edge) = edges.iter().find(|edge| !edge.is_finite()) {
            return Err(Error::Invalid(format!(
                "the edge {edge} of a histogram is not finite"
            )));
        }
        let mut pairs = edges.iter().zip(&edges[1..]);
        if let Some((edge, next)) = pairs.find(|(edge, next)| edge >= next) {
            return Err(Error::Invalid(format!(
                "the edges of a histogram do not ascend: {edge} is followed by {next}"
            )));
        }
        // Adding zero turns -0.0 into 0.0, which is the same edge.
        Ok(Edges(edges.iter().map(|edge| edge + 0.0).collect()))
    }

    /// The edges of `bins` bins of equal width from `low` to `high`.
    ///
    /// # Errors
    /// As [`Edges::new`]; [`Error::Invalid`] of no bin, and where floats do not tell the edges apart.
    pub fn spaced(low: f64, high: f64, bins: u32) -> Result<Edges> {
        if bins as usize >= EDGES_MAX {
            return Err(Error::Limit {
                what: "bins of a histogram",
                got: bins.into(),
                max: EDGES_MAX as u64 - 1,
            });
        }
        if bins == 0 {
            return Err(Error::Invalid("a histogram has no bins".to_owned()));
        }
        let at = |index: u32| {
            let share = f64::from(index) / f64::from(bins);
            // Both ends are exact, and no difference leaves the range of floats.
            low * (1.0 - share) + high * share
        };
        Edges::new(&(0..=bins).map(at).collect::<Vec<_>>())
    }

    /// The numbers.
    pub fn as_slice(&self) -> &[f64] {
        &self.0
    }

    /// Which bin a number lies in.
    fn bin_of(&self, value: f64) -> usize {
        if value.is_nan() {
            return self.0.len();
        }
        self.0.partition_point(|edge| *edge <= value)
    }

    fn shape(&self) -> HistogramShape {
        let bytes: Vec<u8> = self.0.iter().flat_map(|edge| edge.to_le_bytes()).collect();
        HistogramShape {
            bins: self.0.len() + 1,
            fingerprint: xxh3_64(&bytes),
        }
    }
}

/// Edges are finite and none is `-0.0`, so equal ones are the same.
impl PartialEq for Edges {
    fn eq(&self, other: &Edges) -> bool {
        self.0 == other.0
    }
}

impl Eq for Edges {}

/// What tells one histogram's edges from another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HistogramShape {
    bins: usize,
    fingerprint: u64,
}

/// A count of each bin. It has the edges only while values are added: of a record that was stored, the column has them.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// `None` of a state that is of no column yet and has no value: it takes over the shape of whatever it meets.
    shape: Option<HistogramShape>,
    counts: Vec<u64>,
    edges: Option<Edges>,
}

impl Histogram {
    /// A histogram of no value.
    pub(super) fn new(edges: &Edges) -> Histogram {
        let shape = edges.shape();
        Histogram {
            shape: Some(shape),
            counts: vec![0; shape.bins],
            edges: Some(edges.clone()),
        }
    }

    /// `false` where there are no edges to tell the bin by.
    pub(super) fn add(&mut self, value: f64) -> bool {
        let Some(edges) = &self.edges else {
            return false;
        };
        let count = &mut self.counts[edges.bin_of(value)];
        *count = count.saturating_add(1);
        true
    }

    /// `false` where the other one has other edges: they do not belong together.
    pub(super) fn absorb(&mut self, other: &Histogram) -> bool {
        if other.shape.is_none() {
            return true;
        }
        if self.shape.is_none() {
            self.clone_from(other);
            return true;
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.shape == other.shape
    }

    /// Whether it has these edges, or none yet.
    pub(super) fn fits(&self, edges: Option<&Edges>) -> bool {
        self.shape.is_none() || self.shape == edges.map(Edges::shape)
    }

    /// A list of objects with the ends of each bin and its count, as JSON text: the first bin has no lower end and the last
    /// none above. NULL where there is no value.
    pub(super) fn to_datum(&self, edges: Option<&Edges>) -> Datum {
        let is_empty = self.counts.iter().all(|count| *count == 0);
        let Some(edges) = edges.filter(|_| !is_empty) else {
            return Datum::Null;
        };
        let end = |index: Option<usize>| {
            let edge = index.and_then(|index| edges.as_slice().get(index));
            edge.map_or(Value::Null, |edge| Datum::Float(*edge).to_json())
        };
        let bins = self.counts.iter().enumerate().map(|(index, count)| {
            json!({"from": end(index.checked_sub(1)), "to": end(Some(index)), "count": count})
        });
        Datum::Str(Value::Array(bins.collect()).to_string())
    }

    /// Bytes on the heap.
    pub(super) fn len_bytes(&self) -> usize {
        self.counts.len() * size_of::<u64>()
    }

    pub(super) fn encode_into(&self, out: &mut Vec<u8>) {
        put_varint(self.counts.len() as u128, out);
        if let Some(shape) = self.shape {
            out.extend_from_slice(&shape.fingerprint.to_le_bytes());
        }
        for count in &self.counts {
            put_varint((*count).into(), out);
        }
    }

    pub(super) fn decode(reader: &mut StateReader<'_>) -> Option<Histogram> {
        let bins = usize::try_from(reader.varint()?).ok()?;
        if bins == 0 {
            return Some(Histogram::default());
        }
        if !(2..=EDGES_MAX + 1).contains(&bins) {
            return None;
        }
        let fingerprint = u64::from_le_bytes(reader.array()?);
        let counts = (0..bins).map(|_| reader.varint_u64());
        Some(Histogram {
            counts: counts.collect::<Option<_>>()?,
            shape: Some(HistogramShape { bins, fingerprint }),
            edges: None,
        })
    }
}

/// Equal counts between equal edges.
impl PartialEq for Histogram {
    fn eq(&self, other: &Histogram) -> bool {
        (self.shape, &self.counts) == (other.shape, &other.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_belongs_to_the_bin_above_it() {
        let edges = Edges::new(&[-0.0, 10.0, 20.0]).unwrap();
        let mut histogram = Histogram::new(&edges);
        for value in [
            f64::NEG_INFINITY,
            -0.1,
            -0.0,
            9.9,
            10.0,
            20.0,
            f64::INFINITY,
            f64::NAN,
        ] {
            assert!(histogram.add(value));
        }
        let expected = r#"[{"count":2,"from":null,"to":0.0},{"count":2,"from":0.0,"to":10.0},{"count":1,"from":10.0,"to":20.0},{"count":3,"from":20.0,"to":null}]"#;
        let parsed: Value = serde_json::from_str(expected).unwrap();
        let Datum::Str(shown) = histogram.to_datum(Some(&edges)) else {
            panic!("no list");
        };
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), parsed);
        let mut bytes = Vec::new();
        histogram.encode_into(&mut bytes);
        assert!(bytes.len() <= histogram_len_max(3));
        let back = Histogram::decode(&mut StateReader::new(&bytes)).unwrap();
        assert_eq!(back, histogram);
        assert!(back.fits(Some(&edges)));
        let other = Edges::new(&[0.0, 10.0, 21.0]).unwrap();
        assert!(!back.fits(Some(&other)));
        assert!(!histogram.absorb(&Histogram::new(&other)));
    }

    #[test]
    fn edges_are_refused_at_their_limits() {
        let told = |edges: &[f64]| Edges::new(edges).unwrap_err().to_string();
        assert!(told(&[]).contains("no edges"));
        assert!(told(&[1.0, f64::NAN]).contains("not finite"));
        assert!(told(&[1.0, 1.0]).contains("1 is followed by 1"));
        let many = |len: u32| Edges::new(&(0..len).map(f64::from).collect::<Vec<_>>());
        assert!(many(1025).is_ok());
        assert!(matches!(many(1026), Err(Error::Limit { got: 1026, .. })));
        assert!(Edges::spaced(0.0, 1.0, 0).is_err());
        assert!(Edges::spaced(1.0, 0.0, 3).is_err());
        assert!(matches!(
            Edges::spaced(0.0, 1.0, 1025),
            Err(Error::Limit { .. })
        ));
        let spaced = Edges::spaced(0.0, 100.0, 4).unwrap();
        assert_eq!(spaced.as_slice(), [0.0, 25.0, 50.0, 75.0, 100.0]);
        let widest = Edges::spaced(f64::MIN, f64::MAX, 1024).unwrap();
        assert_eq!(widest.as_slice().last(), Some(&f64::MAX));
    }
}
