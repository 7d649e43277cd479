//! A leaf that has changed a little: its image, and the entries that came and went since.
//!
//! Owns: the changes beside an image, and what both together mean. Never: changes an image, or decides when a leaf has
//! changed so much that it is worth a node of its own; `ledger` does. A random change of a large tree concerns a leaf that
//! nothing else has changed. A copy of that leaf would take 4 KiB of heap for an entry of some thirty bytes.
//!
//! Invariants: 1. What came is not in the image, unless it also went; what went is in the image; and no entry is in both
//! lists. 2. The keys that came start with the prefix of the image, and all of it fits into a page.
//! 3. The image was checked, and is read from a map: another read of its file could fail where nothing may.

use smallvec::SmallVec;

use crate::error::Result;
use crate::format::node::{KeyEntry, NODE_HEAD_BYTES, NODE_HEADER_BYTES, NODE_SLOT_BYTES, NodeView};
use crate::format::{Malformed, PAGE_BYTES};
use crate::id::to_u64;
use crate::key_index::apply::Change;
use crate::key_index::node::{Clean, Leaf, Origin, in_memory, view_of};
use crate::key_index::slotted::Slotted;
use crate::key_index::tree::Position;

/// Bytes of a list: at first, and at most. The figures behind the maximum: `docs/decisions/0021-changes-beside-leaves.md`.
const LIST_BYTES_MIN: usize = 128;
const LIST_BYTES_MAX: usize = 1_024;
/// Heap bytes besides the lists, including counts and the allocator's share.
const HEAP_BYTES: usize = size_of::<Changed>() + 64;

/// Entries in the form of a node, in as many bytes as they need.
#[derive(Debug, Clone, Default)]
struct List {
    bytes: Box<[u8]>,
}

fn is_at(view: &NodeView<'_>, at: usize, entry: &KeyEntry<'_>) -> Option<bool> {
    Some(at < view.count() && view.has_key(at, entry.key)? && view.id(at)? == entry.id)
}

fn has(view: &NodeView<'_>, entry: &KeyEntry<'_>) -> Option<bool> {
    is_at(view, view.search(entry, false)?, entry)
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

    fn take(&mut self, entry: &KeyEntry<'_>) -> Result<()> {
        let at = self.with(|view| view.search(entry, false))?;
        Slotted::new(&mut self.bytes).remove(at).map_err(in_memory)?;
        if self.with(|view| Some(view.count()))? == 0 {
            self.bytes = Box::default();
        }
        Ok(())
    }
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    Inserted,
    Removed,
}

/// An image of a leaf, and what has changed since.
#[derive(Debug, Clone)]
pub(crate) struct Changed {
    pub(crate) origin: Origin,
    image: Clean,
    /// Entries of the image.
    entries: u64,
    prefix_bytes: usize,
    came: List,
    went: List,
    /// Bytes that those entries take in a node with the prefix of the image.
    came_bytes: usize,
    went_bytes: usize,
}

/// The first of a key in a leaf.
pub(crate) enum First {
    Found(u64),
    /// The leaf has later entries, so the tree has none.
    None,
    /// Everything in the leaf lies before the key.
    Behind,
}

impl Changed {
    /// A leaf as it is in its page. The image has passed `check`.
    pub(crate) fn new(image: Clean, entries: u64) -> Result<Self> {
        let prefix_bytes = image.with_leaf(entries, |view| Some(view.prefix().len()))?;
        let (came, went) = (List::default(), List::default());
        let origin = Origin::default();
        Ok(Self { origin, image, entries, prefix_bytes, came, went, came_bytes: 0, went_bytes: 0 })
    }

    /// Heap bytes.
    pub(crate) fn heap_bytes(&self) -> u64 {
        to_u64(HEAP_BYTES + self.came.bytes.len() + self.went.bytes.len())
    }

    /// Size of the image that it will have.
    pub(crate) fn bytes(&self) -> usize {
        (self.image.bytes() + self.came_bytes).saturating_sub(self.went_bytes)
    }

    fn cost(&self, key: &[u8]) -> usize {
        NODE_SLOT_BYTES + key.len().saturating_sub(self.prefix_bytes + NODE_HEAD_BYTES) + size_of::<u64>()
    }

