//! Objects in buckets, and files of web servers, as files of a source.
//!
//! An object is known by its tag (`ETag`) and its length; one without a tag by its time. Every read is of a range of the recorded
//! version, on the condition of its tag, and what comes is counted: an object that was replaced fails its shards, and an
//! answer that ends early is an error and no end of the file.
//!
//! Credentials come from the environment alone. Jobs that came over gRPC read only below the prefixes that the worker
//! was given: see [`Reach`].
//!
//! | module | is |
//! |---|---|
//! | `address` | `s3://bucket/key` and the others |
//! | `client` | clients of stores, with bounded time and tries |
//! | `credentials` | whether credentials are set before anything is asked |
//! | `object` | one object, read by ranges |

mod address;
mod client;
mod credentials;
mod object;

use std::io;

use eciton_proto::v1::SourceFile;
use futures::TryStreamExt;
use glob::Pattern;
use object_store::path::Path;

pub(crate) use address::is_remote;
pub(super) use address::{Address, is_below};
pub use credentials::check as check_credentials;
pub(super) use object::{RemoteFile, is_same_tag};

use super::files::OPTIONS;
use super::reach::Reach;
use crate::spec::limits::FILES_MAX;
use client::{client, failure, wait};

/// Objects that are listed for one pattern.
const LISTED_MAX: usize = 10_000_000;

/// Whether a text is an address of an object, or a pattern of some.
///
/// # Errors
/// What was expected instead, for people.
pub(crate) fn check_address(text: &str) -> Result<(), String> {
    let address = Address::parse(text)?;
    if !address.is_pattern() {
        return address.path().map(drop);
    }
    let legal = Pattern::new(&address.key).map(drop);
    legal.map_err(|error| format!("expected a glob, found `{text}`: {}", error.msg))
}

/// The objects that a pattern matches now, in no order; none where there are none.
///
/// # Errors
/// What is wrong with the pattern; what the store or the network says; a pattern that may reach further than it may.
pub(super) fn matched(pattern: &str, reach: &Reach) -> Result<Vec<SourceFile>, String> {
    let address = Address::parse(pattern)?;
    if !reach.holds_address(&address.fixed()) {
        return Err(reach.refusal());
    }
    let told = |error: io::Error| format!("`{address}` cannot be read: {error}");
    if !address.is_pattern() {
        address.path()?;
        return match object::look(&address, !reach.is_bounded()) {
            Ok(file) => Ok(vec![file]),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(told(error)),
        };
    }
    let wanted = Pattern::new(&address.key)
        .map_err(|error| format!("expected a glob, found `{pattern}`: {}", error.msg))?;
    let folder = match address.folder() {
        "" => None,
        folder => Some(Path::parse(folder).map_err(|error| format!("`{pattern}`: {error}"))?),
    };
    let store = client(&address, !reach.is_bounded()).map_err(told)?;
    let place = address.clone();
    let listed = wait(async move {
        let mut listing = store.list(folder.as_ref());
        let (mut found, mut count) = (Vec::new(), 0);
        while let Some(meta) = listing.try_next().await? {
            count += 1;
            let key = meta.location.as_ref();
            if wanted.matches_with(key, OPTIONS) {
                let url = place.with_key(key).to_string();
                found.push(object::described(&url, &meta));
            }
            if count > LISTED_MAX || found.len() > FILES_MAX {
                break;
            }
        }
        Ok((found, count))
    });
    let (found, count) = listed
        .map_err(told)?
        .map_err(|error| told(failure(&error)))?;
    match count > LISTED_MAX {
        true => Err(format!(
            "`{address}`: at most {LISTED_MAX} objects are listed; expected a longer beginning without wildcards"
        )),
        false => Ok(found),
    }
}

/// An object as it is now, within reach of this thread.
///
/// # Errors
/// What the store or the network says; [`io::ErrorKind::PermissionDenied`] out of reach.
pub(super) fn look(path: &str) -> io::Result<SourceFile> {
    let address = Address::parse(path).map_err(object::invalid)?;
    object::look(&address, !within_reach(&address)?.is_bounded())
}

/// A recorded object, to be read, within reach of this thread.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] out of reach, or without credentials.
pub(super) fn recorded(file: &SourceFile) -> io::Result<RemoteFile> {
    let address = Address::parse(&file.path).map_err(object::invalid)?;
    RemoteFile::recorded(file, !within_reach(&address)?.is_bounded())
}

fn within_reach(address: &Address) -> io::Result<Reach> {
    let reach = Reach::current();
    match reach.holds_address(&address.to_string()) {
        true => Ok(reach),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            reach.refusal(),
        )),
    }
}
