//! Finding the files of the store in a directory.
//!
//! Owns: the list, by names and numbers. Never: opens or touches a file.

use crate::backing::Backing;
use crate::error::{Error, Result};
use crate::format::segment::{FileKind, SEGMENT_NUMBER_GAP};
use crate::id::SegmentSeq;
use crate::manifest::Loaded;

/// Files of a store, by kind.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub(crate) logs: Vec<SegmentSeq>,
    pub(crate) pages: Vec<SegmentSeq>,
    pub(crate) manifests: Vec<SegmentSeq>,
    /// Names that only look like ours: their numbers are far above any that the store can have reached.
    pub(crate) foreign: Vec<String>,
}

impl Files {
    /// Leaves out foreign manifest files.
    fn without_foreign_manifests(mut self) -> Self {
        self.manifests = leave_out_foreign(FileKind::Manifest, &self.manifests, SegmentSeq(0), &mut self.foreign);
        self
    }

    /// Leaves out foreign segments: the manifest knows no number near theirs. A store that continued from such a number
    /// would soon run out.
    pub(crate) fn without_foreign(self, loaded: &Loaded) -> Self {
        self.without_far(loaded.next_segment())
    }

    /// The same, if this is the number after every file that the manifest knows.
    pub(super) fn without_far(mut self, known: SegmentSeq) -> Self {
        self.logs = leave_out_foreign(FileKind::Records, &self.logs, known, &mut self.foreign);
        self.pages = leave_out_foreign(FileKind::Pages, &self.pages, known, &mut self.foreign);
        self
    }
}

/// Those of the files, in order, that are each close to a previous one or to `known`.
fn leave_out_foreign(
    kind: FileKind,
    files: &[SegmentSeq],
    known: SegmentSeq,
    foreign: &mut Vec<String>,
) -> Vec<SegmentSeq> {
    let mut highest = known;
    let mut ours = Vec::new();
    for number in files {
        if number.0 >= highest.0.saturating_add(SEGMENT_NUMBER_GAP) {
            foreign.push(kind.file_name(*number));
        } else {
            highest = highest.max(*number);
            ours.push(*number);
        }
    }
    ours
}

/// Lists the files that are ours by name; others are never touched.
///
/// Beside a writer, a directory listing taken while files are created may show a segment but not an older one. So it is
/// read twice: the second listing has everything that the first could have shown, and segments newer than the newest
/// one of the first listing are ignored.
pub(crate) fn list(backing: &dyn Backing) -> Result<Files> {
    let first = list_once(backing)?;
    let mut files = list_once(backing)?;
    if let Some(newest) = first.logs.last() {
        files.logs.retain(|number| number <= newest);
    }
    Ok(files.without_foreign_manifests())
}

/// The same in a backing that shows one state, or under the lock.
pub(super) fn list_state(backing: &dyn Backing) -> Result<Files> {
    list_once(backing).map(Files::without_foreign_manifests)
}

fn list_once(backing: &dyn Backing) -> Result<Files> {
    let names = backing.list().map_err(|source| Error::io("list", backing.location(), source))?;
    let mut files = Files::default();
    for (kind, number) in names.iter().filter_map(|name| FileKind::parse_name(name)) {
        match kind {
            FileKind::Records => files.logs.push(number),
            FileKind::Pages => files.pages.push(number),
            FileKind::Manifest => files.manifests.push(number),
        }
    }
    files.logs.sort_unstable();
    files.pages.sort_unstable();
    files.manifests.sort_unstable();
    Ok(files)
}