    fn with_image<T>(&self, read: impl FnOnce(&NodeView<'_>) -> Option<T>) -> Result<T> {
        self.image.with_leaf(self.entries, read)
    }

    /// Whether the image has an entry, and whether its prefix suits the key.
    fn look(&self, entry: &KeyEntry<'_>) -> Result<(bool, bool)> {
        self.with_image(|view| Some((has(view, entry)?, entry.key.starts_with(view.prefix()))))
    }

    /// Makes a change. `None`, and nothing has changed, if it does not fit beside the image.
    pub(crate) fn change(&mut self, change: &Change<'_>) -> Result<Option<Effect>> {
        let entry = &change.entry;
        let (in_image, fits_prefix) = self.look(entry)?;
        let (has_come, has_gone) = (self.came.has(entry)?, self.went.has(entry)?);
        if ((in_image && !has_gone) || has_come) == change.insert {
            return Ok(Some(Effect::Nothing));
        }
        let cost = self.cost(entry.key);
        if change.insert {
            if has_gone {
                self.went.take(entry)?;
                self.went_bytes -= cost;
                return Ok(Some(Effect::Inserted));
            }
            if !fits_prefix || self.image.bytes() + self.came_bytes + cost > PAGE_BYTES || !self.came.put(entry)? {
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

    /// The lowest ID of a key.
    pub(crate) fn first(&self, key: &[u8]) -> Result<First> {
        let wanted = KeyEntry { key, id: 0 };
        let first_of = |view: &NodeView<'_>| {
            let at = view.search(&wanted, false)?;
            let id = if at < view.count() && view.has_key(at, key)? { Some(view.id(at)?) } else { None };
            Some((id, view.count() - at))
        };
        let (came, came_behind) = self.came.with(first_of)?;
        let went_behind = self.went.with(|view| Some(view.count() - view.search(&wanted, false)?))?;
        let went = self.went.view()?;
        let (here, behind) = self.with_image(|view| {
            let mut at = view.search(&wanted, false)?;
            let behind = view.count() - at;
            while at < view.count() && view.has_key(at, key)? {
                let id = view.id(at)?;
                let is_gone = match &went {
                    Some(went) => has(went, &KeyEntry { key, id })?,
                    None => false,
                };
                if !is_gone {
                    return Some((Some(id), behind));
                }
                at += 1;
            }
            Some((None, behind))
        })?;
        Ok(match came.into_iter().chain(here).min() {
            Some(id) => First::Found(id),
            None if behind + came_behind > went_behind => First::None,
            None => First::Behind,
        })
    }

    /// Number of entries before a position.
    pub(crate) fn rank(&self, position: &Position<'_>) -> Result<usize> {
        let before = |view: &NodeView<'_>| view.search(&position.entry, position.behind);
        let (image, came) = (self.with_image(before)?, self.came.with(before)?);
        Ok((image + came).saturating_sub(self.went.with(before)?))
    }

    /// All entries in one node that replaces this one. Its image gets a new checksum, which must not hide damage that
    /// came to the old image after its first read.
    pub(crate) fn replacement(&self) -> Result<Leaf> {
        self.check_again()?;
        self.merged()
    }

    /// Compares the image with its checksum once more.
    pub(crate) fn check_again(&self) -> Result<()> {
        self.image.check_again()
    }

    /// All entries in one node, to be read.
    pub(crate) fn merged(&self) -> Result<Leaf> {
        let mut leaf = Leaf::empty();
        let (came, went) = (self.came.view()?, self.went.view()?);
        let merged = self.with_image(|image| Some(merge(image, came.as_ref(), went.as_ref(), &mut leaf.bytes)))?;
        // What does not fit together is the image: it was damaged after its first read.
        merged.map_err(|malformed| self.check_again().err().unwrap_or_else(|| in_memory(malformed)))?;
        Ok(leaf)
    }
}

/// A place in an image, and what changes there.
enum Step {
    Comes(usize),
    Goes,
}

fn merge(
    image: &NodeView<'_>,
    came: Option<&NodeView<'_>>,
    went: Option<&NodeView<'_>>,
    into: &mut [u8],
) -> Result<(), Malformed> {
    let mut node = Slotted::begin(into, 0, image.prefix());
    let (mut key, mut steps) = (Vec::new(), SmallVec::<[(usize, Step); 32]>::new());
    let place = |view: &NodeView<'_>, index: usize, key: &mut Vec<u8>| {
        let id = view.read(index, key)?;
        image.search(&KeyEntry { key, id }, false)
    };
    for (view, comes) in [(came, true), (went, false)] {
        let Some(view) = view else { continue };
        for index in 0..view.count() {
            let at = place(view, index, &mut key).ok_or_else(|| view.broken())?;
            steps.push((at, if comes { Step::Comes(index) } else { Step::Goes }));
        }
    }
    // Stable: an entry that comes lies before the one that goes at the same place.
    steps.sort_by_key(|(at, _)| *at);
    let mut done = 0;
    for (at, step) in steps {
        node.push_range(image, done..at.max(done))?;
        done = at.max(done);
        match (step, came) {
            (Step::Comes(index), Some(view)) => {
                let id = view.read(index, &mut key).ok_or_else(|| view.broken())?;
                if !node.push(0, key.get(image.prefix().len()..).unwrap_or_default(), id) {
                    return Err(view.broken());
                }
            }
            _ => done = at + 1,
        }
    }
    node.push_range(image, done..image.count())
}
