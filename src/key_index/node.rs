//! Nodes in the tree: on the heap while they change, in a page segment otherwise.
//!
//! Owns: loading nodes, their location, and decoding their images. Never: changes a node; `ledger` lends it out. Leaves
//! are read in place. Inner nodes are brought to the heap on first access, about one byte per seventy bytes of leaves
//! below them, and some hundred bytes for each leaf below that is a patch.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::node::{ChildRef, KeyEntry, NODE_CHILD_BYTES, NodeView};
use crate::format::node_patch::decode_inner;
use crate::format::segment::FileKind;
use crate::format::{Malformed, PAGE_BYTES};
use crate::id::{low_u16, to_u64};
use crate::key_index::changed::Changed;
use crate::key_index::layers::Layers;
use crate::key_index::patched::Patched;
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

    /// Runs `look` on the image, if it is mapped, to load some of it into the cache. It is not checked: no part of what
    /// is read may be believed.
    #[inline]
    pub(crate) fn glance(&self, look: impl FnOnce(&[u8]) -> u32) -> u32 {
        self.segment.glance(&self.page()).map_or(0, look)
    }

    /// A number that no other image has.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.segment.number().0 << 32 | u64::from(self.offset_granules)
    }

    pub(crate) fn at(&self, malformed: Malformed) -> Error {
        malformed.at(&FileKind::Pages.file_name(self.segment.number()), self.page().offset())
    }

    #[cold]
    fn wrong_node(&self, expected: impl ToString, view: &NodeView<'_>) -> Error {
        let got = format!("{} at level {}", view.count(), view.level());
        self.at(Malformed::new("node of a key index", expected, got))
    }

    /// Runs `read` on the image, in place.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.segment.with(&self.page(), read)
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

    /// The copy will get a checksum of its own, which must not hide damage that came to the image after its first read.
    fn load_leaf(&self, entries: u64) -> Result<Arc<Leaf>> {
        self.check_again()?;
        // Built in its final place: copying a leaf is noticeably slow.
        let base = Some(Arc::new(Base::new(self.clone(), entries)));
        let mut leaf = Arc::new(Leaf { origin: Origin { base, ..Origin::default() }, bytes: [0; PAGE_BYTES] });
        let own = Arc::get_mut(&mut leaf).ok_or_else(not_a_leaf)?;
        let load =
            |view: &NodeView<'_>| Some(view.check().and_then(|used| slotted::load(view, 0, used, &mut own.bytes)));
        self.with_leaf(entries, load)?.map_err(|malformed| self.at(malformed))?;
        Ok(leaf)
    }

    /// Checks a leaf from the first cell to the last, as `load_leaf` does.
    fn check_leaf(&self, entries: u64) -> Result<()> {
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
}

/// The whole image of a node in the last snapshot, below its patch if it has one there. All nodes that continue from it
/// share this.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) clean: Clean,
    /// Entries of the image.
    pub(crate) entries: u64,
    /// Nothing of the newest tree, or of a save, will refer to it any more.
    let_go: AtomicBool,
}

impl Base {
    pub(crate) fn new(clean: Clean, entries: u64) -> Self {
        Self { clean, entries, let_go: AtomicBool::new(false) }
    }

    /// Whether another save or change has let go of it.
    pub(crate) fn is_let_go(&self) -> bool {
        self.let_go.load(Ordering::Acquire)
    }

    /// Lets go of it. Returns the page to release, the first time.
    pub(crate) fn let_go(&self) -> Option<PageRef> {
        (!self.let_go.swap(true, Ordering::AcqRel)).then(|| self.clean.page())
    }

    /// Runs `read` on the leaf, in place.
    #[inline]
    pub(crate) fn with_leaf<T>(&self, read: impl FnOnce(&NodeView<'_>) -> Option<T>) -> Result<T> {
        self.clean.with_leaf(self.entries, read)
    }

    fn reference(&self) -> ChildRef {
        ChildRef { page: self.clean.page(), entries: self.entries, is_patch: false }
    }
}

/// What a snapshot has of a node: a whole image, or a patch of a base.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) clean: Clean,
    pub(crate) base: Option<Arc<Base>>,
}

impl Image {
    pub(crate) fn whole(clean: Clean) -> Self {
        Self { clean, base: None }
    }

