//! Reading files with a damaged header: name, UUID and contents provide the same information.
//!
//! Owns: telling such damage from what a crash left of a file that was never synced. Never: accepts a file with another
//! file's contents.

use std::sync::Arc;

use crate::id::Seq;
use crate::log::Segment;
use crate::recovery::report::RecoveryReport;

/// Its name in the report.
fn line(damage: &str) -> String {
    format!("{damage}; the rest of the file identifies it and is read")
}

/// A file proven to have been synced: its header was intact then.
pub(super) fn note(segment: &Segment, report: &mut RecoveryReport) {
    if let Some(damage) = segment.header_damage().map(line).filter(|damage| !report.damaged.contains(damage)) {
        report.damaged.push(damage);
    }
}

/// Log segments that replay met, with the lowest commit in each that counts.
#[derive(Debug, Default)]
pub(super) struct Headless(Vec<(Arc<Segment>, Option<Seq>)>);

impl Headless {
    pub(super) fn meet(&mut self, segment: &Arc<Segment>, lowest: Option<Seq>) {
        if segment.header_damage().is_some() {
            self.0.push((Arc::clone(segment), lowest));
        }
    }

    /// Commits up to `proven` were durable, and with them the headers of their files. For other files, a crash may have
    /// lost the header.
    pub(super) fn report(&self, proven: Seq, report: &mut RecoveryReport) {
        for (segment, lowest) in &self.0 {
            if lowest.is_some_and(|lowest| lowest <= proven) {
                note(segment, report);
            } else if lowest.is_some() {
                report.torn.extend(segment.header_damage().map(line));
            }
        }
    }
}
