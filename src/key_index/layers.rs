//! A leaf as its image and the entries that came and went since: what all three mean together.
//!
//! Owns: reading them as one leaf, and merging them. Never: knows where they are; `changed` has lists on the heap,
//! `patched` in a page segment.
//!
//! Invariants: 1. What came is not in the image, unless it also went; what went is in the image; and no entry is in both
//! lists. 2. The keys that came start with the prefix of the image, and all of it fits into a page.

use smallvec::SmallVec;

use crate::format::Malformed;
use crate::format::node::{KeyEntry, NODE_HEAD_BYTES, NODE_SLOT_BYTES, NodeView};
use crate::id::to_u64;
use crate::key_index::position::Position;
use crate::key_index::slotted::Slotted;

/// The first of a key in a leaf.
pub(crate) enum First {
    Found(u64),
    /// The leaf has later entries, so the tree has none.
    None,
    /// Everything in the leaf lies before the key.
    Behind,
}

/// Bytes that an entry takes in a node with a prefix of this length.
pub(crate) fn cost(key: &[u8], prefix_bytes: usize) -> usize {
    NODE_SLOT_BYTES + key.len().saturating_sub(prefix_bytes + NODE_HEAD_BYTES) + size_of::<u64>()
}

/// Whether the entry at a place is this one.
pub(crate) fn is_at(view: &NodeView<'_>, at: usize, entry: &KeyEntry<'_>) -> Option<bool> {
    Some(at < view.count() && view.has_key(at, entry.key)? && view.id(at)? == entry.id)
}

/// Whether a node has an entry.
pub(crate) fn has(view: &NodeView<'_>, entry: &KeyEntry<'_>) -> Option<bool> {
    is_at(view, view.search(entry, false)?, entry)
}

/// An image, and what has changed since.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layers<'a> {
    pub(crate) image: NodeView<'a>,
    pub(crate) came: Option<NodeView<'a>>,
    pub(crate) went: Option<NodeView<'a>>,
}

impl Layers<'_> {
    /// The lowest ID of a key.
    pub(crate) fn first(&self, key: &[u8]) -> Option<First> {
        let wanted = KeyEntry { key, id: 0 };
        let (mut came, mut came_behind) = (None, 0);
        if let Some(view) = &self.came {
            let at = view.search(&wanted, false)?;
            came = if at < view.count() && view.has_key(at, key)? { Some(view.id(at)?) } else { None };
            came_behind = view.count() - at;
        }
        let mut at = self.image.search(&wanted, false)?;
        let behind = self.image.count() - at + came_behind;
        while at < self.image.count() && self.image.has_key(at, key)? {
            let id = self.image.id(at)?;
            let is_gone = match &self.went {
                Some(went) => has(went, &KeyEntry { key, id })?,
                None => false,
            };
            if !is_gone {
                return Some(First::Found(came.map_or(id, |came| came.min(id))));
            }
            at += 1;
        }
        if let Some(id) = came {
            return Some(First::Found(id));
        }
        let went_behind = match &self.went {
            Some(view) => view.count() - view.search(&wanted, false)?,
            None => 0,
        };
        Some(if behind > went_behind { First::None } else { First::Behind })
    }

    /// Number of entries before a position.
    pub(crate) fn rank(&self, position: &Position<'_>) -> Option<usize> {
        let before = |view: &NodeView<'_>| view.search(&position.entry, position.behind);
        let list = |view: &Option<NodeView<'_>>| view.as_ref().map_or(Some(0), before);
        Some((before(&self.image)? + list(&self.came)?).saturating_sub(list(&self.went)?))
    }

    /// Entries of all together.
    pub(crate) fn count(&self) -> u64 {
        let count = |view: &Option<NodeView<'_>>| view.map_or(0, |view| view.count());
        to_u64((self.image.count() + count(&self.came)).saturating_sub(count(&self.went)))
    }

    /// Checks each part, and the invariants.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        self.image.check()?;
        let (mut key, image) = (Vec::new(), &self.image);
        for view in self.came.iter().chain(&self.went) {
            view.check()?;
        }
        let mut bytes = image.bytes().len();
        for (list, comes) in [(&self.came, true), (&self.went, false)] {
            let Some(view) = list else { continue };
            for index in 0..view.count() {
                let id = view.read(index, &mut key).ok_or_else(|| view.broken())?;
                let entry = KeyEntry { key: &key, id };
                let is_there = has(image, &entry).ok_or_else(|| image.broken())?;
                let also_went = comes && self.went.is_some_and(|went| has(&went, &entry) == Some(true));
                if is_there == comes || also_went || !key.starts_with(image.prefix()) {
                    let (expected, got) = ("entries that fit its base", format!("entry {index} of a list"));
                    return Err(Malformed::new("patch of a node of a key index", expected, got));
                }
                bytes += if comes { cost(&key, image.prefix().len()) } else { 0 };
            }
        }
        if bytes > crate::format::PAGE_BYTES {
            return Err(Malformed::new(
                "patch of a node of a key index",
                "a page of entries",
                format!("{bytes} bytes"),
            ));
        }
        Ok(())
    }

    /// Puts all entries into one node.
    pub(crate) fn merge(&self, into: &mut [u8]) -> Result<(), Malformed> {
        let image = &self.image;
        let mut node = Slotted::begin(into, 0, image.prefix());
        let (mut key, mut steps) = (Vec::new(), SmallVec::<[(usize, Step); 32]>::new());
        let place = |view: &NodeView<'_>, index: usize, key: &mut Vec<u8>| {
            let id = view.read(index, key)?;
            image.search(&KeyEntry { key, id }, false)
        };
        for (view, comes) in [(&self.came, true), (&self.went, false)] {
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
            match (step, &self.came) {
                (Step::Comes(index), Some(view)) => {
                    let id = view.read(index, &mut key).ok_or_else(|| view.broken())?;
                    let suffix = key.strip_prefix(image.prefix()).ok_or_else(|| view.broken())?;
                    if !node.push(0, suffix, id) {
                        return Err(view.broken());
                    }
                }
                _ => done = at + 1,
            }
        }
        node.push_range(image, done..image.count())
    }
}

/// A place in an image, and what changes there.
enum Step {
    Comes(usize),
    Goes,
}
