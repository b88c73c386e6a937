//! The operators, their names and their numbers in the format.

use std::fmt;

use super::Kind;
use crate::base::{Error, Result};

/// An operator over one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// How many rows, or how many values that are not NULL.
    Count,
    /// The sum of the values.
    Sum,
    /// The smallest value, in key order.
    Min,
    /// The largest value, in key order.
    Max,
    /// The sum of the values divided by their number.
    Avg,
    /// The whole record of the largest place in a source.
    Latest,
}

impl Operator {
    /// All operators.
    pub const ALL: [Operator; 6] = [
        Operator::Count,
        Operator::Sum,
        Operator::Min,
        Operator::Max,
        Operator::Avg,
        Operator::Latest,
    ];

    /// The number of the operator in the format; it is never given to another one. 0 is no operator.
    pub fn id(self) -> u8 {
        match self {
            Operator::Count => 1,
            Operator::Sum => 2,
            Operator::Min => 3,
            Operator::Max => 4,
            Operator::Avg => 5,
            Operator::Latest => 6,
        }
    }

    /// The version of the state's layout that this program writes. Whoever changes a layout raises it
    /// and keeps reading the older ones.
    pub fn version(self) -> u8 {
        1
    }

    /// The operator of a number in the format.
    pub fn from_id(id: u8) -> Option<Operator> {
        Operator::ALL
            .into_iter()
            .find(|operator| operator.id() == id)
    }

    /// The name, as job files write it.
    pub fn name(self) -> &'static str {
        match self {
            Operator::Count => "count",
            Operator::Sum => "sum",
            Operator::Min => "min",
            Operator::Max => "max",
            Operator::Avg => "avg",
            Operator::Latest => "latest",
        }
    }

    /// The operator of a name.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the names there are.
    pub fn parse(name: &str) -> Result<Operator> {
        let found = Operator::ALL
            .into_iter()
            .find(|operator| operator.name() == name);
        found.ok_or_else(|| {
            let names = Operator::ALL.map(Operator::name).join(", ");
            Error::Invalid(format!("no operator `{name}`, expected one of {names}"))
        })
    }

    /// Whether the operator works on values of this kind.
    pub fn takes(self, input: Kind) -> bool {
        match self {
            Operator::Count | Operator::Min | Operator::Max | Operator::Latest => true,
            Operator::Sum | Operator::Avg => {
                matches!(input, Kind::Int | Kind::Float | Kind::Decimal { .. })
            }
        }
    }

    /// The kind of what is read, NULL aside, from values of the kind `input`.
    pub fn output(self, input: Kind) -> Kind {
        match self {
            Operator::Count => Kind::Int,
            Operator::Sum | Operator::Min | Operator::Max | Operator::Latest => input,
            Operator::Avg => Kind::Float,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Operator {
    type Err = Error;

    fn from_str(name: &str) -> Result<Operator> {
        Operator::parse(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back() {
        for operator in Operator::ALL {
            assert_eq!(Operator::parse(operator.name()).unwrap(), operator);
            assert_eq!(Operator::from_id(operator.id()), Some(operator));
        }
        assert_eq!(Operator::from_id(0), None);
        let error = Operator::parse("median").unwrap_err();
        let expected =
            "invalid: no operator `median`, expected one of count, sum, min, max, avg, latest";
        assert_eq!(error.to_string(), expected);
    }
}
