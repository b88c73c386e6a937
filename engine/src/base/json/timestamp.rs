//! Moments as text: RFC 3339, to the microsecond, in the proleptic Gregorian calendar.
//!
//! The calendar is not `chrono`'s, which ends in the years -262,143 and 262,142: 64 bits of microseconds reach further, and
//! 32 bits of days reach millions of years.
//!
//! Years beyond four digits have a sign, as ISO 8601 has them: `+12013-01-01T00:00:00Z`.

const MICROS_PER_SECOND: i128 = 1_000_000;
const MICROS_PER_DAY: i128 = 86_400 * MICROS_PER_SECOND;
/// Days of 400 years; the calendar repeats after them.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01, with which the first era begins, to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;

/// The text of a moment given in microseconds since the Unix epoch: UTC, with as many fraction
/// digits as it needs.
///
/// ```
/// use eciton_engine::json::timestamp;
/// assert_eq!(timestamp::format(1_357_034_400_000_000), "2013-01-01T10:00:00Z");
/// assert_eq!(timestamp::format(-500_000), "1969-12-31T23:59:59.5Z");
/// ```
pub fn format(micros: i64) -> String {
    let day_len = 86_400_000_000;
    let date = date_text(micros.div_euclid(day_len));
    let of_day = micros.rem_euclid(day_len);
    let (seconds, fraction) = (of_day / 1_000_000, of_day % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let digits = format!("{fraction:06}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    format!("{date}T{hour:02}:{minute:02}:{second:02}{point}{digits}Z")
}

/// The text of a day given in days since the Unix epoch.
///
/// ```
/// use eciton_engine::json::timestamp;
/// assert_eq!(timestamp::format_date(15_706), "2013-01-01");
/// assert_eq!(timestamp::format_date(-1), "1969-12-31");
/// ```
pub fn format_date(days: i32) -> String {
    date_text(days.into())
}

fn date_text(days: i64) -> String {
    let (year, month, day) = civil_of_days(days);
    let year = if (0..=9999).contains(&year) {
        format!("{year:04}")
    } else {
        format!("{year:+05}")
    };
    format!("{year}-{month:02}-{day:02}")
}

/// The day that `text` names, in days since the Unix epoch. `None` where it is no date, or beyond 32 bits.
///
/// ```
/// use eciton_engine::json::timestamp;
/// assert_eq!(timestamp::parse_date("2013-01-01"), Some(15_706));
/// assert_eq!(timestamp::parse_date("2013-02-29"), None);
/// ```
pub fn parse_date(text: &str) -> Option<i32> {
    let mut scan = TextScan { rest: text };
    let days = scan.date()?;
    if !scan.rest.is_empty() {
        return None;
    }
    i32::try_from(days).ok()
}

/// The moment that `text` names, in microseconds since the Unix epoch. `None` where it is not a date
/// with time and offset (`Z` or `+02:00`), is finer than microseconds, or is beyond 64 bits.
///
/// ```
/// use eciton_engine::json::timestamp;
/// let moment = timestamp::parse("2013-01-01T12:00:00.25+02:00");
/// assert_eq!(moment, Some(1_357_034_400_250_000));
/// assert_eq!(timestamp::parse("2013-02-29T00:00:00Z"), None);
/// ```
pub fn parse(text: &str) -> Option<i64> {
    let mut scan = TextScan { rest: text };
    let days = scan.date()?;
    scan.expect(&["T", "t", " "])?;
    let hour = scan.number(2, 0..=23)?;
    scan.expect(&[":"])?;
    let minute = scan.number(2, 0..=59)?;
    scan.expect(&[":"])?;
    let second = scan.number(2, 0..=59)?;
    let fraction = scan.fraction_micros()?;
    let offset_minutes = scan.offset_minutes()?;
    if !scan.rest.is_empty() {
        return None;
    }
    let seconds = i128::from((hour * 60 + minute - offset_minutes) * 60 + second);
    let micros =
        i128::from(days) * MICROS_PER_DAY + seconds * MICROS_PER_SECOND + i128::from(fraction);
    i64::try_from(micros).ok()
}

/// What is left of a text.
struct TextScan<'a> {
    rest: &'a str,
}

impl TextScan<'_> {
    fn expect(&mut self, any_of: &[&str]) -> Option<()> {
        self.rest = any_of
            .iter()
            .find_map(|start| self.rest.strip_prefix(start))?;
        Some(())
    }

    /// Year, month and day, as days since the Unix epoch.
    fn date(&mut self) -> Option<i64> {
        let year = self.year()?;
        self.expect(&["-"])?;
        let month = self.number(2, 1..=12)?;
        self.expect(&["-"])?;
        let day = self.number(2, 1..=days_of_month(year, month))?;
        Some(days_of_civil(year, month, day))
    }

    fn digits(&mut self) -> &str {
        let len = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(len);
        self.rest = rest;
        digits
    }

    fn number(&mut self, len: usize, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
        let digits = self
            .rest
            .get(..len)
            .filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?;
        let number = digits
            .parse()
            .ok()
            .filter(|number| range.contains(number))?;
        self.rest = &self.rest[len..];
        Some(number)
    }

    /// Four digits, or a sign and four to seven: what 32 bits of days and 64 bits of microseconds reach.
    fn year(&mut self) -> Option<i64> {
        let sign = match self.rest.as_bytes().first()? {
            b'-' => -1,
            b'+' => 1,
            _ => return self.number(4, 0..=9999),
        };
        self.rest = &self.rest[1..];
        let digits = self.digits();
        if !(4..=7).contains(&digits.len()) {
            return None;
        }
        digits.parse::<i64>().ok().map(|year| sign * year)
    }

    fn fraction_micros(&mut self) -> Option<i64> {
        if self.expect(&["."]).is_none() {
            return Some(0);
        }
        let digits = self.digits();
        let (micros, finer) = digits.split_at(digits.len().min(6));
        if micros.is_empty() || finer.bytes().any(|digit| digit != b'0') {
            return None;
        }
        format!("{micros:0<6}").parse().ok()
    }

    fn offset_minutes(&mut self) -> Option<i64> {
        if self.expect(&["Z", "z"]).is_some() {
            return Some(0);
        }
        let sign = if self.expect(&["+"]).is_some() {
            1
        } else {
            self.expect(&["-"])?;
            -1
        };
        let hours = self.number(2, 0..=23)?;
        // The colon is optional in ISO 8601.
        let _ = self.expect(&[":"]);
        let minutes = self.number(2, 0..=59)?;
        Some(sign * (hours * 60 + minutes))
    }
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the Unix epoch. Years are taken to begin in March, so that the leap day is the last
/// one; the days before a month are then `(153 m + 2) / 5`.
fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (march_year.div_euclid(400), march_year.rem_euclid(400));
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + day_of_year;
    era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH
}

/// Year, month and day of a day since the Unix epoch.
fn civil_of_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (
        shifted.div_euclid(DAYS_PER_ERA),
        shifted.rem_euclid(DAYS_PER_ERA),
    );
    // Leap days are taken out first; then every year has 365 days.
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (of_era * 365 + of_era / 4 - of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = era * 400 + of_era + i64::from(month <= 2);
    (year, month, day)
}
