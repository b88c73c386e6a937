//! `tied`: a program that ends with whoever started it. `up` starts programs so that know nothing of that.

use crate::cli::Tied;
use crate::failure::Failure;
use crate::local::{become_program, end_with};

/// Becomes the program.
///
/// # Errors
/// [`Failure::Work`] where it cannot be started; where the parent has ended already.
pub(super) fn tied(args: &Tied) -> Result<(), Failure> {
    end_with(args.parent)?;
    match args.program.split_first() {
        Some((program, args)) => Err(become_program(program, args)),
        None => Err(Failure::Usage("tied: expected a program".to_owned())),
    }
}
