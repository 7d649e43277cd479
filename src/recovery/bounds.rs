//! Bounds on the numbers of a manifest: even with valid checksums, they are trusted only as far as the files confirm
//! them.
//!
//! Owns: what a snapshot may say, by itself and compared with its index. A wrong number is an error that names it, and
//! never causes an allocation, a walk or an overflow of its size. Never: refuses what a writer can produce: the writer
//! observes each of these limits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::error::{Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, PLACE_END, RECORD_BYTES_MAX, SEGMENT_BYTES_END};
use crate::format::manifest::{Body, Cut, NUMBER_END, Snapshot};
use crate::format::node::NODE_ENTRIES_END;
use crate::id::{SLOT_END, SetNumber, reuse_max, to_u64};
use crate::record_index::{PAGES_AHEAD_MAX, PAGES_END, RESERVE_PAGES_MAX, Root};

/// A problem of a snapshot.
fn wrong(base: &Snapshot, expected: impl fmt::Display, got: impl fmt::Display) -> Error {
    Error::corrupt("manifest", 0, format!("snapshot {}", base.number), expected, got)
}

fn check_end(base: &Snapshot, what: &str, number: u64, end: u64) -> Result<()> {
    if number < end { Ok(()) } else { Err(wrong(base, format!("{what} below {end}"), number)) }
}

/// Checks a snapshot by itself.
pub(super) fn check_snapshot(base: &Snapshot) -> Result<()> {
    let counters =
        [("a commit", base.seq.0), ("a timeline", base.timeline), ("the number of an entry", base.reserved_from)];
    for (what, number) in counters {
        check_end(base, what, number, NUMBER_END)?;
    }
    check_end(base, "the number of the next stream", base.next_stream, NUMBER_END + 1)?;
    check_end(base, "an offset", base.head_offset, SEGMENT_BYTES_END + 1)?;
    check_end(base, "the end of pages", base.page_end, PAGES_END + 1)?;
    check_segments(base)?;
    check_catalogue(base)
}

fn check_segments(base: &Snapshot) -> Result<()> {
    // Each place was assigned to one segment only.
    let place_end = base.next_segment.0.min(PLACE_END.into());
    let (mut places, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    for row in &base.segments {
        if !numbers.insert((row.pages, row.segment)) {
            return Err(wrong(base, "each segment once", format!("segment {} twice", row.segment)));
        }
        if row.pages {
            continue;
        }
        check_end(base, "a place", row.place.into(), place_end)?;
        check_end(base, "live bytes of a segment", row.live_bytes, SEGMENT_BYTES_END + 1)?;
        if !places.insert(row.place) {
            return Err(wrong(base, "each place once", format!("place {} twice", row.place)));
        }
    }
    Ok(())
}

fn check_catalogue(base: &Snapshot) -> Result<()> {
    let mut sets = BTreeSet::new();
    for row in &base.sets {
        check_end(base, "a set", row.number.0.into(), u64::from(base.next_set).max(SetNumber::FIRST_USER.0.into()))?;
        check_end(base, "records of a set", row.records, SLOT_END + 1)?;
        check_end(base, "bytes of a set", row.bytes, row.records.saturating_mul(RECORD_BYTES_MAX) + 1)?;
        check_end(base, "the last commit of a set", row.changed.0, base.seq.0 + 1)?;
        if !sets.insert(row.number) {
            return Err(wrong(base, "each set once", format!("set {} twice", row.number)));
        }
    }
    for row in &base.marks {
        check_end(base, "the commit of a mark", row.seq.0, base.seq.0 + 1)?;
    }
    for row in &base.streams {
        check_end(base, "a stream", row.stream, base.next_stream)?;
    }
    for row in &base.raised {
        check_end(base, "a slot", row.slot, SLOT_END)?;
        check_end(base, "a count", row.next_count.into(), u64::from(reuse_max()) + 2)?;
    }
    let (mut indexes, mut roots) = (BTreeSet::new(), BTreeSet::new());
    for row in &base.indexes {
        let definition = &row.definition;
        check_end(base, "a key index", definition.number.0.into(), base.next_index.into())?;
        check_end(base, "entries of a key index", row.entries, NODE_ENTRIES_END)?;
        if !indexes.insert(definition.number) {
            return Err(wrong(base, "each key index once", format!("index {} twice", definition.number)));
        }
        if row.root.is_written() && !roots.insert((row.root.segment, row.root.offset_granules)) {
            return Err(wrong(
                base,
                "a tree for each key index",
                format!("the tree of index {} twice", definition.number),
            ));
        }
    }
    Ok(())
}

/// Checks a snapshot against its index.
pub(super) fn check_beside(base: &Snapshot, root: &Root) -> Result<()> {
    // The highest raised page once had a set.
    let raised = base.raised.iter().map(|row| row.slot / to_u64(ENTRIES_PER_PAGE) + 1).max().unwrap_or_default();
    let page_end = root.page_end().max(raised) + PAGES_AHEAD_MAX;
    check_end(base, "the end of pages", base.page_end, page_end + 1)?;
    if let Some(page) = base.reserved.iter().max() {
        check_end(base, "a reserved page", *page, base.page_end + RESERVE_PAGES_MAX)?;
    }
    let mut slots: BTreeMap<u32, u64> = BTreeMap::new();
    let sets: Vec<u32> = root.cells().map(|cell| cell.descriptor.set).collect();
    for pages in sets.chunk_by(|a, b| a == b) {
        let set = pages.first().copied().unwrap_or_default();
        *slots.entry(set).or_default() += to_u64(pages.len() * ENTRIES_PER_PAGE);
    }
    for row in &base.sets {
        let slots = slots.get(&row.number.0).copied().unwrap_or_default();
        check_end(base, "records of a set", row.records, slots + 1)?;
    }
    Ok(())
}

/// Checks the other entries that count for a snapshot. Returns one more than the highest reserved page.
pub(super) fn check_others(base: &Snapshot, root: &Root, entries: &BTreeMap<u64, Body>) -> Result<u64> {
    let wrong = |number: u64, expected: String, got: u64| {
        Error::corrupt("manifest", 0, format!("entry {number}"), expected, got)
    };
    let mut page_end = base.reserved.iter().map(|page| page + 1).max().unwrap_or_default().max(base.page_end);
    // Each reservation is of existing pages, or continues after them.
    let mut end = page_end.max(root.page_end()) + PAGES_AHEAD_MAX;
    for (number, body) in entries {
        match body {
            // An empty reservation says that the log continues.
            Body::Reserve(pages) if *number >= base.reserved_from && !pages.is_empty() => {
                end = (end + RESERVE_PAGES_MAX).min(PAGES_END);
                let highest = pages.iter().max().copied().unwrap_or_default();
                if highest >= end {
                    return Err(wrong(*number, format!("reserved pages below {end}"), highest));
                }
                page_end = page_end.max(highest + 1);
            }
            Body::Cut(cut) => {
                check_cut(cut).map_err(|got| wrong(*number, format!("numbers below {NUMBER_END}"), got))?;
            }
            _ => {}
        }
    }
    Ok(page_end)
}

fn check_cut(cut: &Cut) -> Result<(), u64> {
    let highest = cut.timeline.max(cut.seq.0).max(cut.resumed.0);
    if highest < NUMBER_END { Ok(()) } else { Err(highest) }
}
