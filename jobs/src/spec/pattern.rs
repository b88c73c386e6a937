//! Patterns of dates and timestamps, in the language of `strftime`.

use std::fmt::Write;

use chrono::format::{Fixed, Item, Numeric, Parsed, StrftimeItems, parse};
use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

/// A moment that no pattern confuses with another: no two of its parts are equal.
const PROBE: &str = "2001-02-03T16:05:06.789012+07:30";
/// Years from here on have four digits, however they are padded.
const YEAR_MIN_FREE: i32 = 1000;
/// Digits of a fraction of a second that the parser looks at.
const FRACTION_DIGITS_MAX: usize = 9;

/// How dates or timestamps are written.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    items: Vec<Item<'static>>,
    /// Whether it has an offset.
    has_offset: bool,
    /// Whether it has a time of day.
    has_clock: bool,
}

impl Pattern {
    /// The pattern of a `date`, or with `clock` of a `timestamp`.
    ///
    /// # Errors
    /// What is wrong with it, to follow "the pattern ...".
    pub(crate) fn parse(text: &str, clock: bool) -> Result<Pattern, String> {
        let items = StrftimeItems::new(text).parse_to_owned();
        let items = items.map_err(|_| format!("`{text}` is no pattern of strftime"))?;
        for item in &items {
            match item {
                Item::Numeric(Numeric::Nanosecond, _) => {
                    return Err(format!(
                        "`{text}` counts nanoseconds with `%f`; a fraction of a second is `%.f`"
                    ));
                }
                Item::Fixed(Fixed::TimezoneName) => {
                    return Err(format!(
                        "`{text}` has a name of a time zone, which tells no offset; an offset is `%z`"
                    ));
                }
                _ => {}
            }
        }
        let mut pattern = Pattern {
            items,
            has_offset: false,
            has_clock: false,
        };
        pattern.probe(text, clock)?;
        Ok(pattern)
    }

    /// Writes a moment and reads it again, to see what the pattern tells.
    fn probe(&mut self, text: &str, clock: bool) -> Result<(), String> {
        let whole = "a year, a month and a day";
        let lacks = |what: &str| Err(format!("`{text}` does not tell {what}"));
        let Ok(moment) = DateTime::parse_from_rfc3339(PROBE) else {
            return lacks(whole);
        };
        let written = moment.format_with_items(self.items.iter()).to_string();
        let Some(parsed) = self.parsed(&written) else {
            return lacks(whole);
        };
        self.has_offset = parsed.offset().is_some();
        let parts = [
            parsed.hour_div_12(),
            parsed.hour_mod_12(),
            parsed.minute(),
            parsed.second(),
            parsed.nanosecond(),
        ];
        self.has_clock =
            parts.into_iter().any(|part| part.is_some()) || parsed.timestamp().is_some();
        if !clock && (self.has_clock || self.has_offset) {
            return Err(format!(
                "`{text}` has a time of day, and a date has none; expected the type `timestamp`"
            ));
        }
        let Some(found) = self.moment(&parsed) else {
            let what = match self.has_clock {
                true => "a year, a month, a day, an hour and a minute",
                false => whole,
            };
            return lacks(what);
        };
        let expected = match self.has_offset {
            true => moment.naive_utc(),
            false => moment.naive_local(),
        };
        let known = match parsed.timestamp() {
            // Seconds since 1970 are those of UTC.
            Some(_) => found.date() == moment.naive_utc().date(),
            None => found.date() == expected.date(),
        };
        if known { Ok(()) } else { lacks(whole) }
    }

    fn parsed(&self, text: &str) -> Option<Parsed> {
        let mut parsed = Parsed::new();
        parse(&mut parsed, text, self.items.iter()).ok()?;
        Some(parsed)
    }

    /// The moment in UTC.
    fn moment(&self, parsed: &Parsed) -> Option<NaiveDateTime> {
        if self.has_offset {
            let moment: DateTime<FixedOffset> = parsed.to_datetime().ok()?;
            return Some(moment.naive_utc());
        }
        if self.has_clock {
            return parsed.to_naive_datetime_with_offset(0).ok();
        }
        Some(parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN))
    }

    /// Microseconds since 1970-01-01, UTC; without an offset the text is taken as UTC. `None`: it is not written like
    /// this, or is none that microseconds hold.
    pub(crate) fn micros(&self, text: &str) -> Option<i64> {
        if is_finer_than_parsed(text) {
            return None;
        }
        let moment = self.moment(&self.parsed(text)?)?;
        if !self.is_written_so(text, moment) {
            return None;
        }
        // A leap second is a nanosecond beyond the last.
        let nanos = moment.nanosecond();
        let exact = nanos < 1_000_000_000 && nanos.is_multiple_of(1000);
        exact.then(|| moment.and_utc().timestamp_micros())
    }

    /// Days since 1970-01-01.
    pub(crate) fn days(&self, text: &str) -> Option<i32> {
        let date: NaiveDate = self.parsed(text)?.to_naive_date().ok()?;
        if !self.is_written_so(text, date.and_time(NaiveTime::MIN)) {
            return None;
        }
        i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days()).ok()
    }
}

