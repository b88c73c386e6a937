//! A query that makes sense for some columns.

use arrow::datatypes::DataType;
use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;

use super::survey::Facts;
use crate::columns::Kind;

/// Groups that an example has, at most and at best.
const GROUPS_MAX: usize = 500;
const GROUPS_GOOD: usize = 60;

/// What to ask.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    /// The column to group by.
    pub(super) group: Option<String>,
    /// The column of numbers to average.
    pub(super) number: Option<String>,
    /// Names for the count and the average.
    pub(super) count_name: String,
    pub(super) average_name: String,
    /// The column to merge by.
    pub(super) by: Option<String>,
    /// The column that told apart all rows that were read.
    pub(super) key: Option<String>,
}

/// Chooses a column to group by and one to average.
pub(super) fn of(columns: &[Facts]) -> Question {
    let group = group(columns);
    let number = columns
        .iter()
        .filter(|column| Some(column.name.as_str()) != group && is_quantity(column))
        .min_by_key(|column| !is_fraction(&column.data_type) && is_code(&column.name));
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let average = number.map_or("average".to_owned(), |column| {
        let word = |c: char| match c.is_ascii_alphanumeric() {
            true => c.to_ascii_lowercase(),
            false => '_',
        };
        let plain: String = column.name.chars().map(word).take(40).collect();
        format!("avg_{}", plain.trim_matches('_'))
    });
    Question {
        group: group.map(str::to_owned),
        number: number.map(|column| column.name.clone()),
        count_name: free("row_count", &names),
        average_name: free(&average, &names),
        by: group.or_else(|| by(columns)).map(str::to_owned),
        key: key(columns).map(str::to_owned),
    }
}

/// The query over the table `source`.
pub(super) fn sql(question: &Question) -> String {
    let mut selected = Vec::new();
    let group = question.group.as_deref().map(quoted);
    selected.extend(group.clone());
    selected.push(format!("count(*) AS {}", question.count_name));
    if let Some(number) = &question.number {
        let (number, name) = (quoted(number), &question.average_name);
        selected.push(format!("avg({number}) AS {name}"));
    }
    let mut sql = format!("SELECT {}\nFROM source", selected.join(", "));
    if let Some(group) = group {
        sql.push_str("\nGROUP BY ");
        sql.push_str(&group);
    }
    sql
}

/// A column that has few values, text if there is any.
fn group(columns: &[Facts]) -> Option<&str> {
    let groups = columns.iter().filter_map(|column| {
        let distinct = column.distinct?;
        let rank = match Kind::of(&column.data_type)? {
            Kind::Str => 0,
            Kind::Bool => 1,
            Kind::Int | Kind::Uint if distinct <= GROUPS_GOOD => 2,
            Kind::Date | Kind::Timestamp => 3,
            _ => return None,
        };
        let is_good = distinct <= GROUPS_GOOD;
        ((2..=GROUPS_MAX).contains(&distinct)).then_some(((!is_good, rank), &column.name))
    });
    groups
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, name)| name.as_str())
}

/// Whether a column counts or measures something.
fn is_quantity(column: &Facts) -> bool {
    let kind = Kind::of(&column.data_type);
    let is_number = matches!(
        kind,
        Some(Kind::Int | Kind::Uint | Kind::Float | Kind::Decimal(_))
    );
    is_number && column.distinct.is_none_or(|distinct| distinct > 1)
}

fn is_fraction(data_type: &DataType) -> bool {
    data_type.is_floating() || data_type.is_decimal()
}

/// Whether a name is one of numbers that nobody averages.
fn is_code(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let codes = [
        "id", "key", "code", "zip", "year", "month", "day", "hour", "minute", "number", "no",
        "time", "date",
    ];
    words.iter().any(|word| codes.contains(word)) || name.ends_with("id") && !name.ends_with("aid")
}

/// A column that may be a key, whether or not it tells rows apart.
fn by(columns: &[Facts]) -> Option<&str> {
    let has_key = |column: &&Facts| Kind::of(&column.data_type).is_some() && column.nulls == 0;
    let many = |column: &&Facts| column.distinct.is_none();
    let mut keys = columns.iter().filter(has_key);
    let found = keys.clone().find(many).or_else(|| keys.next());
    found.map(|column| column.name.as_str())
}

/// A column that told apart all rows that were read: one that is named like a code, else the first.
fn key(columns: &[Facts]) -> Option<&str> {
    let is_key = |column: &&Facts| Kind::of(&column.data_type).is_some() && column.is_unique;
    let named = columns
        .iter()
        .filter(is_key)
        .find(|column| is_code(&column.name));
    let first = || columns.iter().find(is_key);
    named.or_else(first).map(|column| column.name.as_str())
}

/// A name that no column has.
fn free(name: &str, taken: &[&str]) -> String {
    let mut name = name.to_owned();
    while taken.contains(&name.as_str()) {
        name.push('_');
    }
    name
}

/// A column's name as a query writes it: as it is where it can stand so.
pub(super) fn quoted(name: &str) -> String {
    let mut letters = name.chars();
    let is_word = letters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    let is_keyword = ALL_KEYWORDS
        .binary_search(&name.to_ascii_uppercase().as_str())
        .is_ok();
    match is_word && !is_keyword {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}
