//! Names of files that something has which is no file, such as a directory.
//!
//! Owns: telling that from another writer's file. Never: passes anything over; who numbers files does.

use std::io;

use crate::backing::Backing;

/// How many numbers are passed over because something that is no file has the name.
pub(crate) const PASSED_OVER_MAX: u32 = 64;

/// Whether a file could not be created because something that is no file has its name.
pub(crate) fn is_obstructed(backing: &dyn Backing, name: &str, error: &io::Error) -> bool {
    // Only files are listed.
    error.kind() == io::ErrorKind::AlreadyExists
        && backing.list().is_ok_and(|names| names.iter().all(|listed| listed != name))
}
