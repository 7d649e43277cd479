//! Where a reader goes on that has just loaded the newest state.
//!
//! Owns: what of the manifest such a reader has seen. Never: looks for anything newer; `following` does.

use std::io;

use crate::backing::{Backing, PASSED_OVER_MAX};
use crate::engine::Followed;
use crate::format::manifest::Body;
use crate::format::segment::FileKind;
use crate::id::SegmentSeq;
use crate::manifest;
use crate::recovery::files::Files;
use crate::recovery::replayed::Replayed;

/// Where a reader that has just opened the store goes on.
pub(super) fn begin(
    backing: &dyn Backing,
    files: &Files,
    loaded: &manifest::Loaded,
    base: u64,
    replayed: &Replayed,
) -> Followed {
    // A length that is read too late would hide an entry; this one is no longer than what was loaded.
    let bytes = manifest_of(backing, &files.manifests).ok().flatten().unwrap_or_default().min(loaded.newest_bytes);
    Followed {
        base,
        newest: newest(loaded),
        at: replayed.read_to,
        is_sealed: replayed.is_sealed,
        prewritten: replayed.prewritten,
        timeline: replayed.timeline,
        manifest: (files.manifests.clone(), bytes),
        last_entry: last_entry(loaded),
        known: loaded.next_segment(),
        ..Followed::default()
    }
}

/// The length of the newest manifest file; `None` if others have come or gone.
pub(super) fn manifest_of(backing: &dyn Backing, files: &[SegmentSeq]) -> io::Result<Option<u64>> {
    let Some(newest) = files.last() else { return Ok(None) };
    for number in newest.0 + 1..=newest.0 + 1 + u64::from(PASSED_OVER_MAX) {
        match backing.open(&FileKind::Manifest.file_name(SegmentSeq(number))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Ok(_) => return Ok(None),
            // Something that is no file has the name, and the writer passes it over.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            Err(error) => return Err(error),
        }
    }
    match backing.open(&FileKind::Manifest.file_name(*newest)) {
        Ok(file) => file.len().map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn last_entry(loaded: &manifest::Loaded) -> u64 {
    loaded.entries.last_key_value().map_or(0, |(number, _)| *number)
}

pub(super) fn newest(loaded: &manifest::Loaded) -> u64 {
    let snapshots = loaded.entries.iter().filter(|(_, body)| matches!(body, Body::Snapshot(_)));
    snapshots.map(|(number, _)| *number).max().unwrap_or_default()
}
