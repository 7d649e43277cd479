//! Nodes in the tree: on the heap while they change, in a page segment otherwise.
//!
//! Owns: loading nodes, their location, and decoding their images. Never: changes a node; `ledger` lends it out. Leaves
//! are read in place. Inner nodes are brought to the heap on first access, about one byte per seventy bytes of leaves
//! below them.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::node::{ChildRef, KeyEntry, NODE_CHILD_BYTES, NodeView};
use crate::format::segment::FileKind;
use crate::format::{Malformed, PAGE_BYTES};
use crate::id::{low_u16, to_u64};
use crate::key_index::changed::Changed;
use crate::key_index::slotted;
use crate::key_index::slotted::Slotted;
use crate::pages::{PageSegment, PageSegments};

/// Heap bytes of a changed node, including its counts and the allocator's share.
pub(crate) const NODE_HEAP_BYTES: u64 = 4096 + 128;

/// A node in memory. This module made it, so it can always be decoded.
#[inline]
pub(crate) fn view_of(bytes: &[u8]) -> Result<NodeView<'_>> {
    match NodeView::open(bytes) {
        Some(view) => Ok(view),
        None => NodeView::parse(bytes).map_err(in_memory),
    }
}

/// The error for a node in memory that is not what this module made.
#[cold]
pub(crate) fn in_memory(malformed: Malformed) -> Error {
    malformed.at("memory", 0)
}

/// A node's image in a page segment.
#[derive(Debug, Clone)]
pub(crate) struct Clean {
    segment: Arc<PageSegment>,
    offset_granules: u32,
    check: u32,
    bytes: u16,
}

impl Clean {
    pub(crate) fn new(page: &PageRef, segment: Arc<PageSegment>) -> Self {
        let bytes = low_u16(page.bytes.into());
        Self { segment, offset_granules: page.offset_granules, check: page.check, bytes }
    }

