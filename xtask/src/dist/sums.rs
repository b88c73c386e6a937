//! SHA-256 by the system's `sha256sum`.

use std::path::PathBuf;
use std::process::Command;

use super::text;
use crate::steps::Failed;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The hashes of these files, in hexadecimal digits and in this order.
///
/// # Errors
/// A file cannot be read, or `sha256sum` is missing.
pub(super) fn sha256(paths: &[PathBuf]) -> Result<Vec<String>, Failed> {
    let told = text(Command::new("sha256sum").arg("--").args(paths))?;
    // A line of a path with special characters begins with a backslash.
    let sums = told.lines().map(|line| line.trim_start_matches('\\'));
    let sums: Vec<String> = sums
        .filter_map(|line| Some(line.get(..64)?.to_owned()))
        .collect();
    match sums.len() == paths.len() {
        true => Ok(sums),
        false => Err(Failed(format!(
            "sha256sum hashed {} of {} files",
            sums.len(),
            paths.len()
        ))),
    }
}

/// A hash in the base 64 of wheels: safe in URLs, without padding.
///
/// # Errors
/// These are not hexadecimal digits.
pub(super) fn base64(hex: &str) -> Result<String, Failed> {
    let digits = hex.chars().map(|digit| digit.to_digit(16));
    let digits: Option<Vec<u32>> = digits.collect();
    let digits = digits.ok_or_else(|| Failed(format!("`{hex}` is no hash")))?;
    // Three digits have twelve bits, which are two characters.
    let mut text = String::new();
    for three in digits.chunks(3) {
        let digit = |at: usize| three.get(at).copied().unwrap_or(0);
        let bits = digit(0) << 8 | digit(1) << 4 | digit(2);
        let characters = if three.len() == 1 { 1 } else { 2 };
        for shift in [6, 0].into_iter().take(characters) {
            text.push(char::from(ALPHABET[(bits >> shift & 63) as usize]));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_as_wheels_do() {
        // Of nothing; the second form is what Python's base64.urlsafe_b64encode makes of the first.
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let expected = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        assert_eq!(base64(hex).unwrap(), expected);
        assert!(base64("xyz").is_err());
    }
}
