//! A leaf that has changed a little: its image, and the entries that came and went since, on the heap.
//!
//! Owns: the changes beside an image. Never: changes an image, or decides when a leaf has changed so much that it is
//! worth a node of its own; `ledger` does. A random change of a large tree concerns a leaf that nothing else has changed.
//! A copy of that leaf would take 4 KiB of heap for an entry of some thirty bytes.
//!
//! Invariant: the image was checked, and is read from a map: another read of its file could fail where nothing may. Those
//! of `layers` hold.

use std::sync::Arc;

use crate::error::Result;
use crate::format::PAGE_BYTES;
use crate::format::node::{KeyEntry, NODE_HEADER_BYTES, NODE_SLOT_BYTES, NodeView};
use crate::id::to_u64;
use crate::key_index::change::{Change, Effect};
use crate::key_index::image::{Base, first_of, glance_at, in_memory, view_of};
use crate::key_index::layers::{Layers, cost, has};
use crate::key_index::leaf::{Leaf, Origin};
use crate::key_index::slotted::{self, Slotted};

/// Bytes of a list: at first, and at most. The figures behind the maximum: `docs/decisions/0021-changes-beside-leaves.md`.
const LIST_BYTES_MIN: usize = 128;
const LIST_BYTES_MAX: usize = 1_024;
/// Heap bytes besides the lists, including the base, counts and the allocator's share.
const HEAP_BYTES: usize = size_of::<Changed>() + size_of::<Base>() + 96;

/// Entries in the form of a node, in as many bytes as they need.
#[derive(Debug, Clone, Default)]
struct List {
    bytes: Box<[u8]>,
}

impl List {
    /// `None` if it has no entries.
    #[inline]
    fn view(&self) -> Result<Option<NodeView<'_>>> {
        if self.bytes.is_empty() { Ok(None) } else { view_of(&self.bytes).map(Some) }
    }

    /// Runs `read` on the entries; without any the answer is the default.
    #[inline]
    fn with<T: Default>(&self, read: impl FnOnce(&NodeView<'_>) -> Option<T>) -> Result<T> {
        match self.view()? {
            Some(view) => read(&view).ok_or_else(|| in_memory(view.broken())),
            None => Ok(T::default()),
        }
    }

    fn has(&self, entry: &KeyEntry<'_>) -> Result<bool> {
        self.with(|view| has(view, entry))
    }

    /// Adds an entry that it does not have. `false` if it would get too large.
    fn put(&mut self, entry: &KeyEntry<'_>) -> Result<bool> {
        let mut bytes = self.bytes.len();
        loop {
            if bytes > 0 {
                let at = self.with(|view| view.search(entry, false))?;
                if Slotted::new(&mut self.bytes).insert(at, *entry, bytes).map_err(in_memory)? {
                    return Ok(true);
                }
            }
            // The first entry's whole key is the prefix.
            let first = NODE_HEADER_BYTES + NODE_SLOT_BYTES + entry.key.len() + size_of::<u64>();
            bytes = if bytes == 0 { first.next_power_of_two().max(LIST_BYTES_MIN) } else { 2 * bytes };
            if bytes > LIST_BYTES_MAX {
                return Ok(false);
            }
            let mut larger = vec![0; bytes].into_boxed_slice();
            match self.view()? {
                Some(view) => Slotted::new(&mut larger)
                    .copy_range(&view, 0..view.count(), Some(view.prefix().len()))
                    .map_err(in_memory)?,
                None => drop(Slotted::begin(&mut larger, 0, &[])),
            }
            self.bytes = larger;
        }
    }

    /// A copy of a node's entries.
    fn of(view: Option<&NodeView<'_>>) -> Result<Self> {
        let Some(view) = view else { return Ok(Self::default()) };
        let mut bytes = vec![0; view.bytes().len().next_power_of_two().max(LIST_BYTES_MIN)].into_boxed_slice();
        let copied = Slotted::new(&mut bytes).copy_range(view, 0..view.count(), Some(view.prefix().len()));
        copied.map_err(in_memory)?;
        Ok(Self { bytes })
    }

    /// Its image; nothing if it has no entries.
    fn image(&self, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        if self.bytes.is_empty() { Ok(()) } else { slotted::image(&self.bytes, &[], &[], out).map_err(in_memory) }
    }

    fn take(&mut self, entry: &KeyEntry<'_>) -> Result<()> {
        let at = self.with(|view| view.search(entry, false))?;
        Slotted::new(&mut self.bytes).remove(at).map_err(in_memory)?;
        if self.with(|view| Some(view.count()))? == 0 {
            self.bytes = Box::default();
        }
        Ok(())
    }
}

/// An image of a leaf, and what has changed since.
#[derive(Debug, Clone)]
pub(crate) struct Changed {
    pub(crate) origin: Origin,
    pub(crate) base: Arc<Base>,
    prefix_bytes: usize,
    came: List,
    went: List,
    /// Bytes that those entries take in a node with the prefix of the image.
    came_bytes: usize,
    went_bytes: usize,
}

impl Changed {
    /// A leaf as it is in its page. The image has passed `check`.
    pub(crate) fn new(base: Arc<Base>) -> Result<Self> {
        let prefix_bytes = base.with_leaf(|view| Some(view.prefix().len()))?;
        let (came, went) = (List::default(), List::default());
        Ok(Self { origin: Origin::default(), base, prefix_bytes, came, went, came_bytes: 0, went_bytes: 0 })
    }

