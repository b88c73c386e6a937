//! Zip archives of compressed files, as wheels are.

use std::io::{self, Write};

use super::gzip::Deflated;

/// The first second that a zip archive can name: 1 January 1980.
const FIRST_SECOND: u64 = 315_532_800;
/// The last one: the end of the year 2107.
const LAST_SECOND: u64 = 4_354_819_198;
const SECONDS_PER_DAY: u64 = 86_400;
/// The version that reads deflated files.
const VERSION: u16 = 20;
/// That version, with permissions as Unix has them.
const VERSION_UNIX: u16 = 3 << 8 | VERSION;
/// The method deflate.
const METHOD: u16 = 8;
/// The kind of a file, in the permissions of Unix.
const REGULAR: u32 = 0o100_000;

/// A file of the archive.
#[derive(Debug)]
pub(super) struct Member {
    /// Its path in the archive.
    pub(super) name: String,
    /// Its permissions.
    pub(super) mode: u32,
    /// Its content.
    pub(super) content: Deflated,
}

/// Writes an archive of these files, in this order, all with this time in seconds since 1970.
///
/// # Errors
/// The archive has 4 GiB or 65,536 files or more, or cannot be written.
pub(super) fn write(out: &mut impl Write, members: &[Member], seconds: u64) -> io::Result<()> {
    let stamp = stamp(seconds);
    let mut at = 0_u32;
    let mut directory = Vec::new();
    for member in members {
        let fields = fields(member, stamp)?;
        let mut local = b"PK\x03\x04".to_vec();
        local.extend(VERSION.to_le_bytes());
        local.extend(&fields);
        local.extend(member.name.as_bytes());
        out.write_all(&local)?;
        out.write_all(&member.content.data)?;

        directory.extend(b"PK\x01\x02");
        directory.extend(VERSION_UNIX.to_le_bytes());
        directory.extend(VERSION.to_le_bytes());
        directory.extend(&fields);
        // No comment, the first disk, no internal attributes.
        directory.extend([0; 6]);
        directory.extend(((REGULAR | member.mode) << 16).to_le_bytes());
        directory.extend(at.to_le_bytes());
        directory.extend(member.name.as_bytes());
        let length = local.len() + member.content.data.len();
        let next = u32::try_from(length)
            .ok()
            .and_then(|length| at.checked_add(length));
        at = next.ok_or_else(too_long)?;
    }
    out.write_all(&directory)?;
    let count = u16::try_from(members.len()).map_err(|_| too_long())?;
    let length = u32::try_from(directory.len()).map_err(|_| too_long())?;
    out.write_all(b"PK\x05\x06\0\0\0\0")?;
    out.write_all(&count.to_le_bytes())?;
    out.write_all(&count.to_le_bytes())?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&at.to_le_bytes())?;
    // No comment.
    out.write_all(&[0; 2])?;
    out.flush()
}

/// The fields that the header of a file and its entry in the directory share.
fn fields(member: &Member, stamp: [u16; 2]) -> io::Result<Vec<u8>> {
    assert!(
        member.name.is_ascii(),
        "name `{}` of a file in a wheel",
        member.name
    );
    let content = &member.content;
    let packed = u32::try_from(content.data.len()).map_err(|_| too_long())?;
    let name = u16::try_from(member.name.len()).map_err(|_| too_long())?;
    let mut fields = Vec::new();
    // Then no flags and the method.
    for field in [0, METHOD, stamp[0], stamp[1]] {
        fields.extend(field.to_le_bytes());
    }
    for field in [content.crc, packed, content.size] {
        fields.extend(field.to_le_bytes());
    }
    // Nothing extra follows the name.
    for field in [name, 0] {
        fields.extend(field.to_le_bytes());
    }
    Ok(fields)
}

/// Time and date as MS-DOS has them, in UTC, to two seconds.
fn stamp(seconds: u64) -> [u16; 2] {
    let seconds = seconds.clamp(FIRST_SECOND, LAST_SECOND);
    let (year, month, day) = date(seconds / SECONDS_PER_DAY);
    let of_day = seconds % SECONDS_PER_DAY;
    let time = (of_day / 3_600) << 11 | (of_day / 60 % 60) << 5 | (of_day % 60 / 2);
    let date = (year - 1_980) << 9 | month << 5 | day;
    [time, date].map(|field| u16::try_from(field).unwrap_or(u16::MAX))
}

/// Year, month and day of a day since 1970, by counting.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let (mut year, mut rest) = (1_970, days);
    while rest >= 365 + u64::from(is_leap(year)) {
        rest -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the archive is too long for a wheel",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        // 30 November 2026 and the last day of that year.
        assert_eq!(date(20_787), (2026, 11, 30));
        assert_eq!(date(20_818), (2026, 12, 31));
    }

    #[test]
    fn times_outside_of_the_range_become_its_ends() {
        assert_eq!(stamp(0), stamp(FIRST_SECOND));
        // 1 January 1980, 00:00:00, and 31 December 2107, 23:59:58.
        assert_eq!(stamp(FIRST_SECOND), [0x0000, 0x0021]);
        assert_eq!(stamp(u64::MAX), [0xBF7D, 0xFF9F]);
    }
}
