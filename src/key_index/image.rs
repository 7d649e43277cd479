//! Images of nodes: where they are in page segments, and reading them in place.
//!
//! Owns: the location and the checksum of an image, and whether anything still refers to the one below a patch. Never: brings a node
//! to the heap; `leaf` and `node` do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::format::Malformed;
use crate::format::descriptor::PageRef;
use crate::format::node::{ChildRef, KeyEntry, NodeView};
use crate::format::segment::FileKind;
use crate::id::{low_u16, to_u64};
use crate::pages::PageSegment;

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

/// The first byte, as a number to be thrown away.
#[inline]
pub(crate) fn first_of(bytes: &[u8]) -> u32 {
    bytes.first().copied().map_or(0, u32::from)
}

/// Loads the slot that a search begins with.
#[inline]
pub(crate) fn glance_at(bytes: &[u8], wanted: &KeyEntry<'_>) -> u32 {
    NodeView::open(bytes).map_or(0, |view| view.glance(wanted))
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
    pub(crate) fn wrong_node(&self, expected: impl ToString, view: &NodeView<'_>) -> Error {
        let got = format!("{} at level {}", view.count(), view.level());
        self.at(Malformed::new("node of a key index", expected, got))
    }

    /// Runs `read` on the image, in place.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.segment.with(&self.page(), read)
    }

    /// The same for an image that comes to the heap: compared with its checksum even if it was before. The copy may get one of its
    /// own, which must not hide damage that came in between.
    pub(crate) fn with_again<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Result<T> {
        self.segment.with_once(&self.page(), read)
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

    /// Checks a leaf from the first cell to the last, as `Leaf::load` does.
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
}