impl Pattern {
    /// Whether a text says the moment that was parsed, and not a shorter one: the parser takes `24` for the year 24, tells
    /// numbers apart that stand together as it likes, and passes over a space that is not there.
    fn is_written_so(&self, text: &str, moment: NaiveDateTime) -> bool {
        let together = |pair: &[Item<'_>]| matches!(pair, [Item::Numeric(..), Item::Numeric(..)]);
        let is_dense = self.items.windows(2).any(together);
        let has_spaces = self.items.iter().any(|item| match item {
            Item::Space(_) | Item::OwnedSpace(_) => true,
            Item::Literal(text) => text.contains(char::is_whitespace),
            Item::OwnedLiteral(text) => text.contains(char::is_whitespace),
            _ => false,
        });
        let is_early = moment.year() < YEAR_MIN_FREE;
        if self.has_offset || !(is_dense || has_spaces || is_early) {
            return !is_early;
        }
        let mut written = String::new();
        if write!(written, "{}", moment.format_with_items(self.items.iter())).is_err() {
            return false;
        }
        let words = |text: &str| text.split_whitespace().count();
        match is_dense || is_early {
            true => written == text,
            false => words(&written) == words(text),
        }
    }
}

/// Whether a fraction of a second has digits that the parser passes over.
fn is_finer_than_parsed(text: &str) -> bool {
    text.split(['.', ',']).skip(1).any(|fraction| {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit);
        digits.skip(FRACTION_DIGITS_MAX).any(|digit| digit != b'0')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(pattern: &str, text: &str) -> Option<i64> {
        Pattern::parse(pattern, true).unwrap().micros(text)
    }

    #[test]
    fn moments_are_exact_or_refused() {
        let start = 1_704_067_200_000_000;
        for (pattern, text, expected) in [
            ("%d/%m/%Y %H:%M", "01/01/2024 00:00", Some(start)),
            ("%d/%m/%Y", "01/01/2024", Some(start)),
            ("%d/%m/%Y", "31/02/2024", None),
            ("%d/%m/%Y", "1/1/2024", Some(start)),
            ("%d/%m/%Y", "01/01/24", None),
            ("%d/%m/%Y", "01/01/203", None),
            ("%d/%m/%y", "01/01/24", Some(start)),
            ("%Y%m%d", "20240101", Some(start)),
            ("%Y%m%d", "2024011", None),
            ("%Y%m%d%H%M%S", "2024010100000", None),
            ("%Y-%m-%d %H:%M", "2024-01-0100:00", None),
            ("%Y-%m-%d %H:%M", "2024-01-01  00:00", Some(start)),
            ("%d/%m/%Y", "01/01/2024 10:00", None),
            (
                "%Y-%m-%d %H:%M:%S%.f",
                "2024-01-01 00:00:00.25",
                Some(start + 250_000),
            ),
            ("%Y-%m-%d %H:%M:%S%.f", "2024-01-01 00:00:00.1234567", None),
            (
                "%Y-%m-%d %H:%M:%S%.f",
                "2024-01-01 00:00:00.1234560001",
                None,
            ),
            ("%Y-%m-%d %H:%M:%S", "2024-01-01 00:00:60", None),
            (
                "%Y-%m-%d %H:%M:%S %z",
                "2024-01-01 01:30:00 +0130",
                Some(start),
            ),
            ("%I:%M %p %b %e %y", "12:00 AM Jan  1 24", Some(start)),
            ("%s", "1704067200", Some(start)),
        ] {
            assert_eq!(micros(pattern, text), expected, "{pattern}: {text}");
        }
        let day = Pattern::parse("%m/%d/%y", false).unwrap();
        assert_eq!(day.days("01/02/70"), Some(1));
        assert_eq!(day.days("13/02/70"), None);
    }

    #[test]
    fn patterns_that_lose_something_are_refused() {
        for (pattern, clock, words) in [
            ("%!", true, "no pattern of strftime"),
            ("%d/%m", true, "does not tell a year"),
            ("%d/%m", false, "does not tell a year"),
            ("%H:%M", true, "does not tell a year"),
            ("%Y-%m-%d %H", true, "an hour and a minute"),
            ("%Y-%m-%d %I:%M", true, "an hour and a minute"),
            ("%Y-%m-%d %H:%M", false, "a date has none"),
            ("%Y-%m-%d %H:%M:%S.%f", true, "`%.f`"),
            ("%Y-%m-%d %H:%M %Z", true, "`%z`"),
            ("plain", true, "does not tell"),
            ("", true, "does not tell"),
        ] {
            let refusal = Pattern::parse(pattern, clock).unwrap_err();
            assert!(refusal.contains(words), "{pattern}: {refusal}");
        }
    }
}
