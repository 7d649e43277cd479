//! Nodes in the tree, wherever they are: on the heap while they change, in a page segment otherwise.
//!
//! Owns: finding out where a node is, and bringing inner nodes to the heap. Never: changes a node; `ledger` lends it out. Leaves
//! are read in place. Inner nodes are brought to the heap on first access, about one byte per seventy bytes of leaves
//! below them, and some hundred bytes for each leaf below that is a patch.

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::format::Malformed;
use crate::format::descriptor::PageRef;
use crate::format::node::{ChildRef, KeyEntry, NODE_CHILD_BYTES, NodeView};
use crate::format::node_patch::decode_inner;
use crate::format::segment::FileKind;
use crate::id::to_u64;
use crate::key_index::changed::Changed;
use crate::key_index::image::{Base, Clean, Image, in_memory, view_of};
use crate::key_index::layers::Layers;
use crate::key_index::leaf::{Leaf, NODE_HEAP_BYTES, Origin, not_a_leaf};
use crate::key_index::patched::Patched;
use crate::key_index::separator::Separator;
use crate::key_index::slotted;
use crate::pages::PageSegments;

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
    /// An inner node in a page segment, brought to the heap with the locations of its children.
    fn load(image: &Image, level: u8, entries: u64, segments: &PageSegments) -> Result<Self> {
        let base = match &image.base {
            Some(base) => Arc::clone(base),
            None => Arc::new(Base::new(image.clean.clone(), entries)),
        };
        let changed = match &image.base {
            Some(_) => {
                let (of, changed) =
                    image.clean.with_again(decode_inner)?.map_err(|malformed| image.clean.at(malformed))?;
                if of != level {
                    let (what, expected) = ("patch of a node of a key index", format!("level {level}"));
                    return Err(image.clean.at(Malformed::new(what, expected, format!("level {of}"))));
                }
                changed
            }
            None => Vec::new(),
        };
        let clean = &base.clean;
        let (bytes, children) = clean.with_again(|bytes| {
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
        Ok(Self { origin: Origin { base: Some(base), ..Origin::default() }, bytes, children })
    }

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
        let inner = Inner::load(&self.image, self.level, self.entries, segments)?;
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
            Node::CleanLeaf(clean) => clean.bytes(),
            Node::Patched(patched) => patched.bytes(),
            Node::CleanInner(lazy) => lazy.whole().bytes(),
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
            Node::CleanLeaf(clean) => Leaf::load(clean, self.entries),
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

/// The level of a node on the heap.
pub(crate) fn level(child: &Child) -> Result<u8> {
    match &child.node {
        Node::Leaf(_) | Node::Changed(_) | Node::CleanLeaf(_) | Node::Patched(_) => Ok(0),
        Node::Inner(inner) => inner.view().map(|view| view.level()),
        Node::CleanInner(lazy) => Ok(lazy.level()),
    }
}

#[cold]
pub(crate) fn not_inner() -> Error {
    Error::corrupt("memory", 0, "node of a key index", "an inner node that can be read", "another node")
}
