//! Files whose header is damaged and which are read all the same: name, UUID and content tell what it said.
//!
//! Owns: telling such damage from what a crash left of a file that was never synced.
//! Never: takes a file whose content is another one's.

use std::sync::Arc;

use crate::id::Seq;
use crate::log::Segment;
use crate::recovery::RecoveryReport;

/// How the report names it.
fn line(damage: &str) -> String {
    format!("{damage}; what stands behind it tells what it said, and is read")
}

/// A file that is proven to have been synced: its header was whole then.
pub(super) fn note(segment: &Segment, report: &mut RecoveryReport) {
    if let Some(damage) = segment.header_damage().map(line).filter(|damage| !report.damaged.contains(damage)) {
        report.damaged.push(damage);
    }
}

/// Segments of the log that a replay met, with the lowest commit in each that counts.
#[derive(Debug, Default)]
pub(super) struct Headless(Vec<(Arc<Segment>, Option<Seq>)>);

impl Headless {
    pub(super) fn meet(&mut self, segment: &Arc<Segment>, lowest: Option<Seq>) {
        if segment.header_damage().is_some() {
            self.0.push((Arc::clone(segment), lowest));
        }
    }

    /// Commits up to `proven` were on the medium, and the headers of their files with them. Of other files a crash may have
    /// left the header out.
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