    /// The same, with lists that have been checked.
    pub(crate) fn with_lists(base: &Arc<Base>, layers: &Layers<'_>) -> Result<Self> {
        let prefix_bytes = layers.image.prefix().len();
        let mut key = Vec::new();
        let mut bytes = |list: &Option<NodeView<'_>>| {
            let Some(view) = list else { return Ok(0) };
            let sum = (0..view.count()).try_fold(0, |sum, index| {
                view.read(index, &mut key)?;
                Some(sum + cost(&key, prefix_bytes))
            });
            sum.ok_or_else(|| in_memory(view.broken()))
        };
        let (came_bytes, went_bytes) = (bytes(&layers.came)?, bytes(&layers.went)?);
        let (came, went) = (List::of(layers.came.as_ref())?, List::of(layers.went.as_ref())?);
        let base = Arc::clone(base);
        Ok(Self { origin: Origin::default(), base, prefix_bytes, came, went, came_bytes, went_bytes })
    }

    /// Heap bytes.
    pub(crate) fn heap_bytes(&self) -> u64 {
        to_u64(HEAP_BYTES + self.came.bytes.len() + self.went.bytes.len())
    }

    /// Size of its image if it was written whole.
    pub(crate) fn bytes(&self) -> usize {
        (self.base.clean.bytes() + self.came_bytes).saturating_sub(self.went_bytes)
    }

    /// Loads itself into the cache; see `glance`.
    #[inline]
    pub(crate) fn touch(&self) -> u32 {
        u32::from(self.prefix_bytes > 0) ^ u32::from(self.came.bytes.is_empty())
    }

    /// Loads where its image is, and the beginning of the lists.
    #[inline]
    pub(crate) fn touch_further(&self) -> u32 {
        u32::from(self.base.clean.is_mapped()) ^ first_of(&self.came.bytes) ^ first_of(&self.went.bytes)
    }

    /// Loads the slots that a search begins with.
    #[inline]
    pub(crate) fn glance(&self, wanted: &KeyEntry<'_>) -> u32 {
        let of_image = self.base.clean.glance(|bytes| glance_at(bytes, wanted));
        of_image ^ glance_at(&self.came.bytes, wanted) ^ glance_at(&self.went.bytes, wanted)
    }

    /// Runs `read` on the image and the lists.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Layers<'_>) -> Option<T>) -> Result<T> {
        let (came, went) = (self.came.view()?, self.went.view()?);
        self.base.with_leaf(|image| read(&Layers { image: *image, came, went }))
    }

    /// The images of what came and of what went.
    pub(crate) fn lists(&self, came: &mut Vec<u8>, went: &mut Vec<u8>) -> Result<()> {
        self.came.image(came)?;
        self.went.image(went)
    }

    /// Whether the image has an entry, and whether its prefix suits the key.
    fn look(&self, entry: &KeyEntry<'_>) -> Result<(bool, bool)> {
        self.base.with_leaf(|view| Some((has(view, entry)?, entry.key.starts_with(view.prefix()))))
    }

    /// Makes a change. `None`, and nothing has changed, if it does not fit beside the image.
    pub(crate) fn change(&mut self, change: &Change<'_>) -> Result<Option<Effect>> {
        let entry = &change.entry;
        let (in_image, fits_prefix) = self.look(entry)?;
        let (has_come, has_gone) = (self.came.has(entry)?, self.went.has(entry)?);
        if ((in_image && !has_gone) || has_come) == change.insert {
            return Ok(Some(Effect::Nothing));
        }
        let cost = cost(entry.key, self.prefix_bytes);
        if change.insert {
            if has_gone {
                self.went.take(entry)?;
                self.went_bytes -= cost;
                return Ok(Some(Effect::Inserted));
            }
            let bytes = self.base.clean.bytes() + self.came_bytes + cost;
            if !fits_prefix || bytes > PAGE_BYTES || !self.came.put(entry)? {
                return Ok(None);
            }
            self.came_bytes += cost;
            return Ok(Some(Effect::Inserted));
        }
        if has_come {
            self.came.take(entry)?;
            self.came_bytes -= cost;
        } else if self.went.put(entry)? {
            self.went_bytes += cost;
        } else {
            return Ok(None);
        }
        Ok(Some(Effect::Removed))
    }

    /// All entries in one node that replaces this one. Its image gets a new checksum, which must not hide damage that
    /// came to the old image after its first read.
    pub(crate) fn replacement(&self) -> Result<Leaf> {
        self.check_again()?;
        self.merged()
    }

    /// Compares the image with its checksum once more.
    pub(crate) fn check_again(&self) -> Result<()> {
        self.base.clean.check_again()
    }

    /// All entries in one node, to be read.
    pub(crate) fn merged(&self) -> Result<Leaf> {
        let mut leaf = Leaf::empty();
        let merged = self.with(|layers| Some(layers.merge(&mut leaf.bytes)))?;
        // What does not fit together is the image: it was damaged after its first read.
        merged.map_err(|malformed| self.check_again().err().unwrap_or_else(|| in_memory(malformed)))?;
        Ok(leaf)
    }
}
