//! What a merged record shows.

use serde_json::{Map, Value};

use super::state::Unreadable;
use super::{Column, Latest, Shows, State, States};
use crate::base::{Datum, Error, Key, Result};

/// The values of a merged record, with the names of their columns, in the order of the columns. A list, as `collect_set`
/// shows one, is its JSON text.
///
/// # Errors
/// [`Error::Overflow`] where a sum is beyond 64 bits (128 of decimals); [`Error::Corrupt`] where the
/// bytes are no record, or the record does not belong to these columns, or operands were merged that
/// do not belong together. All name the key, and the column where there is one.
pub fn read<'a>(columns: &'a [Column], key: &Key, record: &[u8]) -> Result<Vec<(&'a str, Datum)>> {
    let object = || format!("record of key {key}");
    let states = States::decode(record).map_err(|error| match error {
        Error::Corrupt { detail, .. } => Error::corrupt(object(), detail),
        other => other,
    })?;
    if states.len() != columns.len() {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return Err(Error::corrupt(
            object(),
            if states.is_empty() {
                format!(
                    "operands of different shapes were merged; lost are {}",
                    names.join(", ")
                )
            } else {
                format!(
                    "it has {} columns, expected {}",
                    states.len(),
                    names.join(", ")
                )
            },
        ));
    }
    let pairs = columns.iter().zip(states.iter());
    pairs
        .map(|(column, state)| Ok((column.name.as_str(), value(column, key, state)?)))
        .collect()
}

/// The same as a JSON object: `{"flights":2735,"delay_sum":18960}`. A store of whole records shows the
/// [latest](Latest) one as it is.
///
/// # Errors
/// As [`read`].
pub fn read_json(columns: &[Column], key: &Key, record: &[u8]) -> Result<Value> {
    let mut values = read(columns, key, record)?.into_iter();
    if Latest::is_only(columns) {
        let datum = values.next().map_or(Datum::Null, |(_, datum)| datum);
        return whole_record(key, &datum);
    }
    let members = columns.iter().zip(values).map(|(column, (name, datum))| {
        let value = match (&datum, column.operator.info().shows) {
            (Datum::Str(list), Shows::List) => serde_json::from_str(list)
                .map_err(|error| Error::corrupt(format!("record of key {key}"), error.to_string())),
            _ => Ok(datum.to_json()),
        };
        Ok((name.to_owned(), value?))
    });
    Ok(Value::Object(members.collect::<Result<Map<_, _>>>()?))
}

/// The record that a store of whole records shows.
fn whole_record(key: &Key, datum: &Datum) -> Result<Value> {
    match datum {
        Datum::Str(json) => serde_json::from_str(json)
            .map_err(|error| Error::corrupt(format!("record of key {key}"), error.to_string())),
        other => Ok(other.to_json()),
    }
}

fn value(column: &Column, key: &Key, state: &State) -> Result<Datum> {
    let corrupt = |what: &str| {
        let detail = format!("column `{}` {what}", column.name);
        Err(Error::corrupt(format!("record of key {key}"), detail))
    };
    match state.operator() {
        Some(operator) if operator != column.operator => {
            return corrupt(&format!("holds {operator}, expected {}", column.operator));
        }
        _ => {}
    }
    match state.shown(column.parameter, column.edges.as_ref()) {
        Ok(datum) => Ok(datum),
        Err(Unreadable::Mismatch) => corrupt("holds operands of different types"),
        Err(Unreadable::Beyond(bits)) => Err(Error::Overflow {
            what: format!("column `{}` (beyond {bits} bits)", column.name),
            key: key.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::{Kind, Operator, merge};

    fn columns() -> Vec<Column> {
        let column = |name, operator, kind| Column::new(name, operator, kind).unwrap();
        vec![
            column("rows", Operator::Count, Kind::Any),
            column("total", Operator::Sum, Kind::Int),
            column("low", Operator::Min, Kind::Int),
            column("high", Operator::Max, Kind::Str),
            column("mean", Operator::Avg, Kind::Int),
        ]
    }

    fn key() -> Key {
        Key::from_datums(&["AA".into(), 1.into()]).unwrap()
    }

    fn record(rows: &[(Datum, Datum)]) -> Vec<u8> {
        let mut states = States::new(&columns());
        for (number, text) in rows {
            states[0].add_rows(1);
            for index in [1, 2, 4] {
                states[index].add(number).unwrap();
            }
            states[3].add(text).unwrap();
        }
        states.to_operand().unwrap().into_bytes().to_vec()
    }

    fn json(record: &[u8]) -> String {
        read_json(&columns(), &key(), record).unwrap().to_string()
    }

    fn error(record: &[u8]) -> String {
        read(&columns(), &key(), record).unwrap_err().to_string()
    }

    #[test]
    fn records_read_as_sql_has_it() {
        let null = || (Datum::Null, Datum::Null);
        let empty = r#"{"rows":0,"total":null,"low":null,"high":null,"mean":null}"#;
        assert_eq!(json(&record(&[])), empty);
        let nulls = r#"{"rows":2,"total":null,"low":null,"high":null,"mean":null}"#;
        assert_eq!(json(&record(&[null(), null()])), nulls);
        let rows = [(1.into(), "b".into()), null(), ((-4).into(), "a".into())];
        let some = r#"{"rows":3,"total":-3,"low":-4,"high":"b","mean":-1.5}"#;
        assert_eq!(json(&record(&rows)), some);
        let (first, rest) = rows.split_at(1);
        assert_eq!(json(&merge(&record(first), &record(rest))), some);
    }

    #[test]
    fn sums_beyond_64_bits_are_errors_with_key_and_column() {
        let at_the_edge = record(&[(u64::MAX.into(), Datum::Null)]);
        assert!(json(&at_the_edge).contains("\"total\":18446744073709551615"));
        let beyond = merge(&at_the_edge, &record(&[(1.into(), Datum::Null)]));
        assert_eq!(
            error(&beyond),
            "overflow: column `total` (beyond 64 bits) of key [\"AA\",1]"
        );
        let back = merge(&beyond, &record(&[((-1).into(), Datum::Null)]));
        assert!(json(&back).contains("\"total\":18446744073709551615"));
    }

    #[test]
    fn mismatches_are_errors_with_key_and_column() {
        let good = record(&[(1.into(), "a".into())]);
        let mut states = States::decode(&good).unwrap();
        states[1] = State::new(Operator::Sum);
        states[1].add_f64(1.0);
        let float = states.to_operand().unwrap();
        let detail = "column `total` holds operands of different types";
        let expected = format!("corrupt: record of key [\"AA\",1]: {detail}");
        assert_eq!(error(&merge(&good, float.as_bytes())), expected);

        states[1] = State::Count(1);
        let other = states.to_operand().unwrap();
        assert!(error(other.as_bytes()).ends_with("column `total` holds count, expected sum"));
        let lost =
            "operands of different shapes were merged; lost are rows, total, low, high, mean";
        assert!(error(&merge(&good, b"")).ends_with(lost));
        assert!(
            error(&[1, 1, 1, 1])
                .ends_with("it has 1 columns, expected rows, total, low, high, mean")
        );
        assert!(error(b"").ends_with("the number of columns is missing or too large"));
    }
}
