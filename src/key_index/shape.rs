//! The shape of inner nodes: splitting them, merging small children, packing children into nodes.
//!
//! Invariants: 1. No inner node's image is larger than a page. 2. A nearly empty node is merged with a neighbour if
//! both together leave a quarter of the page free, so that it is not split again at once.

use crate::error::{Error, Result};
use crate::format::PAGE_BYTES;
use crate::format::node::{
    NODE_CHILD_BYTES, NODE_HEAD_BYTES, NODE_HEADER_BYTES, NODE_LEVEL_MAX, NODE_SLOT_BYTES, NodeView,
};
use crate::key_index::image::in_memory;
use crate::key_index::leaf::{Leaf, Origin};
use crate::key_index::ledger::Ledger;
use crate::key_index::node::{Child, Inner, Node};
use crate::key_index::separator::Separator;
use crate::key_index::slotted::{Slotted, common};
use crate::key_index::work::{Grown, Work};

/// A node smaller than this is merged with a neighbour if possible.
const SMALL_BYTES: usize = PAGE_BYTES / 4;
/// Two neighbours are merged if they have at most this many bytes together.
const MERGED_BYTES_MAX: usize = PAGE_BYTES / 4 * 3;

/// Where a full node is split into parts of about equal size: neither has more than half of the bytes plus half of the
/// largest entry, so that an entry that did not fit before fits in both.
pub(crate) fn middle(view: &NodeView<'_>) -> usize {
    let count = view.count();
    let bytes = |index: usize| view.slot(index).map_or(0, |slot| NODE_SLOT_BYTES + slot.cell_bytes());
    let total: usize = (0..count).map(bytes).sum();
    let mut left = 0;
    let middle = (0..count).take_while(|index| {
        let entry = bytes(*index);
        left += entry;
        // The cut is after an entry if the larger part of it is before the middle.
        2 * left <= total + entry
    });
    middle.count().clamp(1, count.saturating_sub(1).max(1))
}

/// Whether a child that has lost entries should be removed, or merged with a neighbour.
pub(crate) fn should_merge(inner: &Inner, index: usize) -> bool {
    let Some(child) = inner.children.get(index) else { return false };
    if child.entries == 0 {
        return true;
    }
    let bytes = child.bytes();
    if bytes >= SMALL_BYTES {
        return false;
    }
    let mut neighbours = [index.checked_sub(1), Some(index + 1)].into_iter().flatten();
    neighbours.any(|index| inner.children.get(index).is_some_and(|child| bytes + child.bytes() <= MERGED_BYTES_MAX))
}

/// Inserts pending children, removes empty ones, merges small ones, and then splits what is too large.
pub(crate) fn reshape(
    inner: &mut Inner,
    level: u8,
    pending: Vec<(usize, Separator, Child)>,
    shrunk: bool,
    work: &mut Work<'_>,
) -> Result<Grown> {
    let mut items = take_items(inner)?;
    let at_end = pending.iter().all(|(index, ..)| index + 1 >= items.len());
    for (index, separator, child) in pending.into_iter().rev() {
        items.insert((index + 1).min(items.len()), (separator, child));
    }
    if shrunk {
        items.retain(|(_, child)| {
            if child.entries == 0 {
                work.ledger.retire(child);
            }
            child.entries > 0
        });
        merge_small(&mut items, level, work);
    }
    // The first child also has entries below its separator: it may have been split there.
    if let [(first, _), (second, _), ..] = items.as_mut_slice()
        && first.entry() >= second.entry()
    {
        *first = Separator::default();
    }
    let mut pieces = pack(level, items, at_end)?.into_iter();
    if let Some((_, first)) = pieces.next() {
        inner.bytes = first.bytes;
        inner.children = first.children;
    }
    let grown: Grown = pieces.map(|(separator, inner)| (separator, Child::inner(inner))).collect();
    work.ledger.came(grown.len());
    Ok(grown)
}

/// Takes the children out, each with its separator.
fn take_items(inner: &mut Inner) -> Result<Grown> {
    let separators: Result<Vec<Separator>> = (0..inner.children.len()).map(|index| inner.separator(index)).collect();
    Ok(separators?.into_iter().zip(std::mem::take(&mut inner.children)).collect())
}

fn merge_small(items: &mut Grown, level: u8, work: &mut Work<'_>) {
    let mut index = 0;
    while index + 1 < items.len() {
        let bytes = |index: usize| items.get(index).map_or(PAGE_BYTES, |(_, child)| child.bytes());
        let (left, right) = (bytes(index), bytes(index + 1));
        let wanted = left.min(right) < SMALL_BYTES && left + right <= MERGED_BYTES_MAX;
        // Neighbours that cannot be read, or do not fit together, stay as they are.
        if !wanted || !merge_at(items, index, level, work).unwrap_or(false) {
            index += 1;
        }
    }
}

/// Merges an item with the next one. `false` if they stay separate.
fn merge_at(items: &mut Grown, index: usize, level: u8, work: &mut Work<'_>) -> Result<bool> {
    let Some((before, behind)) = items.split_at_mut_checked(index + 1) else { return Ok(false) };
    let (Some((_, left)), Some((separator, right))) = (before.last_mut(), behind.first_mut()) else { return Ok(false) };
    let merged = match &left.node {
        Node::Leaf(_) | Node::Changed(_) | Node::CleanLeaf(_) | Node::Patched(_) => merge_leaves(left, right, work)?,
        Node::Inner(_) | Node::CleanInner(_) => merge_inner(left, separator, right, level.saturating_sub(1), work)?,
    };
    if merged {
        left.entries += right.entries;
        work.ledger.retire(right);
        items.remove(index + 1);
    }
    Ok(merged)
}

