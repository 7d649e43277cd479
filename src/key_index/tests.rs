//! Tests of key indexes: shared helpers, and one file per concern.

mod bench;
mod beside;
mod checking;
mod cursors;
mod emptying;
mod forks;
mod hostile;
mod images;
mod model;
mod saving;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::backing::{Backing, Files, Memory};
use crate::error::Result;
use crate::format::PAGE_BYTES;
use crate::format::descriptor::PageRef;
use crate::format::node::{KeyEntry, NODE_CHILD_BYTES};
use crate::id::{SegmentSeq, to_u64, to_usize};
use crate::key_index::image::{Clean, Image};
use crate::key_index::ledger::Ledger;
use crate::key_index::node::Child;
use crate::key_index::{KeyRoot, KeyTree, Saved};
use crate::log::{NextBytes, SegmentSource, SyncsWanted};
use crate::pages::{Fate, PageStore, PageWriter};

type Model = BTreeSet<(Vec<u8>, u64)>;

/// Page segments in memory or in a directory, used as a snapshot would.
pub(crate) struct Pages {
    pub(crate) store: PageStore,
    writer: PageWriter,
    next: Cell<u64>,
    _dir: Option<tempfile::TempDir>,
}

impl Pages {
    fn over(backing: Arc<dyn Backing>) -> Self {
        let source = SegmentSource {
            backing,
            uuid: [7; 16],
            segment_bytes: 1 << 20,
            next_bytes: NextBytes::default(),
            syncs_wanted: SyncsWanted::default(),
            sizes: Arc::default(),
            check_every_read: false,
            beside_a_writer: false,
        };
        Self { store: PageStore::new(source), writer: PageWriter::default(), next: Cell::new(1), _dir: None }
    }

    /// In files, which are mapped.
    fn in_directory() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::create(&dir.path().join("pages")).unwrap();
        Self { _dir: Some(dir), ..Self::over(Arc::new(files)) }
    }

    pub(crate) fn in_memory() -> Self {
        Self::over(Arc::new(Memory::new()))
    }

    fn write(&mut self, image: &[u8]) -> Result<(PageRef, Arc<crate::pages::PageSegment>)> {
        let number = || Ok(SegmentSeq(self.next.replace(self.next.get() + 1)));
        let page = self.writer.write(&self.store, 1, &number, image, &PageRef::default())?;
        Ok((page, self.store.segment(&page)?))
    }

    /// Does what a snapshot does with written and released pages.
    fn settle(&mut self, released: &[PageRef]) {
        for page in released {
            self.writer.release(page);
        }
        self.writer.sync().unwrap();
        self.store.settle(self.writer.replaced());
        self.writer.saved(PageRef::default());
        self.store.delete_dead(|_| Fate::Delete, self.writer.writing()).unwrap();
    }

    /// Saves, and runs `meanwhile` between freeze and install.
    pub(crate) fn save(&mut self, tree: &mut KeyTree, meanwhile: impl FnOnce(&mut KeyTree)) -> Saved {
        let mut frozen = tree.freeze();
        let mut saved = frozen.save(&mut |image| self.write(image)).unwrap();
        let released = frozen.into_released();
        meanwhile(tree);
        self.settle(&released);
        let segments = self.store.segments();
        while !tree.install(&mut saved, 3, &segments).unwrap() {}
        saved
    }

    fn load(&self, saved: &Saved) -> KeyTree {
        KeyTree::load(&saved.root, saved.entries, self.store.segments()).unwrap()
    }

    /// The saved tree, with a root page that has one entry less than stated.
    pub(crate) fn with_wrong_count(&self, saved: &Saved) -> KeyTree {
        let clean = Clean::new(&saved.root, self.store.segment(&saved.root).unwrap());
        let root = Child::clean(Image::whole(clean.clone()), clean.level().unwrap(), saved.entries + 1);
        KeyTree::of(KeyRoot { root, segments: self.store.segments() }, Ledger::new(0))
    }

    fn live_bytes(&self) -> u64 {
        self.store.all_rows().iter().map(|(_, _, live)| live).sum()
    }
}