    /// As its parent stores it, with its base.
    pub(crate) fn references(&self, entries: u64) -> (ChildRef, Option<ChildRef>) {
        let base = self.base.as_ref().map(|base| base.reference());
        (ChildRef { page: self.clean.page(), entries, is_patch: base.is_some() }, base)
    }

    fn load_inner(&self, level: u8, entries: u64, segments: &PageSegments) -> Result<Inner> {
        let base = match &self.base {
            Some(base) => Arc::clone(base),
            None => Arc::new(Base::new(self.clean.clone(), entries)),
        };
        let changed = match &self.base {
            Some(_) => {
                let (of, changed) = self.clean.with(decode_inner)?.map_err(|malformed| self.clean.at(malformed))?;
                if of != level {
                    let (what, expected) = ("patch of a node of a key index", format!("level {level}"));
                    return Err(self.clean.at(Malformed::new(what, expected, format!("level {of}"))));
                }
                changed
            }
            None => Vec::new(),
        };
        let clean = &base.clean;
        let (bytes, children) = clean.with(|bytes| {
            let view = NodeView::parse(bytes).map_err(|malformed| clean.at(malformed))?;
            let used = view.check().map_err(|malformed| clean.at(malformed))?;
            let (references, mut bases) = view.children().zip(view.bases()).ok_or_else(|| clean.at(view.broken()))?;
            let (mut children, mut referred, mut of_base) = (Vec::with_capacity(view.count()), view.count(), 0_u64);
            let mut changed = changed.iter().peekable();
            for (number, reference) in (0_u16..).zip(references) {
                let below = if reference.is_patch { bases.next() } else { None };
                referred += usize::from(below.is_some());
                of_base = of_base.saturating_add(reference.entries);
                let (reference, below) = match changed.next_if(|changed| changed.number == number) {
                    Some(changed) => (changed.child, changed.base),
                    None => (reference, below),
                };
                children.push(Child::on_medium(&reference, below.as_ref(), level.saturating_sub(1), segments)?);
            }
            let is_whole = changed.next().is_none() && of_base == base.entries;
            let sum: u64 = children.iter().map(|child| child.entries).fold(0, u64::saturating_add);
            // No child is empty, so a walk over nodes is no longer than one over entries.
            let hollow = children.iter().any(|child| child.entries == 0);
            if view.level() != level || level == 0 || sum != entries || children.is_empty() || hollow || !is_whole {
                return Err(clean.wrong_node(format!("{entries} entries at level {level}"), &view));
            }
            let skipped = referred * NODE_CHILD_BYTES;
            let mut bytes = vec![0; bytes.len() - skipped].into_boxed_slice();
            slotted::load(&view, referred, used, &mut bytes).map_err(|malformed| clean.at(malformed))?;
            Ok((bytes, children))
        })??;
        Ok(Inner { origin: Origin { base: Some(base), ..Origin::default() }, bytes, children })
    }
}

/// The status of a node on the heap.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    /// Its image, once a snapshot that has it was saved.
    pub(crate) page: OnceLock<Image>,
    /// The newest tree no longer has it.
    pub(crate) superseded: AtomicBool,
    /// The round of saving in which it came to the heap, if known; see the ledger.
    pub(crate) born: u32,
    /// The image that it continues from.
    pub(crate) base: Option<Arc<Base>>,
}

impl Clone for Origin {
    /// A copy of a node is a separate node, and continues from the same image.
    fn clone(&self) -> Self {
        Self { base: self.base.clone(), ..Self::default() }
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
    pub(crate) image: Image,
    level: u8,
    entries: u64,
    loaded: OnceLock<Arc<Inner>>,
}

impl Lazy {
    pub(crate) fn level(&self) -> u8 {
        self.level
    }

    /// Its whole image: itself, or the one below its patch.
    fn whole(&self) -> &Clean {
        self.image.base.as_ref().map_or(&self.image.clean, |base| &base.clean)
    }

