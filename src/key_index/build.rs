//! Building a tree from sorted entries: leaves from left to right, then the levels above them.
//!
//! Leaves can be written as they are filled, so that the heap holds only inner nodes. The next save writes these.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::PAGE_BYTES;
use crate::format::node::KeyEntry;
use crate::id::to_u64;
use crate::key::KEY_BYTES_MAX;
use crate::key_index::image::{Clean, Image, in_memory};
use crate::key_index::leaf::Leaf;
use crate::key_index::ledger::Ledger;
use crate::key_index::node::Child;
use crate::key_index::root::KeyRoot;
use crate::key_index::save::Write;
use crate::key_index::separator::Separator;
use crate::key_index::slotted::Slotted;
use crate::key_index::tree::KeyTree;
use crate::key_index::work::Grown;
use crate::key_index::{shape, slotted};
use crate::pages::PageSegments;

/// Leaves are filled up to this: the rest is for later entries.
const FILL_BYTES: usize = PAGE_BYTES / 16 * 15;

/// Builds a tree.
pub(crate) struct Builder<'a> {
    write: Option<&'a mut Write<'a>>,
    leaf: Leaf,
    /// The lowest entry that the leaf may have.
    separator: Separator,
    leaves: Grown,
    last_key: Vec<u8>,
    last_id: u64,
    image: Vec<u8>,
    entries: u64,
    dirty: u64,
}

impl std::fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").field("entries", &self.entries).field("leaves", &self.leaves.len()).finish()
    }
}

impl<'a> Builder<'a> {
    /// With `write`, full leaves are passed to it; they can be read once the caller has flushed them.
    pub(crate) fn new(write: Option<&'a mut Write<'a>>) -> Self {
        Self {
            write,
            leaf: Leaf::empty(),
            separator: Separator::default(),
            leaves: Grown::new(),
            last_key: Vec::new(),
            last_id: 0,
            image: Vec::new(),
            entries: 0,
            dirty: 0,
        }
    }

    /// Adds an entry, which must be higher than the previous one.
    pub(crate) fn push(&mut self, key: &[u8], id: u64) -> Result<()> {
        let entry = KeyEntry { key, id };
        if key.len() > KEY_BYTES_MAX {
            return Err(Error::TooLarge { what: "key", bytes: to_u64(key.len()), limit: to_u64(KEY_BYTES_MAX) });
        }
        let before = KeyEntry { key: &self.last_key, id: self.last_id };
        if self.entries > 0 && entry <= before {
            return Err(Error::corrupt("memory", 0, "entries of a key index", "an order that ascends", "another"));
        }
        let at = self.leaf.view()?.count();
        if !Slotted::new(&mut self.leaf.bytes).insert(at, entry, FILL_BYTES).map_err(in_memory)? {
            let next = Separator::between(&before, &entry);
            self.close()?;
            self.separator = next;
            Slotted::new(&mut self.leaf.bytes).insert(0, entry, PAGE_BYTES).map_err(in_memory)?;
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        self.last_id = id;
        self.entries += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let leaf = std::mem::replace(&mut self.leaf, Leaf::empty());
        let child = match &mut self.write {
            Some(write) => {
                slotted::image(&leaf.bytes, &[], &[], &mut self.image).map_err(in_memory)?;
                let (page, segment) = write(&self.image)?;
                Child::clean(Image::whole(Clean::new(&page, segment)), 0, to_u64(leaf.view()?.count()))
            }
            None => {
                self.dirty += 1;
                Child::leaf(leaf)?
            }
        };
        self.leaves.push((std::mem::take(&mut self.separator), child));
        Ok(())
    }

    /// The tree of all entries. `segments` must contain those that leaves were written to.
    pub(crate) fn finish(mut self, segments: Arc<PageSegments>) -> Result<KeyTree> {
        if self.entries == 0 {
            let mut tree = KeyTree::new()?;
            tree.now.segments = segments;
            return Ok(tree);
        }
        self.close()?;
        let mut ledger = Ledger::new(self.dirty);
        let root = match self.leaves.len() {
            1 => self.leaves.pop().map(|(_, leaf)| leaf).map_or_else(|| Child::leaf(Leaf::empty()), Ok)?,
            _ => shape::raise(0, self.leaves, true, &mut ledger)?.1,
        };
        Ok(KeyTree::of(KeyRoot { root, segments }, ledger))
    }
}