/// All entries, by walking the nodes.
fn entries(root: &KeyRoot) -> Model {
    let mut found = Vec::new();
    walk(&root.root, root, &mut |child| {
        if child.as_inner(&root.segments).unwrap().is_none() {
            child
                .with_leaf(|view| {
                    for index in 0..view.count() {
                        let mut key = Vec::new();
                        let id = view.read(index, &mut key)?;
                        found.push((key, id));
                    }
                    Some(())
                })
                .unwrap();
        }
    });
    assert!(found.is_sorted_by(|one, other| one < other), "entries do not ascend");
    found.into_iter().collect()
}

pub(crate) fn walk(child: &Child, root: &KeyRoot, visit: &mut dyn FnMut(&Child)) {
    visit(child);
    if let Some(inner) = child.as_inner(&root.segments).unwrap() {
        inner.children.iter().for_each(|child| walk(child, root, visit));
    }
}

/// Bytes of all pages that a tree refers to.
fn page_bytes(root: &KeyRoot) -> u64 {
    let mut sum = 0;
    let bytes = |clean: &Clean| u64::from(clean.page().bytes);
    walk(&root.root, root, &mut |child| {
        sum += child.saved().map_or(0, bytes) + child.saved().and(child.base()).map_or(0, |base| bytes(&base.clean));
    });
    sum
}

/// Checks the invariants of the whole tree.
fn check(tree: &KeyTree) {
    let root = tree.now();
    check_node(&root.root, root, None, None, true);
    assert_eq!((tree.dirty(), tree.ledger.dirty_bytes()), tree.now.root.on_heap(), "changed nodes and their bytes");
}

fn check_node(child: &Child, root: &KeyRoot, low: Option<KeyEntry<'_>>, high: Option<KeyEntry<'_>>, is_root: bool) {
    assert!(child.entries > 0 || is_root, "an empty node below the root");
    let Some(inner) = child.as_inner(&root.segments).unwrap() else {
        let bound = child.with_leaf(|view| {
            view.check().unwrap();
            assert_eq!((to_u64(view.count()), view.level()), (child.entries, 0));
            let (mut first, mut last) = (Vec::new(), Vec::new());
            let Some(end) = view.count().checked_sub(1) else { return Some(None) };
            let ids = (view.read(0, &mut first)?, view.read(end, &mut last)?);
            Some(Some(((first, ids.0), (last, ids.1))))
        });
        if let Some((first, last)) = bound.unwrap() {
            assert!(low.is_none_or(|low| low <= KeyEntry { key: &first.0, id: first.1 }), "below its separator");
            assert!(high.is_none_or(|high| high > KeyEntry { key: &last.0, id: last.1 }), "above the next separator");
        }
        return;
    };
    let view = inner.view().unwrap();
    let used = view.check().unwrap() + view.front_bytes() + inner.children.len() * NODE_CHILD_BYTES;
    assert!(used <= PAGE_BYTES, "an image of {used} bytes");
    assert_eq!(view.count(), inner.children.len());
    assert_eq!(inner.children.iter().map(|child| child.entries).sum::<u64>(), child.entries);
    assert!(!is_root || inner.children.len() > 1, "a root with one child");
    let separators: Vec<_> = (0..view.count()).map(|index| inner.separator(index).unwrap()).collect();
    for (index, below) in inner.children.iter().enumerate() {
        let level = below.as_inner(&root.segments).unwrap().map_or(0, |inner| inner.view().unwrap().level());
        assert_eq!(level + 1, view.level(), "levels fall one by one");
        let own_low = if index == 0 { low } else { Some(separators[index].entry()) };
        let own_high = separators.get(index + 1).map_or(high, |next| Some(next.entry()));
        check_node(below, root, own_low, own_high, false);
    }
}

/// Pseudo-random numbers that are the same in each run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        to_usize(self.next()) % end
    }

    fn key16(&mut self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.next().to_be_bytes());
        key[8..].copy_from_slice(&self.next().to_be_bytes());
        key
    }
}
