//! Applying sorted changes: one descent for all changes that belong to the same node.
//!
//! Owns: inserting into and removing from leaves, splitting leaves, passing changes to the children they belong to.
//! Invariants: 1. After a failure the tree is valid, with the changes before it applied.
//! 2. After a walk the entry counts are right at every level.

use crate::error::{Error, Result};
use crate::format::PAGE_BYTES;
use crate::format::node::{KeyEntry, NODE_CHILD_BYTES};
use crate::key_index::change::{Change, Effect};
use crate::key_index::image::in_memory;
use crate::key_index::leaf::Leaf;
use crate::key_index::node::{Child, Inner, Node};
use crate::key_index::runs::{AHEAD, Runs, fill_runs, look_ahead};
use crate::key_index::separator::Separator;
use crate::key_index::shape;
use crate::key_index::slotted::Slotted;
use crate::key_index::work::{Grown, Work};

/// If more changes than this belong to one leaf, it is changed itself.
pub(crate) const CHANGES_BESIDE_MAX: usize = 16;

/// Applies changes to a node and everything below it. Returns its new right neighbours.
pub(crate) fn apply(child: &mut Child, changes: &[Change<'_>], work: &mut Work<'_>) -> Grown {
    match child.node {
        Node::Leaf(_) | Node::Changed(_) | Node::CleanLeaf(_) | Node::Patched(_) => apply_to_leaf(child, changes, work),
        Node::Inner(_) | Node::CleanInner(_) => apply_to_inner(child, changes, work),
    }
}

enum Done {
    Nothing,
    Inserted,
    Removed,
    /// Inserted, with the node that was split off.
    Split(Separator, Child),
}

fn apply_to_leaf(child: &mut Child, changes: &[Change<'_>], work: &mut Work<'_>) -> Grown {
    let mut grown = Grown::new();
    let mut current = 0;
    for change in changes {
        while grown.get(current).is_some_and(|(separator, _)| separator.entry() <= change.entry) {
            current += 1;
        }
        let target = match current.checked_sub(1).and_then(|before| grown.get_mut(before)) {
            Some((_, child)) => child,
            None => &mut *child,
        };
        let done = change_one(target, change, changes.len(), work);
        match done {
            Ok(Done::Nothing) => continue,
            Ok(Done::Inserted) => target.entries += 1,
            Ok(Done::Removed) => target.entries = target.entries.saturating_sub(1),
            Ok(Done::Split(separator, right)) => {
                target.entries = (target.entries + 1).saturating_sub(right.entries);
                work.ledger.came(1);
                grown.insert(current, (separator, right));
            }
            Err(error) => {
                work.fail(error);
                break;
            }
        }
        work.applied += 1;
        work.net += if change.insert { 1 } else { -1 };
    }
    grown
}

/// Makes a change beside the leaf's image, or in the leaf itself if there will be many, or if it does not fit there.
fn change_one(target: &mut Child, change: &Change<'_>, changes: usize, work: &mut Work<'_>) -> Result<Done> {
    if changes <= CHANGES_BESIDE_MAX
        && let Some(effect) = work.ledger.change_beside(target, change)?
    {
        return Ok(match effect {
            Effect::Nothing => Done::Nothing,
            Effect::Inserted => Done::Inserted,
            Effect::Removed => Done::Removed,
        });
    }
    work.ledger.leaf_mut(target).and_then(|leaf| change_leaf(leaf, change))
}

fn change_leaf(leaf: &mut Leaf, change: &Change<'_>) -> Result<Done> {
    let view = leaf.view()?;
    let entry = &change.entry;
    let broken = || in_memory(view.broken());
    let at = view.search(entry, false).ok_or_else(broken)?;
    let there = at < view.count()
        && view.has_key(at, entry.key).ok_or_else(broken)?
        && view.id(at).ok_or_else(broken)? == entry.id;
    if there == change.insert {
        return Ok(Done::Nothing);
    }
    let mut node = Slotted::new(&mut leaf.bytes);
    if !change.insert {
        node.remove(at).map_err(in_memory)?;
        return Ok(Done::Removed);
    }
    if node.insert(at, *entry, PAGE_BYTES).map_err(in_memory)? {
        return Ok(Done::Inserted);
    }
    let (separator, right) = split_leaf(leaf, at, entry)?;
    Ok(Done::Split(separator, Child::leaf(right)?))
}

/// Splits a full leaf and puts the entry into one of its parts. Entries that arrive in order leave full leaves behind.
fn split_leaf(leaf: &mut Leaf, at: usize, entry: &KeyEntry<'_>) -> Result<(Separator, Leaf)> {
    let node = Slotted::new(&mut leaf.bytes);
    let sequential = node.is_sequential(at);
    let view = node.view().map_err(in_memory)?;
    let count = view.count();
    let fits_prefix = entry.key.starts_with(view.prefix());
    let mut right = Leaf::empty();
    if at == count && (sequential || !fits_prefix) {
        put(&mut right, 0, entry)?;
    } else if at == 0 && !fits_prefix {
        std::mem::swap(&mut right.bytes, &mut leaf.bytes);
        *leaf = Leaf { origin: std::mem::take(&mut leaf.origin), ..Leaf::empty() };
        put(leaf, 0, entry)?;
    } else {
        let middle = if sequential { at } else { shape::middle(&view) };
        let mut left = Leaf::empty();
        Slotted::new(&mut left.bytes).copy_range(&view, 0..middle, None).map_err(in_memory)?;
        Slotted::new(&mut right.bytes).copy_range(&view, middle..count, None).map_err(in_memory)?;
        let to_left = at < middle || (at == middle && put(&mut left, at, entry).is_ok());
        if at < middle {
            put(&mut left, at, entry)?;
        } else if !to_left {
            put(&mut right, at - middle, entry)?;
        }
        leaf.bytes = left.bytes;
    }
    let (left_view, right_view) = (leaf.view()?, right.view()?);
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    let ids = left_view.count().checked_sub(1).and_then(|last| {
        let id = left_view.read(last, &mut before)?;
        Some((id, right_view.read(0, &mut behind)?))
    });
    let (before_id, behind_id) = ids.ok_or_else(|| in_memory(left_view.broken()))?;
    let before = KeyEntry { key: &before, id: before_id };
    let separator = Separator::between(&before, &KeyEntry { key: &behind, id: behind_id });
    Ok((separator, right))
}

fn put(leaf: &mut Leaf, at: usize, entry: &KeyEntry<'_>) -> Result<()> {
    let mut node = Slotted::new(&mut leaf.bytes);
    if node.insert(at, *entry, PAGE_BYTES).map_err(in_memory)? {
        return Ok(());
    }
    let got = format!("a key of {} bytes", entry.key.len());
    Err(Error::corrupt("memory", 0, "node of a key index", "room after a split", got))
}

fn apply_to_inner(child: &mut Child, changes: &[Change<'_>], work: &mut Work<'_>) -> Grown {
    let net_before = work.net;
    let level = level_of(child);
    let inner = match work.ledger.inner_mut(child, work.segments) {
        Ok(inner) => inner,
        Err(error) => {
            work.fail(error);
            return Grown::new();
        }
    };
    let mut pending: Vec<(usize, Separator, Child)> = Vec::new();
    let mut shrunk = false;
    let mut runs = Runs::new();
    if let Err(error) = fill_runs(inner, changes, &mut runs) {
        work.fail(error);
        return Grown::new();
    }
    for (place, run) in runs.iter().enumerate() {
        if work.failed.is_some() {
            break;
        }
        if place % AHEAD == 0 {
            look_ahead(inner, runs.get(place..runs.len().min(place + AHEAD)).unwrap_or_default());
        }
        let index = run.child;
        if let Some(child) = inner.children.get_mut(index) {
            let before = child.entries;
            let grown = apply(child, run.changes, work);
            let smaller = child.entries < before && (grown.is_empty() || child.entries == 0);
            shrunk |= grown.iter().any(|(_, child)| child.entries == 0);
            pending.extend(grown.into_iter().map(|(separator, child)| (index, separator, child)));
            shrunk |= smaller && shape::should_merge(inner, index);
        }
    }
    if pending.is_empty() && !shrunk {
        child.entries = child.entries.saturating_add_signed(work.net - net_before);
        return Grown::new();
    }
    let grown = if insert_pending(inner, &mut pending) && !shrunk {
        Grown::new()
    } else {
        match shape::reshape(inner, level, pending, shrunk, work) {
            Ok(grown) => grown,
            Err(error) => {
                work.fail(error);
                Grown::new()
            }
        }
    };
    child.entries = inner.entries();
    grown
}

fn level_of(child: &Child) -> u8 {
    match &child.node {
        Node::Inner(inner) => inner.view().map_or(0, |view| view.level()),
        Node::CleanInner(lazy) => lazy.level(),
        Node::Leaf(_) | Node::Changed(_) | Node::CleanLeaf(_) | Node::Patched(_) => 0,
    }
}

/// Inserts new children, as long as there is room. Returns whether all of them fit.
fn insert_pending(inner: &mut Inner, pending: &mut Vec<(usize, Separator, Child)>) -> bool {
    if inner.bytes.len() < PAGE_BYTES && !pending.is_empty() && grow(inner).is_err() {
        return false;
    }
    // From the back, so that positions stay valid.
    while let Some((index, separator, child)) = pending.pop() {
        let in_order = index > 0 || inner.separator(0).is_ok_and(|first| first.entry() < separator.entry());
        if !in_order {
            pending.push((index, separator, child));
            return false;
        }
        let limit = PAGE_BYTES.saturating_sub(NODE_CHILD_BYTES * (inner.children.len() + 1));
        let inserted = Slotted::new(&mut inner.bytes).insert(index + 1, separator.entry(), limit);
        if !matches!(inserted, Ok(true)) {
            pending.push((index, separator, child));
            return false;
        }
        inner.children.insert(index + 1, child);
    }
    true
}

/// Gives an inner node that was loaded at its trimmed size the room of a page.
fn grow(inner: &mut Inner) -> Result<()> {
    let mut bytes = vec![0; PAGE_BYTES].into_boxed_slice();
    let view = inner.view()?;
    Slotted::new(&mut bytes).copy_range(&view, 0..view.count(), Some(view.prefix().len())).map_err(in_memory)?;
    inner.bytes = bytes;
    Ok(())
}