    /// Size of the image.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.into()
    }

    #[inline]
    pub(crate) fn page(&self) -> PageRef {
        PageRef {
            segment: self.segment.number(),
            offset_granules: self.offset_granules,
            bytes: self.bytes.into(),
            check: self.check,
        }
    }

    /// A number that no other image has.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.segment.number().0 << 32 | u64::from(self.offset_granules)
    }

    fn at(&self, malformed: Malformed) -> Error {
        malformed.at(&FileKind::Pages.file_name(self.segment.number()), self.page().offset())
    }

    #[cold]
    fn wrong_node(&self, expected: impl ToString, view: &NodeView<'_>) -> Error {
        let got = format!("{} at level {}", view.count(), view.level());
        self.at(Malformed::new("node of a key index", expected, got))
    }

    /// Runs `read` on the leaf, in place.
    #[inline]
    pub(crate) fn with_leaf<T>(&self, entries: u64, read: impl FnOnce(&NodeView<'_>) -> Option<T>) -> Result<T> {
        let page = PageRef {
            segment: self.segment.number(),
            offset_granules: self.offset_granules,
            bytes: self.bytes.into(),
            check: self.check,
        };
        let done = self.segment.with(&page, |bytes| {
            let view = NodeView::open(bytes)?;
            if view.level() == 0 && to_u64(view.count()) == entries { read(&view) } else { None }
        })?;
        done.ok_or_else(|| self.why_not(entries))
    }

    /// Why a leaf could not be read.
    #[cold]
    fn why_not(&self, entries: u64) -> Error {
        let why = self.segment.with(&self.page(), |bytes| match NodeView::parse(bytes) {
            Ok(view) if view.level() != 0 || to_u64(view.count()) != entries => {
                self.wrong_node(format!("{entries} entries at level 0"), &view)
            }
            Ok(view) => self.at(view.broken()),
            Err(malformed) => self.at(malformed),
        });
        why.unwrap_or_else(|error| error)
    }

    pub(crate) fn load_leaf(&self, entries: u64) -> Result<Arc<Leaf>> {
        // Built in its final place: copying a leaf is noticeably slow.
        let mut leaf = Arc::new(Leaf { origin: Origin::default(), bytes: [0; PAGE_BYTES] });
        let own = Arc::get_mut(&mut leaf).ok_or_else(not_a_leaf)?;
        let load =
            |view: &NodeView<'_>| Some(view.check().and_then(|used| slotted::load(view, 0, used, &mut own.bytes)));
        self.with_leaf(entries, load)?.map_err(|malformed| self.at(malformed))?;
        Ok(leaf)
    }

    /// Checks a leaf from the first cell to the last, as `load_leaf` does.
    pub(crate) fn check_leaf(&self, entries: u64) -> Result<()> {
        self.with_leaf(entries, |view| Some(view.check().map(drop)))?.map_err(|malformed| self.at(malformed))
    }

    /// Whether it can be read again without another read of the file, which could fail.
    pub(crate) fn is_mapped(&self) -> bool {
        self.segment.is_mapped(&self.page())
    }

    /// Compares the image with its checksum once more.
    pub(crate) fn check_again(&self) -> Result<()> {
        self.segment.check_again(&self.page())
    }

    /// Level of the node.
    pub(crate) fn level(&self) -> Result<u8> {
        let level = self.segment.with(&self.page(), |bytes| NodeView::parse(bytes).map(|view| view.level()))?;
        level.map_err(|malformed| self.at(malformed))
    }

    fn load_inner(&self, level: u8, entries: u64, segments: &PageSegments) -> Result<Inner> {
        self.segment.with(&self.page(), |bytes| {
            let view = NodeView::parse(bytes).map_err(|malformed| self.at(malformed))?;
            let used = view.check().map_err(|malformed| self.at(malformed))?;
            let references = view.children().ok_or_else(|| self.at(view.broken()))?;
            let mut children = Vec::with_capacity(view.count());
            for reference in references {
                children.push(Child::on_medium(&reference, level.saturating_sub(1), segments)?);
            }
            let sum: u64 = children.iter().map(|child| child.entries).fold(0, u64::saturating_add);
            // No child is empty, so a walk over nodes is no longer than one over entries.
            let hollow = children.iter().any(|child| child.entries == 0);
            if view.level() != level || level == 0 || sum != entries || children.is_empty() || hollow {
                return Err(self.wrong_node(format!("{entries} entries at level {level}"), &view));
            }
            let skipped = children.len() * NODE_CHILD_BYTES;
            let mut bytes = vec![0; bytes.len() - skipped].into_boxed_slice();
            slotted::load(&view, children.len(), used, &mut bytes).map_err(|malformed| self.at(malformed))?;
            Ok(Inner { origin: Origin::default(), bytes, children })
        })?
    }
}

/// The status of a node on the heap.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// The location of its image, once a snapshot that has it was saved.
    pub(crate) page: OnceLock<Clean>,
    /// The newest tree no longer has it.
    pub(crate) superseded: AtomicBool,
    /// The round of saving in which it came to the heap, if known; see the ledger.
    pub(crate) born: u32,
}

impl Clone for Origin {
    /// A copy of a node is a separate node.
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// A leaf on the heap.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    pub(crate) origin: Origin,
    pub(crate) bytes: [u8; PAGE_BYTES],
}

impl Leaf {
    pub(crate) fn empty() -> Self {
        let mut leaf = Self { origin: Origin::default(), bytes: [0; PAGE_BYTES] };
        Slotted::begin(&mut leaf.bytes, 0, &[]);
        leaf
    }

    #[inline]
    pub(crate) fn view(&self) -> Result<NodeView<'_>> {
        view_of(&self.bytes)
    }
}

/// An inner node on the heap: separators in slots, and as many children.
///
/// Child `i` has the entries from separator `i` up to the next one. The first separator is never compared: lower
/// entries belong to the first child too.
#[derive(Debug, Clone)]
pub(crate) struct Inner {
    pub(crate) origin: Origin,
    pub(crate) bytes: Box<[u8]>,
    pub(crate) children: Vec<Child>,
}

