//! The simulated disk below the faults: bytes, which of them were synced, and what a power cut leaves.
//!
//! Owns: the bytes of the files and the directory. Never: decides when something fails.
//! Invariants: 1. A synced byte is in every image.
//! 2. A failed sync proves nothing, and neither does a later one for the bytes that the failed one covered: operating
//!    systems forget that they were never written.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

/// The disk writes this many bytes at once, or none of them.
const SECTOR_BYTES: usize = 512;
/// Zeros that a power cut leaves after a preallocated file.
const ROOM_BYTES: usize = 5_000;

/// Numbers from a seed: `SplitMix64`.
#[derive(Debug, Clone, Default)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number up to and including `end`.
    pub(super) fn up_to(&mut self, end: usize) -> usize {
        let choices = u64::try_from(end).unwrap_or(u64::MAX).saturating_add(1);
        usize::try_from(self.number() % choices).unwrap_or_default()
    }

    /// True `part` times out of 8.
    pub(super) fn eighths(&mut self, part: usize) -> bool {
        self.up_to(7) < part
    }
}

/// How much of what was not synced a power cut leaves.
#[derive(Debug)]
pub(super) enum Survival {
    All,
    Nothing,
    Some(Random),
}

impl Survival {
    /// Whether a directory change in progress reached the disk.
    fn entry(&mut self) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Some(random) => random.eighths(4),
        }
    }
}

/// The bytes of a file.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    synced: usize,
    /// Below `synced`, and yet not on disk: a sync failed.
    doubtful: Vec<Range<usize>>,
    /// Preallocated, so that zeros may follow the bytes.
    pub(super) has_room: bool,
}

impl Content {
    /// Bytes that are all durable.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { synced: bytes.len(), bytes, ..Self::default() }
    }

    pub(super) fn sync(&mut self) {
        self.synced = self.bytes.len();
    }

    pub(super) fn fail_to_sync(&mut self) {
        if self.synced < self.bytes.len() {
            self.doubtful.push(self.synced..self.bytes.len());
        }
        self.sync();
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        self.synced = self.synced.min(len);
        self.doubtful.retain_mut(|range| {
            range.end = range.end.min(len);
            range.start < range.end
        });
    }

    /// Bytes that a power cut may take away.
    pub(super) fn unsynced_bytes(&self) -> usize {
        self.unsynced().iter().map(ExactSizeIterator::len).sum()
    }

    fn unsynced(&self) -> Vec<Range<usize>> {
        let tail = self.synced..self.bytes.len();
        self.doubtful.iter().cloned().chain([tail]).filter(|range| !range.is_empty()).collect()
    }

    /// The end of the last durable byte.
    fn durable_end(&self) -> usize {
        let mut end = self.synced;
        for range in self.doubtful.iter().rev() {
            if range.end == end {
                end = range.start;
            }
        }
        end
    }

    /// Unsynced bytes that the page cache may drop are read from disk again.
    fn evict(&mut self) {
        for range in std::mem::take(&mut self.doubtful) {
            zero(&mut self.bytes, range);
        }
    }

    fn after_power_cut(&self, survival: &mut Survival) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        let shortest = self.durable_end();
        let lost = self.unsynced();
        let mut room = if self.has_room { ROOM_BYTES } else { 0 };
        match survival {
            Survival::All => {}
            Survival::Nothing => {
                room = 0;
                bytes.truncate(shortest);
                for range in lost {
                    zero(&mut bytes, range);
                }
            }
            Survival::Some(random) => {
                let longer = match random.up_to(3) {
                    0 => 0,
                    1 => bytes.len() - shortest,
                    _ => random.up_to(bytes.len() - shortest),
                };
                bytes.truncate(shortest + longer);
                // Some files lose nothing below their length, some everything, most a part.
                let kept = random.up_to(8);
                for range in lost {
                    let mut begin = range.start;
                    while begin < range.end {
                        let end = range.end.min((begin / SECTOR_BYTES + 1) * SECTOR_BYTES);
                        if !random.eighths(kept) {
                            zero(&mut bytes, begin..end);
                        }
                        begin = end;
                    }
                }
                room = random.up_to(room);
            }
        }
        bytes.resize(bytes.len() + room, 0);
        bytes
    }
}

fn zero(bytes: &mut [u8], range: Range<usize>) {
    let end = range.end.min(bytes.len());
    if let Some(part) = bytes.get_mut(range.start..end) {
        part.fill(0);
    }
}

/// The status of a name in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Durable.
    Durable,
    /// Being created when a call failed: it is visible, and a power cut may remove it.
    Creating,
    /// Being deleted when a call failed: it is not visible, and a power cut may restore it.
    Deleting,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) content: Arc<Mutex<Content>>,
    pub(super) entry: Entry,
    /// The directory sync failed: a later one does not repair it.
    pub(super) is_doubtful: bool,
}

