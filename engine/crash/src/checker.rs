//! The process that looks at what is there after a crash: it verifies the folder as it was left, opens
//! it, reads all of it, and verifies it again.

use std::path::Path;

use eciton_engine::{Db, Error, Options, Result, verify_folder};

use crate::state::State;
use crate::worker::open;

/// How to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// As the next writer would: opening makes durable what it shows.
    ReadWrite,
    /// The same, and the database is closed in good order.
    Close,
    /// Beside a running or stopped writer, which must exclude any other.
    Beside,
}

impl Look {
    /// The word on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Look::ReadWrite => "read-write",
            Look::Close => "close",
            Look::Beside => "beside",
        }
    }

    /// The look of a word.
    pub fn parse(word: &str) -> Option<Look> {
        [Look::ReadWrite, Look::Close, Look::Beside]
            .into_iter()
            .find(|look| look.word() == word)
    }
}

/// Looks at the database in `folder`; what is damaged is in the state, too.
///
/// # Errors
/// It does not open, or cannot be read.
pub async fn look(folder: &Path, look: Look) -> Result<State> {
    match look {
        Look::Beside => beside(folder).await,
        Look::ReadWrite | Look::Close => {
            let mut broken = verify(folder, "as it was left").await?;
            let db = open(folder, Options::default()).await?;
            let mut state = State::read(&db).await?;
            if look == Look::Close {
                db.close().await?;
            } else {
                drop(db);
            }
            broken.extend(verify(folder, "after opening").await?);
            state.broken.extend(broken);
            Ok(state)
        }
    }
}

async fn beside(folder: &Path) -> Result<State> {
    let excluded = open(folder, Options::default()).await;
    let db = Db::open_read_only(folder, Options::default()).await?;
    let mut state = State::read(&db).await?;
    match excluded {
        Err(Error::Locked { .. }) => {}
        Err(other) => state.broken.push(format!("beside a writer: {other}")),
        Ok(_) => state.unguarded = true,
    }
    Ok(state)
}

/// What is broken in a folder. One in which no database was ever complete has nothing to break.
async fn verify(folder: &Path, when: &str) -> Result<Vec<String>> {
    match verify_folder(folder, &|_| {}).await {
        Ok(report) => {
            let broken = report.broken.into_iter();
            let text = broken.map(|one| format!("{when}: {}: {}", one.object, one.detail));
            Ok(text.collect())
        }
        Err(Error::NotADatabase { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