impl Inner {
    #[inline]
    pub(crate) fn view(&self) -> Result<NodeView<'_>> {
        view_of(&self.bytes)
    }

    /// The child that an entry belongs to; with `after`, the one in which the entries after it start.
    #[inline]
    pub(crate) fn find(&self, wanted: &KeyEntry<'_>) -> Result<usize> {
        let behind = NodeView::open(&self.bytes).and_then(|view| view.search(wanted, true));
        behind.map(|behind| behind.saturating_sub(1)).ok_or_else(not_inner)
    }

    pub(crate) fn separator(&self, index: usize) -> Result<Separator> {
        let view = self.view()?;
        let mut key = Vec::new();
        let id = view.read(index, &mut key).ok_or_else(|| in_memory(view.broken()))?;
        Ok(Separator { key: SmallVec::from_vec(key), id })
    }

    pub(crate) fn entries(&self) -> u64 {
        self.children.iter().map(|child| child.entries).sum()
    }
}

/// An inner node that is brought to the heap on first access.
#[derive(Debug)]
pub(crate) struct Lazy {
    pub(crate) clean: Clean,
    level: u8,
    entries: u64,
    loaded: OnceLock<Arc<Inner>>,
}

impl Lazy {
    pub(crate) fn level(&self) -> u8 {
        self.level
    }

    #[inline]
    pub(crate) fn get(&self, segments: &PageSegments) -> Result<&Arc<Inner>> {
        if let Some(inner) = self.loaded.get() {
            return Ok(inner);
        }
        let inner = self.clean.load_inner(self.level, self.entries, segments)?;
        Ok(self.loaded.get_or_init(|| Arc::new(inner)))
    }
}

/// A node, wherever it is.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    Leaf(Arc<Leaf>),
    Changed(Arc<Changed>),
    Inner(Arc<Inner>),
    CleanLeaf(Clean),
    CleanInner(Arc<Lazy>),
}

/// A node and the number of entries below it.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) entries: u64,
    pub(crate) node: Node,
}

impl Child {
    pub(crate) fn leaf(leaf: Leaf) -> Result<Self> {
        let entries = to_u64(leaf.view()?.count());
        Ok(Self { entries, node: Node::Leaf(Arc::new(leaf)) })
    }

    pub(crate) fn inner(inner: Inner) -> Self {
        Self { entries: inner.entries(), node: Node::Inner(Arc::new(inner)) }
    }

    /// A node with its image in a page segment.
    pub(crate) fn clean(clean: Clean, level: u8, entries: u64) -> Self {
        let node = match level {
            0 => Node::CleanLeaf(clean),
            _ => Node::CleanInner(Arc::new(Lazy { clean, level, entries, loaded: OnceLock::new() })),
        };
        Self { entries, node }
    }

    fn on_medium(reference: &ChildRef, level: u8, segments: &PageSegments) -> Result<Self> {
        let page = &reference.page;
        let segment = segments.get(&page.segment).ok_or_else(|| {
            let file = FileKind::Pages.file_name(page.segment);
            Error::corrupt(file, page.offset(), "node of a key index", "a page segment of this snapshot", "none")
        })?;
        Ok(Self::clean(Clean::new(page, Arc::clone(segment)), level, reference.entries))
    }

    /// The inner node, brought to the heap if needed; `None` for leaves.
    #[inline]
    pub(crate) fn as_inner(&self, segments: &PageSegments) -> Result<Option<&Arc<Inner>>> {
        match &self.node {
            Node::Inner(inner) => Ok(Some(inner)),
            Node::CleanInner(lazy) => lazy.get(segments).map(Some),
            Node::Leaf(_) | Node::Changed(_) | Node::CleanLeaf(_) => Ok(None),
        }
    }

