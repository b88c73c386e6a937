//! The columns of a merged store.

use std::fmt;

use super::{
    BoundedSet, Edges, Histogram, Kind, Largest, Operator, Parameter, QUANTILE_PARTS, SET_LEN_MAX,
    State,
};
use crate::base::{Error, Result};

/// A column of a merged store, as the store's schema records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The name under which the result is read.
    pub name: String,
    /// The operator.
    pub operator: Operator,
    /// The kind of the values that go in. Merging two kinds would spoil the records, so whoever
    /// writes is held to it.
    pub input: Kind,
    /// What the operator is told besides: the limit of `collect_set` and `top_k`, the parts of a million of
    /// `approx_quantile`, else 0.
    pub parameter: u32,
    /// Where the bins of a `histogram` end; of no other operator.
    pub edges: Option<Edges>,
}

impl Column {
    /// A column whose operator takes no parameter.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty name, or where the operator does not take values of this kind.
    pub fn new(name: impl Into<String>, operator: Operator, input: Kind) -> Result<Column> {
        Column::with_parameter(name, operator, input, 0)
    }

    /// A column with what its operator is told besides its values; 0 of one that is told nothing.
    ///
    /// # Errors
    /// As [`Column::new`]; [`Error::Invalid`] for a parameter that the operator does not take.
    pub fn with_parameter(
        name: impl Into<String>,
        operator: Operator,
        input: Kind,
        parameter: u32,
    ) -> Result<Column> {
        Column::checked(name.into(), operator, input, parameter, None)
    }

    /// A column of a histogram with bins between these edges.
    ///
    /// # Errors
    /// As [`Column::new`].
    pub fn histogram(name: impl Into<String>, input: Kind, edges: Edges) -> Result<Column> {
        Column::checked(name.into(), Operator::Histogram, input, 0, Some(edges))
    }

    fn checked(
        name: String,
        operator: Operator,
        input: Kind,
        parameter: u32,
        edges: Option<Edges>,
    ) -> Result<Column> {
        if name.is_empty() {
            return Err(Error::Invalid("a column has no name".to_owned()));
        }
        if !operator.takes(input) {
            return Err(Error::Invalid(format!(
                "column `{name}`: {operator} does not take values of kind {input}"
            )));
        }
        let is_legal = match operator.info().parameter {
            Parameter::None | Parameter::Edges => parameter == 0,
            Parameter::Limit => (1..=SET_LEN_MAX).contains(&parameter),
            Parameter::Quantile => parameter <= QUANTILE_PARTS,
        };
        if !is_legal {
            return Err(Error::Invalid(format!(
                "column `{name}`: {operator} does not take the parameter {parameter}"
            )));
        }
        if (operator.info().parameter == Parameter::Edges) != edges.is_some() {
            let what = if edges.is_some() {
                "takes no"
            } else {
                "has no"
            };
            return Err(Error::Invalid(format!(
                "column `{name}`: {operator} {what} edges"
            )));
        }
        Ok(Column {
            name,
            operator,
            input,
            parameter,
            edges,
        })
    }

    /// The kind of what is read, NULL aside.
    pub fn output(&self) -> Kind {
        self.operator.output(self.input)
    }

    /// The state of no row of this column, which values can be added to.
    pub fn empty_state(&self) -> State {
        match self.operator {
            Operator::CollectSet => State::CollectSet(BoundedSet::new(self.parameter)),
            Operator::TopK => State::TopK(Largest::new(self.parameter)),
            Operator::Histogram => match &self.edges {
                Some(edges) => State::Histogram(Histogram::new(edges)),
                None => State::new(Operator::Histogram),
            },
            operator => State::new(operator),
        }
    }

    /// Whether the state belongs into this column.
    pub fn accepts(&self, state: &State) -> bool {
        let kind_agrees = match (self.input, state.kind()) {
            (Kind::Any, _) | (_, None) => true,
            // What keeps values as keys have them keeps a decimal without its trailing zeros, and so without its scale.
            (Kind::Decimal { .. }, Some(Kind::Decimal { .. }))
                if matches!(
                    self.operator,
                    Operator::Min
                        | Operator::Max
                        | Operator::First
                        | Operator::Last
                        | Operator::CollectSet
                        | Operator::TopK
                ) =>
            {
                true
            }
            (input, Some(kind)) => input == kind,
        };
        state.operator() == Some(self.operator) && kind_agrees && self.has_limit_of(state)
    }

    /// States of two limits, or of other edges, do not merge.
    fn has_limit_of(&self, state: &State) -> bool {
        match state {
            State::CollectSet(set) => set.is_empty() || set.limit() == self.parameter,
            State::TopK(largest) => largest.is_empty() || largest.limit() == self.parameter,
            State::Histogram(histogram) => histogram.fits(self.edges.as_ref()),
            _ => true,
        }
    }
}

/// As in a job file, with the kind in place of the argument: `delay_sum = sum(int)`.
impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}({}", self.name, self.operator, self.input)?;
        match self.operator.info().parameter {
            Parameter::None => {}
            Parameter::Edges => {
                let edges = self.edges.iter().flat_map(Edges::as_slice);
                let edges: Vec<String> = edges.map(f64::to_string).collect();
                write!(f, ", [{}]", edges.join(", "))?;
            }
            Parameter::Limit => write!(f, ", {}", self.parameter)?,
            Parameter::Quantile => {
                write!(
                    f,
                    ", {}",
                    f64::from(self.parameter) / f64::from(QUANTILE_PARTS)
                )?;
            }
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_held_to_their_kinds() {
        assert!(Column::new("n", Operator::Count, Kind::Any).is_ok());
        assert!(Column::new("", Operator::Count, Kind::Any).is_err());
        let error = Column::new("x", Operator::Sum, Kind::Str).unwrap_err();
        let expected = "invalid: column `x`: sum does not take values of kind string";
        assert_eq!(error.to_string(), expected);
    }
}