fn merge_leaves(left: &mut Child, right: &mut Child, work: &mut Work<'_>) -> Result<bool> {
    let mut bytes = [0; PAGE_BYTES];
    let read = |child: &Child, join: &mut dyn FnMut(&NodeView<'_>) -> Option<()>| child.with_leaf(join);
    match &right.node {
        Node::Changed(changed) => changed.check_again()?,
        Node::CleanLeaf(clean) => clean.check_again()?,
        Node::Patched(patched) => patched.check_again()?,
        Node::Leaf(_) | Node::Inner(_) | Node::CleanInner(_) => {}
    }
    let (mut first, mut last, mut shared) = (Vec::new(), Vec::new(), 0);
    read(left, &mut |view| view.read(0, &mut first).map(drop))?;
    read(right, &mut |view| {
        let end = view.read(view.count().checked_sub(1)?, &mut last).map(drop);
        shared = common(&first, &last);
        end
    })?;
    let mut node = Slotted::begin(&mut bytes, 0, first.get(..shared).unwrap_or_default());
    let mut fits = true;
    for child in [&*left, &*right] {
        read(child, &mut |view| {
            fits = fits && node.push_range(view, 0..view.count()).is_ok();
            Some(())
        })?;
    }
    if fits {
        work.ledger.leaf_mut(left)?.bytes = bytes;
    }
    Ok(fits)
}

fn merge_inner(left: &mut Child, separator: &Separator, right: &Child, level: u8, work: &mut Work<'_>) -> Result<bool> {
    let Some(other) = right.as_inner(work.segments)? else { return Ok(false) };
    let mut items = Grown::new();
    for (index, child) in other.children.iter().enumerate() {
        // Entries below the right node's first separator belong to its first child as well: its bound is the parent's.
        let separator = if index == 0 { separator.clone() } else { other.separator(index)? };
        items.push((separator, child.clone()));
    }
    let inner = work.ledger.inner_mut(left, work.segments)?;
    let mut all = Grown::new();
    for (index, child) in inner.children.iter().enumerate() {
        all.push((inner.separator(index)?, child.clone()));
    }
    all.append(&mut items);
    let mut pieces = pack(level, all, true)?.into_iter();
    let (Some((_, piece)), None) = (pieces.next(), pieces.next()) else { return Ok(false) };
    inner.bytes = piece.bytes;
    inner.children = piece.children;
    Ok(true)
}

/// Packs children into as few inner nodes as possible: of about the same size, or, with `full`, all but the last one
/// full.
pub(crate) fn pack(level: u8, items: Grown, full: bool) -> Result<Vec<(Separator, Inner)>> {
    if level > NODE_LEVEL_MAX {
        return Err(Error::Exhausted { what: "level of a key index", limit: NODE_LEVEL_MAX.into() });
    }
    let ends = items.first().zip(items.last());
    let shared = ends.map_or(0, |((first, _), (last, _))| common(&first.key, &last.key));
    let cost = |(separator, _): &(Separator, Child)| {
        let rest = separator.key.len().saturating_sub(shared + NODE_HEAD_BYTES);
        NODE_SLOT_BYTES + NODE_CHILD_BYTES + rest + if separator.id == 0 { 0 } else { 8 }
    };
    let room = PAGE_BYTES - NODE_HEADER_BYTES - shared - NODE_HEAD_BYTES;
    let total: usize = items.iter().map(cost).sum();
    let wanted = if full { room } else { total.div_ceil(total.div_ceil(room).max(1)) };
    let mut pieces = Vec::new();
    let mut part = Grown::new();
    let mut bytes = 0;
    for item in items {
        let more = cost(&item);
        if bytes + more > room || bytes >= wanted {
            pieces.push(piece(level, std::mem::take(&mut part))?);
            bytes = 0;
        }
        bytes += more;
        part.push(item);
    }
    pieces.push(piece(level, part)?);
    Ok(pieces)
}

fn piece(level: u8, items: Grown) -> Result<(Separator, Inner)> {
    let mut bytes = vec![0; PAGE_BYTES].into_boxed_slice();
    let ends = items.first().zip(items.last());
    let shared = ends.map_or(0, |((first, _), (last, _))| common(&first.key, &last.key));
    let lowest = items.first().map(|(separator, _)| separator.clone()).unwrap_or_default();
    let mut node = Slotted::begin(&mut bytes, level, lowest.key.get(..shared).unwrap_or_default());
    for (separator, _) in &items {
        if !node.push(level, separator.key.get(shared..).unwrap_or_default(), separator.id) {
            let broken = node.view().map_err(in_memory)?.broken();
            return Err(in_memory(broken));
        }
    }
    let children = items.into_iter().map(|(_, child)| child).collect();
    Ok((lowest, Inner { origin: Origin::default(), bytes, children }))
}

/// A tree's root from all nodes of the level below it.
pub(crate) fn raise(mut level: u8, mut items: Grown, full: bool, ledger: &mut Ledger) -> Result<(u8, Child)> {
    loop {
        level += 1;
        let pieces = pack(level, items, full)?;
        ledger.came(pieces.len());
        items = pieces.into_iter().map(|(separator, inner)| (separator, Child::inner(inner))).collect();
        if items.len() <= 1 {
            let root = items.pop().map(|(_, root)| root);
            return Ok((level, root.map_or_else(|| Child::leaf(Leaf::empty()), Ok)?));
        }
    }
}
