//! Leaves on the heap, and the status that every node on the heap has.
//!
//! Owns: loading a leaf from its image. Never: changes one; `ledger` lends it out.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::format::PAGE_BYTES;
use crate::format::node::NodeView;
use crate::key_index::image::{Base, Clean, Image, view_of};
use crate::key_index::slotted;
use crate::key_index::slotted::Slotted;

/// Heap bytes of a changed node, including its counts and the allocator's share.
pub(crate) const NODE_HEAP_BYTES: u64 = 4096 + 128;

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

    /// A leaf in a page segment, brought to the heap. The copy will get a checksum of its own, which must not hide damage that came
    /// to the image after its first read.
    pub(crate) fn load(clean: &Clean, entries: u64) -> Result<Arc<Self>> {
        clean.check_again()?;
        // Built in its final place: copying a leaf is noticeably slow.
        let base = Some(Arc::new(Base::new(clean.clone(), entries)));
        let mut leaf = Arc::new(Self { origin: Origin { base, ..Origin::default() }, bytes: [0; PAGE_BYTES] });
        let own = Arc::get_mut(&mut leaf).ok_or_else(not_a_leaf)?;
        let load =
            |view: &NodeView<'_>| Some(view.check().and_then(|used| slotted::load(view, 0, used, &mut own.bytes)));
        clean.with_leaf(entries, load)?.map_err(|malformed| clean.at(malformed))?;
        Ok(leaf)
    }

    #[inline]
    pub(crate) fn view(&self) -> Result<NodeView<'_>> {
        view_of(&self.bytes)
    }
}

#[cold]
pub(crate) fn not_a_leaf() -> Error {
    Error::corrupt("memory", 0, "node of a key index", "a leaf that can be read", "another node")
}
