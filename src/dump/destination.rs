//! The destination of a load: a new directory, or one with an interrupted load of the same dump.
//!
//! Owns: the note of which dump is being loaded, the lock during the load, leftovers of an interruption. Never: touches
//! a store, a copy, or the load of another dump.

use std::io;
use std::path::Path;

use crate::backing::{Backing, BackingLock, Files, UNFINISHED};
use crate::error::{Error, Result};
use crate::format::segment::FileKind;
use crate::id::to_usize;
use crate::recovery::LOCK;

/// Maximum length of the note.
const NOTE_BYTES_MAX: u64 = 128;

/// A destination that is ready.
#[derive(Debug)]
pub(super) struct Destination {
    /// Whether an earlier load has stored something.
    pub(super) is_resumed: bool,
    /// Excludes other loads.
    pub(super) _lock: Box<dyn BackingLock>,
}

/// The directory, created if it does not exist.
pub(super) fn directory(path: &Path) -> Result<Files> {
    let shown = path.display().to_string();
    match Files::open(path).and_then(|files| Ok((files.is_empty()?, files))) {
        Ok((true, files)) => files.settle().map(|()| files).map_err(|source| Error::io("sync", shown, source)),
        Ok((false, files)) => Ok(files),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Files::create(path).map_err(|source| Error::io("create", shown, source))
        }
        Err(source) => Err(Error::io("open", shown, source)),
    }
}

/// The note for the load of a dump.
fn note(dump: [u8; 16]) -> String {
    format!("load of dump {}\n", uuid::Uuid::from_bytes(dump))
}

fn note_in(backing: &dyn Backing) -> Result<Vec<u8>> {
    let read = |source| Error::io("read", UNFINISHED, source);
    let file = backing.open(UNFINISHED).map_err(read)?;
    let mut bytes = vec![0; to_usize(file.len().map_err(read)?.min(NOTE_BYTES_MAX))];
    file.read_at(0, &mut bytes).map_err(read)?;
    Ok(bytes)
}

/// Prepares a destination for a dump.
pub(super) fn prepare(backing: &dyn Backing, dump: [u8; 16]) -> Result<Destination> {
    let list = || backing.list().map_err(|source| Error::io("list", backing.location(), source));
    let is_other = |name: &String| name != UNFINISHED && name != LOCK;
    let names = list()?;
    let is_unfinished = names.iter().any(|name| name == UNFINISHED);
    if !is_unfinished && names.iter().any(is_other) {
        return Err(Error::Exists { path: backing.location() });
    }
    let lock = backing.lock().map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => Error::Locked { path: backing.location() },
        _ => Error::io("lock", backing.location(), source),
    })?;
    // Again: another load may have just finished.
    let names = list()?;
    let (is_unfinished, others) =
        (names.iter().any(|name| name == UNFINISHED), names.iter().filter(|name| is_other(name)));
    let others: Vec<&String> = others.collect();
    let note = note(dump);
    if is_unfinished {
        // The note is durable before anything else, so if it is torn nothing is stored.
        if !others.is_empty() && note_in(backing)? != note.as_bytes() {
            let why = "it contains an unfinished copy, or the load of another dump";
            return Err(Error::BadDestination { path: backing.location(), why });
        }
        let is_segment =
            |name: &&String| matches!(FileKind::parse_name(name), Some((FileKind::Records | FileKind::Pages, _)));
        if others.iter().any(is_segment) {
            return Ok(Destination { is_resumed: true, _lock: lock });
        }
        // Nothing was stored yet. The note is deleted last.
        for name in others.iter().copied().filter(|name| FileKind::parse_name(name).is_some()) {
            delete(backing, name)?;
        }
        delete(backing, UNFINISHED)?;
    } else if !others.is_empty() {
        return Err(Error::Exists { path: backing.location() });
    }
    let file = backing.create(UNFINISHED).map_err(|source| Error::io("create", UNFINISHED, source))?;
    let written = file.append(note.as_bytes()).and_then(|()| file.sync());
    written.map_err(|source| Error::io("write", UNFINISHED, source))?;
    Ok(Destination { is_resumed: false, _lock: lock })
}

fn delete(backing: &dyn Backing, name: &str) -> Result<()> {
    backing.delete(name).map_err(|source| Error::io("delete", name, source))
}