    /// Runs `read` on the leaf.
    #[inline]
    pub(crate) fn with_leaf<T>(&self, read: impl FnOnce(&NodeView<'_>) -> Option<T>) -> Result<T> {
        match &self.node {
            Node::Leaf(leaf) => NodeView::open(&leaf.bytes).and_then(|view| read(&view)).ok_or_else(not_a_leaf),
            Node::CleanLeaf(clean) => clean.with_leaf(self.entries, read),
            Node::Changed(changed) => read_merged(changed, read),
            Node::Inner(_) | Node::CleanInner(_) => Err(not_a_leaf()),
        }
    }

    /// Touches the beginning of a leaf on the heap, to load it into the cache.
    #[inline]
    pub(crate) fn first_byte(&self) -> u8 {
        match &self.node {
            Node::Leaf(leaf) => leaf.bytes.first().copied().unwrap_or_default(),
            Node::Changed(_) | Node::Inner(_) | Node::CleanLeaf(_) | Node::CleanInner(_) => 0,
        }
    }

    /// The same for the slots that a search starts with.
    #[inline]
    pub(crate) fn glance(&self, wanted: &KeyEntry<'_>) -> u32 {
        match &self.node {
            Node::Leaf(leaf) => NodeView::open(&leaf.bytes).map_or(0, |view| view.glance(wanted)),
            Node::Changed(_) | Node::Inner(_) | Node::CleanLeaf(_) | Node::CleanInner(_) => 0,
        }
    }

    /// Approximate size of its image.
    pub(crate) fn bytes(&self) -> usize {
        match &self.node {
            Node::Leaf(leaf) => slotted::used(&leaf.bytes),
            Node::Inner(inner) => slotted::used(&inner.bytes) + inner.children.len() * NODE_CHILD_BYTES,
            Node::Changed(changed) => changed.bytes(),
            Node::CleanLeaf(clean) => clean.bytes.into(),
            Node::CleanInner(lazy) => lazy.clean.bytes.into(),
        }
    }

    /// The status of the node, if it is on the heap because it changed, and its heap bytes.
    pub(crate) fn own(&self) -> Option<(&Origin, u64)> {
        match &self.node {
            Node::Leaf(leaf) => Some((&leaf.origin, NODE_HEAP_BYTES)),
            Node::Inner(inner) => Some((&inner.origin, NODE_HEAP_BYTES)),
            Node::Changed(changed) => Some((&changed.origin, changed.heap_bytes())),
            Node::CleanLeaf(_) | Node::CleanInner(_) => None,
        }
    }

    /// Nodes from this one down that are on the heap because they changed, and their bytes.
    pub(crate) fn on_heap(&self) -> (u64, u64) {
        let Some((_, bytes)) = self.own() else { return (0, 0) };
        let below = if let Node::Inner(inner) = &self.node { inner.children.as_slice() } else { &[] };
        below.iter().map(Self::on_heap).fold((1, bytes), |all, some| (all.0 + some.0, all.1 + some.1))
    }

    /// The location of its image, if it has one.
    pub(crate) fn saved(&self) -> Option<&Clean> {
        match &self.node {
            Node::Leaf(leaf) => leaf.origin.page.get(),
            Node::Changed(changed) => changed.origin.page.get(),
            Node::Inner(inner) => inner.origin.page.get(),
            Node::CleanLeaf(clean) => Some(clean),
            Node::CleanInner(lazy) => Some(&lazy.clean),
        }
    }
}

/// Out of line, so that reading other leaves stays short.
#[inline(never)]
fn read_merged<T>(changed: &Changed, read: impl FnOnce(&NodeView<'_>) -> Option<T>) -> Result<T> {
    let leaf = changed.merged()?;
    read(&leaf.view()?).ok_or_else(not_a_leaf)
}

#[cold]
pub(crate) fn not_a_leaf() -> Error {
    Error::corrupt("memory", 0, "node of a key index", "a leaf that can be read", "another node")
}

#[cold]
pub(crate) fn not_inner() -> Error {
    Error::corrupt("memory", 0, "node of a key index", "an inner node that can be read", "another node")
}

/// The lowest entry that a child may have: the shortest key that separates it from the child before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Separator {
    pub(crate) key: SmallVec<[u8; 24]>,
    pub(crate) id: u64,
}

impl Separator {
    /// Between two neighbours.
    pub(crate) fn between(before: &KeyEntry<'_>, behind: &KeyEntry<'_>) -> Self {
        if before.key == behind.key {
            return Self { key: SmallVec::from_slice(behind.key), id: behind.id };
        }
        let shortest = slotted::common(before.key, behind.key) + 1;
        Self { key: SmallVec::from_slice(behind.key.get(..shortest).unwrap_or(behind.key)), id: 0 }
    }

    #[inline]
    pub(crate) fn entry(&self) -> KeyEntry<'_> {
        KeyEntry { key: &self.key, id: self.id }
    }
}
