//! The options of `cargo xtask dist`.

use std::path::PathBuf;

/// What to pack, and where to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The profile that the program is built with.
    pub(super) profile: String,
    /// A program that is already built; then nothing is built.
    pub(super) binary: Option<PathBuf>,
    /// The folder of the archives; it is created if it does not exist.
    pub(super) out: PathBuf,
    /// Whether to compress quickly instead of well.
    pub(super) fast: bool,
}

impl Options {
    /// Reads the arguments after `dist`.
    ///
    /// # Errors
    /// An argument is unknown or lacks its value; the text says which.
    pub(crate) fn read(args: &[String]) -> Result<Self, String> {
        let mut options = Self {
            profile: "release".to_owned(),
            binary: None,
            out: PathBuf::from("dist"),
            fast: false,
        };
        let mut args = args.iter();
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("`{name}` needs a value"));
            match name.as_str() {
                "--profile" => options.profile.clone_from(value()?),
                "--binary" => options.binary = Some(PathBuf::from(value()?)),
                "--out" => options.out = PathBuf::from(value()?),
                "--fast" => options.fast = true,
                unknown => return Err(format!("`dist` has no argument `{unknown}`")),
            }
        }
        Ok(options)
    }

    /// The level of gzip. For the program, level 9 takes more than twice the time of level 6, and saves 0.7 %.
    pub(super) fn level(&self) -> u8 {
        if self.fast { 1 } else { 6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Options, String> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        Options::read(&args)
    }

    #[test]
    fn options_have_values_and_unknown_ones_are_named() {
        let all = ["--profile", "dev", "--binary", "b", "--out", "o", "--fast"];
        let expected = Options {
            profile: "dev".to_owned(),
            binary: Some("b".into()),
            out: "o".into(),
            fast: true,
        };
        assert_eq!(read(&all).unwrap(), expected);
        assert_eq!(read(&[]).unwrap().out, PathBuf::from("dist"));
        assert!(read(&["--out"]).unwrap_err().contains("`--out`"));
        assert!(read(&["--of"]).unwrap_err().contains("`--of`"));
    }
}
