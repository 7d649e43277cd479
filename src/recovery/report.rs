//! What an opening found: the recovery report.

use std::fmt;

use crate::id::{SegmentSeq, Seq};
use crate::manifest::Loaded;

/// Where the log ended, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutReport {
    /// The segment in which the first bytes lie that count no longer.
    pub file: String,
    /// Their offset in bytes.
    pub offset: u64,
    /// What ended the log there.
    pub why: String,
    /// Bytes from there to the end of the log.
    pub bytes_void: u64,
}

/// Where the log of a store ends that was not closed, and at which nothing is wrong: what stood behind it, if anything did, is gone
/// with the end of its file, or with its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEnd {
    /// The segment.
    pub file: String,
    /// Bytes from its beginning.
    pub offset: u64,
    /// The last commit before it.
    pub last: Seq,
    /// The last commit that was on the medium for certain. Up to this one a missing commit would be damage.
    pub proven: Seq,
    /// The manifest says that the log went on behind this, and no segment of it is there: every commit behind `last` is gone. The number
    /// of the first one is this or a higher one.
    pub gone_from: Option<SegmentSeq>,
}

impl LogEnd {
    /// That commits are gone, if they are.
    pub(crate) fn loss(&self) -> Option<String> {
        let from = self.gone_from?;
        Some(format!(
            "the log went on behind commit {}, in segment {from} or a later one, and none is there: every commit behind it is gone",
            self.last
        ))
    }
}

/// What opening a store did.
///
/// ```
/// let store = tenure::Store::in_memory()?;
/// assert!(store.recovery_report().clean);
/// println!("{}", store.recovery_report());
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Number of the saved snapshot that the state was loaded from; `None` for a new store.
    pub snapshot: Option<u64>,
    /// Whether the store had been closed, so that nothing was replayed.
    pub clean: bool,
    /// Frames replayed, of any kind.
    pub frames_replayed: u64,
    /// Commits replayed.
    pub commits_replayed: u64,
    /// Bytes of log replayed.
    pub bytes_replayed: u64,
    /// Bytes of commits that were not proven durable, and were copied to a new segment and synced.
    pub bytes_copied: u64,
    /// The last commit that is there.
    pub last_seq: Seq,
    /// What a crash left unfinished: ends of manifest files, and headers of log segments.
    pub torn: Vec<String>,
    /// Files that are named like the store's and are none of its own, by their numbers. They are never touched.
    pub foreign: Vec<String>,
    /// Snapshots that could not be used, with the reason.
    pub fell_back: Vec<String>,
    /// Headers of files, index pages and files that are damaged and without which the store was opened. Of a header nothing is lost,
    /// because the rest of its file tells what it said; what needs a page says so.
    pub damaged: Vec<String>,
    /// Where the log was cut, when something stood behind its end.
    pub cut: Option<CutReport>,
    /// Where the log ends, when the store was not closed and nothing stood behind its end.
    pub end: Option<LogEnd>,
    /// Slots whose count was raised, because their IDs may have been handed out before the crash.
    pub burned_slots: u64,
    /// Microseconds that the opening took.
    pub micros: u64,
}

impl RecoveryReport {
    /// What is known of an opening when the manifest has been read.
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

/// A time in a unit that a person reads at a glance.
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
