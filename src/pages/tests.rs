//! When pages are synced, as seen by a backing.

use std::cell::Cell;
use std::sync::Arc;

use super::{PageStore, PageWriter};
use crate::backing::{Event, FaultBacking};
use crate::format::descriptor::PageRef;
use crate::id::SegmentSeq;
use crate::log::{NextBytes, SegmentSource, SyncsWanted};

/// How often pages are synced while 8 MiB of them are written, before the end.
fn syncs(are_commits_waiting: bool) -> usize {
    let disk = FaultBacking::new();
    let syncs_wanted = SyncsWanted::default();
    let store = PageStore::new(SegmentSource {
        backing: Arc::new(disk.clone()),
        uuid: [7; 16],
        segment_bytes: 16 << 20,
        next_bytes: NextBytes::default(),
        syncs_wanted: syncs_wanted.clone(),
        sizes: Arc::default(),
        check_every_read: false,
        beside_a_writer: false,
    });
    let (mut writer, next) = (PageWriter::default(), Cell::new(1));
    let number = || Ok(SegmentSeq(next.replace(next.get() + 1)));
    for page in 0..2_048_u64 {
        if are_commits_waiting {
            syncs_wanted.note();
        }
        writer.write(&store, 1, &number, &[page.to_le_bytes(); 512].concat(), &PageRef::default()).unwrap();
    }
    let made = disk.events().iter().filter(|event| matches!(event, Event::Sync { .. })).count();
    writer.sync().unwrap();
    for name in disk.names() {
        assert_eq!(disk.unsynced_bytes(&name), 0, "{name}");
    }
    made
}

#[test]
fn pages_are_synced_in_small_pieces_only_while_commits_wait() {
    let (alone, beside) = (syncs(false), syncs(true));
    assert!(beside >= 60, "{beside} syncs of 8 MiB");
    // Each of the two syncs the segments that are full by then.
    assert!((2..=20).contains(&alone), "{alone} syncs of 8 MiB");
}
