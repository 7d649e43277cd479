//! The recovery report of an opening.

use std::fmt;

use crate::id::{SegmentSeq, Seq};
use crate::manifest::Loaded;

/// Where the log ended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutReport {
    /// The segment that contains the first void bytes.
    pub file: String,
    /// Their offset in bytes.
    pub offset: u64,
    /// Why the log ended there.
    pub why: String,
    /// Bytes from there to the end of the log.
    pub bytes_void: u64,
}

/// The end of the log of a store that was not closed, at which nothing is wrong: anything after it is gone with the end
/// of its file, or with its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEnd {
    /// The segment.
    pub file: String,
    /// Bytes from its beginning.
    pub offset: u64,
    /// The last commit before it.
    pub last: Seq,
    /// The last commit that was certainly durable. Up to this one a missing commit would be damage.
    pub proven: Seq,
    /// Set if the manifest says that the log continued after this and no later segment exists: every commit after
    /// `last` is gone. The first missing segment has this number or a higher one.
    pub gone_from: Option<SegmentSeq>,
}

impl LogEnd {
    /// A description of the loss, if commits are gone.
    pub(crate) fn loss(&self) -> Option<String> {
        let from = self.gone_from?;
        Some(format!(
            "the log continued after commit {}, in segment {from} or a later one, but no such segment exists: every commit after it is gone",
            self.last
        ))
    }
}

/// The result of opening a store.
///
/// ```
/// let store = tenure::Store::in_memory()?;
/// assert!(store.recovery_report().clean);
/// println!("{}", store.recovery_report());
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Number of the saved snapshot that was loaded; `None` for a new store.
    pub snapshot: Option<u64>,
    /// Whether the store had been closed, so that nothing was replayed.
    pub clean: bool,
    /// Frames replayed, of any kind.
    pub frames_replayed: u64,
    /// Commits replayed.
    pub commits_replayed: u64,
    /// Bytes of log replayed.
    pub bytes_replayed: u64,
    /// Bytes of commits not proven durable, which were copied to a new segment and synced.
    pub bytes_copied: u64,
    /// The last recovered commit.
    pub last_seq: Seq,
    /// What a crash left unfinished: ends of manifest files, and headers of log segments.
    pub torn: Vec<String>,
    /// Files named like the store's that do not belong to it, by their numbers. They are never touched.
    pub foreign: Vec<String>,
    /// Snapshots that could not be used, with the reason.
    pub fell_back: Vec<String>,
    /// Damaged file headers, index pages and files, without which the store was opened. A damaged header loses nothing,
    /// because the rest of the file has the same information; operations that need a damaged page report it.
    pub damaged: Vec<String>,
    /// Where the log was cut, if anything followed its end.
    pub cut: Option<CutReport>,
    /// Where the log ends, if the store was not closed and nothing followed its end.
    pub end: Option<LogEnd>,
    /// Slots whose count was raised, because their IDs may have been handed out before the crash.
    pub burned_slots: u64,
    /// Duration of the opening in microseconds.
    pub micros: u64,
}

impl RecoveryReport {
    /// What is known of an opening once the manifest has been read.
    pub(super) fn of(loaded: &Loaded) -> Self {
        Self { torn: loaded.torn.clone(), damaged: loaded.damaged.clone(), ..Self::default() }
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match (self.snapshot, self.clean) {
            (None, _) => "a new store".to_owned(),
            (Some(number), true) => format!("clean, from snapshot {number}"),
            (Some(number), false) => format!("recovered from snapshot {number}"),
        };
        writeln!(f, "opened in {}: {how}, last commit {}", time(self.micros), self.last_seq)?;
        if !self.clean && self.snapshot.is_some() {
            writeln!(
                f,
                "replayed {} commits in {} frames, {} bytes; copied {} bytes; {} slots burned",
                self.commits_replayed, self.frames_replayed, self.bytes_replayed, self.bytes_copied, self.burned_slots
            )?;
        }
        for reason in &self.torn {
            writeln!(f, "unfinished: {reason}")?;
        }
        for reason in &self.damaged {
            writeln!(f, "damaged: {reason}")?;
        }
        for name in &self.foreign {
            writeln!(f, "not of this store, and left alone: {name}")?;
        }
        for reason in &self.fell_back {
            writeln!(f, "not used: {reason}")?;
        }
        if let Some(loss) = self.end.as_ref().and_then(LogEnd::loss) {
            writeln!(f, "missing: {loss}")?;
        } else if let Some(LogEnd { file, offset, last, proven, .. }) = &self.end {
            writeln!(
                f,
                "the log ends in {file} at byte {offset}, with commit {last}; that it reached commit {proven} is proven, \
                 and whether there was anything behind {last} nothing tells"
            )?;
        }
        if let Some(cut) = &self.cut {
            writeln!(
                f,
                "the log ends in {} at byte {}: {}; {} bytes void",
                cut.file, cut.offset, cut.why, cut.bytes_void
            )?;
        }
        Ok(())
    }
}

/// A duration in a readable unit.
fn time(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_an_opening_has_a_unit_that_fits() {
        let begin = |micros| {
            let report = RecoveryReport { micros, ..RecoveryReport::default() };
            report.to_string().split_once(':').map(|(begin, _)| begin.to_owned()).unwrap()
        };
        let told = [0, 999, 185_197, 9_999_999, 75_000_000].map(begin);
        assert_eq!(told, ["0 µs", "999 µs", "185 ms", "9999 ms", "75 s"].map(|time| format!("opened in {time}")));
    }
}
