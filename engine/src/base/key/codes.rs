//! The codes that fields begin with.
//!
//! A descending field is its ascending form with every bit flipped, the code included, so an
//! ascending code lies in `0x01..=0x7f` and its descending twin in `0x80..=0xfe`. The gaps are for
//! types to come; a code never changes its meaning.

/// NULL.
pub(crate) const NULL: u8 = 0x04;
/// False.
pub(super) const FALSE: u8 = 0x08;
/// True.
pub(super) const TRUE: u8 = 0x09;
/// The integer 0. An integer of `n` bytes has the code `INT_ZERO + n`, a negative one `INT_ZERO - n`.
pub(super) const INT_ZERO: u8 = 0x18;
/// The largest number of bytes of an integer.
pub(super) const INT_LEN_MAX: u8 = 8;
/// A float.
pub(super) const FLOAT: u8 = 0x28;
/// A decimal below zero.
pub(super) const DECIMAL_NEGATIVE: u8 = 0x30;
/// The decimal 0.
pub(super) const DECIMAL_ZERO: u8 = 0x31;
/// A decimal above zero.
pub(super) const DECIMAL_POSITIVE: u8 = 0x32;
/// Text.
pub(super) const STR: u8 = 0x40;
/// Bytes.
pub(super) const BYTES: u8 = 0x44;
/// A UUID.
pub(super) const UUID: u8 = 0x48;
/// A day.
pub(super) const DATE: u8 = 0x4a;
/// A moment.
pub(super) const TIMESTAMP: u8 = 0x4c;

/// No field begins with this byte; it sorts after all that do.
pub(crate) const ABOVE_ALL: u8 = 0xff;
/// No field begins with this byte; it sorts before all that do.
pub(crate) const BELOW_ALL: u8 = 0x00;
/// Codes with this bit are those of descending fields.
pub(super) const DESCENDING_BIT: u8 = 0x80;

/// Ends text and bytes. It never occurs inside, so no text is the beginning of another one.
pub(super) const END: u8 = 0x00;
/// Stands for `0x00` or `0x01` inside text and bytes, together with the byte after it.
pub(super) const ESCAPE: u8 = 0x01;
/// After [`ESCAPE`]: a `0x00`.
pub(super) const ESCAPED_00: u8 = 0x01;
/// After [`ESCAPE`]: a `0x01`.
pub(super) const ESCAPED_01: u8 = 0x02;
