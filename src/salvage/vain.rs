//! Commits that were written before their turn, which never came.
//!
//! Owns: telling their segments from those that count. Never: reads a segment that does not begin with such a commit, or the ones before it.

use std::collections::BTreeMap;

use byteorder::{ByteOrder, LittleEndian};

use crate::error::Result;
use crate::format::frame::{FrameHeader, FrameKind, PREWRITTEN};
use crate::format::item::Kind;
use crate::format::segment::SEGMENT_HEADER_BYTES;
use crate::id::{Seq, to_u64, to_usize};
use crate::salvage::source::{LogFile, Source};
use crate::salvage::walk::{Piece, walk};

/// What the segments after one say.
pub(super) struct Passed<'s> {
    /// The last commit in them.
    pub(super) last: Seq,
    /// The first commit in them of each timeline that is neither a copy nor written before its turn.
    pub(super) begins: &'s BTreeMap<u64, Seq>,
}

/// What the segments before one say about a commit in it.
#[derive(Default)]
struct Before {
    /// The commit before it names it.
    is_named: bool,
    /// A commit before it names a later one, or another of its number: there is none between the two.
    is_skipped: bool,
    has_commits: bool,
}

/// Whether a segment holds only a commit that was written before its turn, which never came: the commit before it does not name it,
/// and nothing was committed after it, or what was shows that it has not happened.
pub(super) fn written_in_vain(source: &Source, index: u32, contents: &[u8], passed: &Passed<'_>) -> Result<bool> {
    let logs = source.logs.get(..=to_usize(index.into())).unwrap_or_default();
    let Some((log, before)) = logs.split_last() else { return Ok(false) };
    let first = contents.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
    let header = FrameHeader::parse(first, source.seed(log), to_u64(SEGMENT_HEADER_BYTES)).ok();
    let is_early = |header: &FrameHeader| header.kind == FrameKind::Commit && header.move_number == PREWRITTEN;
    let Some(header) = header.filter(is_early) else { return Ok(false) };
    let mut found = Before::default();
    let is_log = |log: &&LogFile| log.header.as_ref().is_none_or(|header| header.generation == 0);
    // Empty segments, and others that were written in vain, may lie between it and the one that names it.
    for each in before.iter().rev().filter(is_log) {
        look(source, each, log, header.seq, &mut found)?;
        if found.is_named || found.has_commits {
            break;
        }
    }
    if found.is_named || !found.has_commits {
        // If the one before it is gone, a snapshot was saved after the commit.
        return Ok(false);
    }
    // Segments after one that counts have no commits before it.
    let is_overtaken = passed.begins.get(&header.timeline).is_some_and(|begin| *begin < header.seq);
    Ok(header.seq > passed.last || is_overtaken || found.is_skipped)
}

/// Looks through a segment for a commit that names the one of this number in the segment `of`.
fn look(source: &Source, log: &LogFile, of: &LogFile, seq: Seq, found: &mut Before) -> Result<()> {
    walk(&source.contents(log)?, source.seed(log), &mut |piece| match piece {
        Piece::Frame { header, .. } => {
            found.has_commits |= header.kind == FrameKind::Commit && header.move_number != PREWRITTEN;
        }
        Piece::Item { item, frame, .. } if Kind::from_u8(item.kind) == Some(Kind::Prewritten) => {
            let [segment, named] = [0, 8].map(|at| item.payload.get(at..at + 8).map_or(0, LittleEndian::read_u64));
            if (segment, named) == (of.number.0, seq.0) {
                found.is_named = true;
            } else {
                found.is_skipped |= named >= seq.0 && frame.is_some_and(|frame| frame.seq < seq);
            }
        }
        _ => {}
    });
    Ok(())
}
