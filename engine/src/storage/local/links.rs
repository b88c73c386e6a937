//! Whether a file system has what names are given by: a link that fails where its name is taken.

use std::io;

use super::folder::LocalFolder;
use super::mount::Mount;
use super::temp::Temp;
use crate::base::{Error, Result};
use crate::storage::Created;

/// Tries it in `tmp/`.
///
/// # Errors
/// [`Error::Invalid`] where it certainly has not, and why. What else goes wrong shows when something is written:
/// a medium that is full can still be opened, and emptied.
pub(super) fn check(folder: &LocalFolder) -> Result<()> {
    let why = match try_links(folder) {
        Ok(Created::Exists) => return Ok(()),
        Ok(Created::New) => "it gave one name twice".to_owned(),
        Err(cause) if is_refusal(&cause) => cause.to_string(),
        Err(cause) => {
            tracing::debug!(%cause, "whether names can be given was not found out");
            return Ok(());
        }
    };
    let on = folder.mount().map(Mount::describe);
    Err(Error::Invalid(format!(
        "{}: the file system ({}) cannot give a file a second name by a hard link, which a database needs to create names that \
         only one process gets: {why}; put the database on one that can",
        folder.path.display(),
        on.as_deref().unwrap_or("unknown")
    )))
}

/// Gives one name twice: the second time it must be taken.
fn try_links(folder: &LocalFolder) -> io::Result<Created> {
    let name = folder.temp_name();
    // It stays open, and with it its lock: else somebody might take the name for one that was left behind.
    let first = Temp::create(folder)?;
    let second = match first.link_beside(&name)? {
        Created::New => Temp::create(folder).and_then(|temp| temp.link_beside(&name)),
        Created::Exists => Err(io::ErrorKind::AlreadyExists.into()),
    };
    first.unlink_beside(&name)?;
    second
}

fn is_refusal(cause: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, TooManyLinks, Unsupported};
    matches!(cause.kind(), PermissionDenied | TooManyLinks | Unsupported)
}