impl Node {
    pub(super) fn new(content: Content, entry: Entry) -> Self {
        Self { content: Arc::new(Mutex::new(content)), entry, is_doubtful: false }
    }
}

/// The one directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) nodes: BTreeMap<String, Node>,
}

impl Directory {
    /// Visible files, by name.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.nodes.iter().filter(|(_, node)| node.entry != Entry::Deleting)
    }

    pub(super) fn find(&self, name: &str) -> Option<&Arc<Mutex<Content>>> {
        let found = self.nodes.get(name).filter(|node| node.entry != Entry::Deleting);
        found.map(|node| &node.content)
    }

    pub(super) fn bytes(&self) -> usize {
        self.seen().map(|(_, node)| node.content.lock().bytes.len()).sum()
    }

    /// The directory was synced: changes by a killed process are durable.
    pub(super) fn sync(&mut self) {
        self.nodes.retain(|_, node| node.is_doubtful || node.entry != Entry::Deleting);
        for node in self.nodes.values_mut().filter(|node| !node.is_doubtful) {
            node.entry = Entry::Durable;
        }
    }

    /// Drops what the page cache holds of failed syncs.
    pub(super) fn evict(&self) {
        self.nodes.values().for_each(|node| node.content.lock().evict());
    }

    /// The same files, as an independent copy.
    pub(super) fn copy(&self) -> Self {
        let copy = |node: &Node| {
            let is_doubtful = node.is_doubtful;
            Node { is_doubtful, ..Node::new(node.content.lock().clone(), node.entry) }
        };
        Self { nodes: self.nodes.iter().map(|(name, node)| (name.clone(), copy(node))).collect() }
    }

    /// The contents after a power cut, all of it durable.
    pub(super) fn after_power_cut(&self, mut survival: Survival) -> Self {
        let mut nodes = BTreeMap::new();
        for (name, node) in &self.nodes {
            let survives = match node.entry {
                Entry::Durable => true,
                Entry::Creating => survival.entry(),
                Entry::Deleting => !survival.entry(),
            };
            if survives {
                let bytes = node.content.lock().after_power_cut(&mut survival);
                nodes.insert(name.clone(), Node::new(Content::durable(bytes), Entry::Durable));
            }
        }
        Self { nodes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn images(content: &Content) -> impl Iterator<Item = Vec<u8>> {
        (0..400).map(|seed| content.after_power_cut(&mut Survival::Some(Random::new(seed))))
    }

    #[test]
    fn synced_bytes_are_in_every_image() {
        let mut content = Content::durable(vec![1; 700]);
        content.bytes.extend_from_slice(&[2; 3000]);
        assert_eq!(content.after_power_cut(&mut Survival::All), content.bytes);
        assert_eq!(content.after_power_cut(&mut Survival::Nothing), [1; 700]);
        assert!(images(&content).all(|image| image.starts_with(&[1; 700]) && image.len() <= 3700));
    }

    #[test]
    fn images_are_torn_at_any_byte_and_lose_any_sector() {
        let mut content = Content::durable(vec![1; 700]);
        content.bytes.extend_from_slice(&[2; 3000]);
        let all: Vec<_> = images(&content).collect();
        let ends: BTreeSet<usize> = all.iter().map(|image| image.len() % SECTOR_BYTES).collect();
        assert!(ends.len() > SECTOR_BYTES / 8, "torn at {} places of a sector", ends.len());
        let is_hole = |image: &Vec<u8>| image.len() > 2000 && image[1024] == 0 && image[1536] == 2;
        assert!(all.iter().any(is_hole), "an early sector lost, a later one kept");
        assert!(all.iter().any(|image| image.len() == 700));
        assert!(all.iter().any(|image| image == &content.bytes));
    }

    #[test]
    fn a_later_sync_does_not_mend_one_that_failed() {
        let mut content = Content::durable(vec![1; 10]);
        content.bytes.extend_from_slice(&[2; 10]);
        content.fail_to_sync();
        assert_eq!(content.unsynced_bytes(), 10);
        content.sync();
        assert_eq!(content.after_power_cut(&mut Survival::Nothing), [1; 10]);
        content.bytes.extend_from_slice(&[3; 10]);
        content.sync();
        let (hole, kept) = (content.after_power_cut(&mut Survival::Nothing), content.unsynced_bytes());
        assert_eq!((hole, kept), ([[1; 10], [0; 10], [3; 10]].concat(), 10));
        let mut evicted = content.clone();
        evicted.evict();
        assert_eq!((evicted.bytes, evicted.doubtful.len()), ([[1; 10], [0; 10], [3; 10]].concat(), 0));
        content.truncate(15);
        assert_eq!((content.unsynced_bytes(), content.bytes.len()), (5, 15));
    }
}