    #[inline]
    pub(crate) fn get(&self, segments: &PageSegments) -> Result<&Arc<Inner>> {
        if let Some(inner) = self.loaded.get() {
            return Ok(inner);
        }
        let inner = self.image.load_inner(self.level, self.entries, segments)?;
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
    Patched(Arc<Patched>),
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
    pub(crate) fn clean(image: Image, level: u8, entries: u64) -> Self {
        let node = match (level, image) {
            (0, Image { clean, base: None }) => Node::CleanLeaf(clean),
            (0, Image { clean: patch, base: Some(base) }) => Node::Patched(Arc::new(Patched { patch, base })),
            (_, image) => Node::CleanInner(Arc::new(Lazy { image, level, entries, loaded: OnceLock::new() })),
        };
        Self { entries, node }
    }

    fn on_medium(reference: &ChildRef, base: Option<&ChildRef>, level: u8, segments: &PageSegments) -> Result<Self> {
        let clean = |page: &PageRef| {
            let segment = segments.get(&page.segment).ok_or_else(|| {
                let file = FileKind::Pages.file_name(page.segment);
                Error::corrupt(file, page.offset(), "node of a key index", "a page segment of this snapshot", "none")
            })?;
            Ok(Clean::new(page, Arc::clone(segment)))
        };
        let base = match base {
            Some(base) => Some(Arc::new(Base::new(clean(&base.page)?, base.entries))),
            None => None,
        };
        Ok(Self::clean(Image { clean: clean(&reference.page)?, base }, level, reference.entries))
    }

    /// The inner node, brought to the heap if needed; `None` for leaves.
    #[inline]
    pub(crate) fn as_inner(&self, segments: &PageSegments) -> Result<Option<&Arc<Inner>>> {
        match &self.node {
            Node::Inner(inner) => Ok(Some(inner)),
            Node::CleanInner(lazy) => lazy.get(segments).map(Some),
            Node::Leaf(_) | Node::Changed(_) | Node::CleanLeaf(_) | Node::Patched(_) => Ok(None),
        }
    }

    /// Whether it has children.
    #[inline]
    pub(crate) fn is_inner(&self) -> bool {
        matches!(self.node, Node::Inner(_) | Node::CleanInner(_))
    }

    /// Runs `read` on the leaf.
    #[inline]
    pub(crate) fn with_leaf<T>(&self, read: impl FnOnce(&NodeView<'_>) -> Option<T>) -> Result<T> {
        match &self.node {
            Node::Leaf(leaf) => NodeView::open(&leaf.bytes).and_then(|view| read(&view)).ok_or_else(not_a_leaf),
            Node::CleanLeaf(clean) => clean.with_leaf(self.entries, read),
            Node::Changed(_) | Node::Patched(_) => self.read_merged(read),
            Node::Inner(_) | Node::CleanInner(_) => Err(not_a_leaf()),
        }
    }

    /// Approximate size of its image.
    pub(crate) fn bytes(&self) -> usize {
        match &self.node {
            Node::Leaf(leaf) => slotted::used(&leaf.bytes),
            Node::Inner(inner) => slotted::used(&inner.bytes) + inner.children.len() * NODE_CHILD_BYTES,
            Node::Changed(changed) => changed.bytes(),
            Node::CleanLeaf(clean) => clean.bytes.into(),
            Node::Patched(patched) => patched.bytes(),
            Node::CleanInner(lazy) => lazy.whole().bytes.into(),
        }
    }

    /// The status of the node, if it is on the heap because it changed, and its heap bytes.
    pub(crate) fn own(&self) -> Option<(&Origin, u64)> {
        match &self.node {
            Node::Leaf(leaf) => Some((&leaf.origin, NODE_HEAP_BYTES)),
            Node::Inner(inner) => Some((&inner.origin, NODE_HEAP_BYTES)),
            Node::Changed(changed) => Some((&changed.origin, changed.heap_bytes())),
            Node::CleanLeaf(_) | Node::Patched(_) | Node::CleanInner(_) => None,
        }
    }

    /// Nodes from this one down that are on the heap because they changed, and their bytes.
    pub(crate) fn on_heap(&self) -> (u64, u64) {
        let Some((_, bytes)) = self.own() else { return (0, 0) };
        let below = if let Node::Inner(inner) = &self.node { inner.children.as_slice() } else { &[] };
        below.iter().map(Self::on_heap).fold((1, bytes), |all, some| (all.0 + some.0, all.1 + some.1))
    }

    /// The location of its image, if it has one: whole, or a patch.
    pub(crate) fn saved(&self) -> Option<&Clean> {
        match &self.node {
            Node::CleanLeaf(clean) => Some(clean),
            Node::Patched(patched) => Some(&patched.patch),
            Node::CleanInner(lazy) => Some(&lazy.image.clean),
            Node::Leaf(_) | Node::Changed(_) | Node::Inner(_) => self.own()?.0.page.get().map(|image| &image.clean),
        }
    }

    /// Its image, if it has one, with the base.
    pub(crate) fn image(&self) -> Option<Image> {
        match &self.node {
            Node::CleanLeaf(clean) => Some(Image::whole(clean.clone())),
            Node::Patched(patched) => {
                Some(Image { clean: patched.patch.clone(), base: Some(Arc::clone(&patched.base)) })
            }
            Node::CleanInner(lazy) => Some(lazy.image.clone()),
            Node::Leaf(_) | Node::Changed(_) | Node::Inner(_) => self.own()?.0.page.get().cloned(),
        }
    }

    /// The image that it continues from, or that is below its patch.
    pub(crate) fn base(&self) -> Option<&Arc<Base>> {
        match &self.node {
            Node::Leaf(leaf) => leaf.origin.base.as_ref(),
            Node::Changed(changed) => Some(&changed.base),
            Node::Inner(inner) => inner.origin.base.as_ref(),
            Node::Patched(patched) => Some(&patched.base),
            Node::CleanLeaf(_) => None,
            Node::CleanInner(lazy) => lazy.image.base.as_ref(),
        }
    }

    /// Runs `read` on a leaf's image and its lists. `None` for other nodes.
    #[inline(never)]
    pub(crate) fn with_layers<T>(&self, read: impl FnOnce(&Layers<'_>) -> Option<T>) -> Option<Result<T>> {
        match &self.node {
            Node::Changed(changed) => Some(changed.with(read)),
            Node::Patched(patched) => Some(patched.with(self.entries, read)),
            Node::Leaf(_) | Node::Inner(_) | Node::CleanLeaf(_) | Node::CleanInner(_) => None,
        }
    }

    /// A leaf in a page segment, brought to the heap.
    pub(crate) fn load_leaf(&self) -> Result<Arc<Leaf>> {
        match &self.node {
            Node::CleanLeaf(clean) => clean.load_leaf(self.entries),
            Node::Patched(patched) => patched.load_leaf(self.entries),
            Node::Leaf(_) | Node::Changed(_) | Node::Inner(_) | Node::CleanInner(_) => Err(not_a_leaf()),
        }
    }

    /// Checks a leaf in a page segment from the first cell to the last, as `load_leaf` does.
    pub(crate) fn check_leaf(&self) -> Result<()> {
        match &self.node {
            Node::CleanLeaf(clean) => clean.check_leaf(self.entries),
            Node::Patched(patched) => patched.check(self.entries),
            Node::Leaf(_) | Node::Changed(_) | Node::Inner(_) | Node::CleanInner(_) => Ok(()),
        }
    }

    /// A leaf in a page segment that has passed `check_leaf`, with lists on the heap.
    pub(crate) fn to_changed(&self) -> Result<Changed> {
        match &self.node {
            Node::CleanLeaf(clean) => Changed::new(Arc::new(Base::new(clean.clone(), self.entries))),
            Node::Patched(patched) => patched.to_changed(self.entries),
            Node::Leaf(_) | Node::Changed(_) | Node::Inner(_) | Node::CleanInner(_) => Err(not_a_leaf()),
        }
    }

    /// Whether its images can be read again without another read of a file, which could fail.
    pub(crate) fn is_mapped(&self) -> bool {
        self.saved().is_none_or(Clean::is_mapped) && self.base().is_none_or(|base| base.clean.is_mapped())
    }

    /// Whether it is an image with lists.
    #[inline]
    pub(crate) fn has_layers(&self) -> bool {
        matches!(self.node, Node::Changed(_) | Node::Patched(_))
    }

    /// A leaf with lists as one node, to be read. `None` for other nodes.
    pub(crate) fn merged(&self) -> Option<Result<Leaf>> {
        match &self.node {
            Node::Changed(changed) => Some(changed.merged()),
            Node::Patched(patched) => Some(patched.merged(self.entries)),
            Node::Leaf(_) | Node::Inner(_) | Node::CleanLeaf(_) | Node::CleanInner(_) => None,
        }
    }

    /// Out of line, so that reading other leaves stays short.
    #[inline(never)]
    fn read_merged<T>(&self, read: impl FnOnce(&NodeView<'_>) -> Option<T>) -> Result<T> {
        let leaf = self.merged().unwrap_or_else(|| Err(not_a_leaf()))?;
        read(&leaf.view()?).ok_or_else(not_a_leaf)
    }
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
