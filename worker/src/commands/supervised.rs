//! `tied`: a supervised child, a program that is killed when the process that started it exits. `up` starts programs
//! this way that know nothing of it.

use crate::cli::Supervised;
use crate::failure::Failure;
use crate::local::{become_program, end_with};

/// Becomes the program.
///
/// # Errors
/// [`Failure::Work`] where it cannot be started; where the parent has ended already.
pub(super) fn supervised(args: &Supervised) -> Result<(), Failure> {
    end_with(args.parent)?;
    match args.program.split_first() {
        Some((program, args)) => Err(become_program(program, args)),
        None => Err(Failure::Usage("tied: expected a program".to_owned())),
    }
}
