//! Making patches: what came and went in a node since the image that it continues from was written.
//!
//! Owns: whether a patch is worth it. Never: reads a patch; `patched` and `node` do.

use crate::error::Result;
use crate::format::node::{ChildRef, KeyEntry, NODE_HEADER_BYTES, NODE_SLOT_BYTES, NodeView};
use crate::format::node_patch::{ChangedChild, LeafPatch, encode_inner};
use crate::format::{Malformed, PAGE_BYTES};
use crate::id::{low_u16, to_u64};
use crate::key_index::changed::Changed;
use crate::key_index::image::{Base, in_memory};
use crate::key_index::layers::cost;
use crate::key_index::leaf::Leaf;
use crate::key_index::node::Inner;
use crate::key_index::slotted::{self, Slotted};

/// A node with a larger patch is written whole. The figures: `docs/decisions/0022-patches-on-disk.md`.
pub(crate) const PATCH_BYTES_MAX: usize = PAGE_BYTES / 8;

/// The patch of a leaf with lists. `false` if it is worth a whole image.
pub(crate) fn of_changed(changed: &Changed, out: &mut Vec<u8>) -> Result<bool> {
    let (mut came, mut went) = (Vec::new(), Vec::new());
    changed.lists(&mut came, &mut went)?;
    LeafPatch::encode(&came, &went, out);
    Ok(out.len() <= PATCH_BYTES_MAX)
}

/// Entries that a list has at most, until it is packed.
struct Found<'l> {
    bytes: &'l mut [u8; PATCH_BYTES_MAX],
    count: usize,
}

impl Found<'_> {
    fn put(&mut self, key: &[u8], id: u64) -> Result<bool, Malformed> {
        if NODE_HEADER_BYTES + NODE_SLOT_BYTES + key.len() + size_of::<u64>() > PATCH_BYTES_MAX {
            return Ok(false);
        }
        if self.count == 0 {
            Slotted::begin(self.bytes, 0, &[]);
        }
        let done = Slotted::new(self.bytes).insert(self.count, KeyEntry { key, id }, PATCH_BYTES_MAX)?;
        self.count += 1;
        Ok(done)
    }

    fn image(&self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.count == 0 { Ok(()) } else { slotted::image(self.bytes, &[], &[], out) }
    }
}

/// The patch of a leaf on the heap. `false` if it is worth a whole image, or its base does not suit it.
pub(crate) fn of_leaf(leaf: &Leaf, base: &Base, out: &mut Vec<u8>) -> Result<bool> {
    let view = leaf.view()?;
    let made = base.with_leaf(|image| Some(differ(image, &view, out)))?;
    made.map_err(in_memory)
}

fn differ(image: &NodeView<'_>, now: &NodeView<'_>, out: &mut Vec<u8>) -> Result<bool, Malformed> {
    let (mut came, mut went) = ([0; PATCH_BYTES_MAX], [0; PATCH_BYTES_MAX]);
    let (mut came, mut went) = (Found { bytes: &mut came, count: 0 }, Found { bytes: &mut went, count: 0 });
    let (mut old_key, mut new_key) = (Vec::new(), Vec::new());
    let (mut old, mut new, mut bytes) = (0, 0, image.bytes().len());
    let mut old_id = image.read(0, &mut old_key);
    let mut new_id = now.read(0, &mut new_key);
    loop {
        let order = match (old_id, new_id) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => (old_key.as_slice(), one).cmp(&(new_key.as_slice(), other)),
        };
        if let (true, Some(id)) = (order.is_lt(), old_id)
            && !went.put(&old_key, id)?
        {
            return Ok(false);
        }
        if let (true, Some(id)) = (order.is_gt(), new_id) {
            bytes += cost(&new_key, image.prefix().len());
            if !new_key.starts_with(image.prefix()) || bytes > PAGE_BYTES || !came.put(&new_key, id)? {
                return Ok(false);
            }
        }
        if order.is_le() {
            old += 1;
            old_id = image.read(old, &mut old_key);
        }
        if order.is_ge() {
            new += 1;
            new_id = now.read(new, &mut new_key);
        }
    }
    if (old, new) != (image.count(), now.count()) {
        return Ok(false);
    }
    let (mut came_image, mut went_image) = (Vec::new(), Vec::new());
    came.image(&mut came_image)?;
    went.image(&mut went_image)?;
    LeafPatch::encode(&came_image, &went_image, out);
    Ok(out.len() <= PATCH_BYTES_MAX)
}

/// The patch of an inner node whose children have these images now. `false` if it is worth a whole image, or if other
/// children have come or gone.
pub(crate) fn of_inner(
    inner: &Inner,
    base: &Base,
    references: &[ChildRef],
    bases: &[ChildRef],
    out: &mut Vec<u8>,
) -> Result<bool> {
    let now = inner.view()?;
    let made = base.clean.with(|bytes| {
        let image = NodeView::open(bytes)?;
        if image.count() != now.count() || image.level() != now.level() {
            return None;
        }
        let (mut old_key, mut new_key) = (Vec::new(), Vec::new());
        let same = (0..now.count()).all(|index| {
            let ids = (image.read(index, &mut old_key), now.read(index, &mut new_key));
            ids.0.is_some() && ids.0 == ids.1 && old_key == new_key
        });
        let mut old_bases = image.bases()?;
        let mut new_bases = bases.iter().copied();
        let mut changed = Vec::new();
        for (number, (old, new)) in (0..).zip(image.children()?.zip(references)) {
            let old_base = if old.is_patch { Some(old_bases.next()?) } else { None };
            let new_base = if new.is_patch { Some(new_bases.next()?) } else { None };
            if (old, old_base) != (*new, new_base) {
                changed.push(ChangedChild { number, child: *new, base: new_base });
            }
        }
        same.then_some(changed)
    })?;
    let Some(changed) = made else { return Ok(false) };
    encode_inner(now.level(), &changed, out);
    // Inner nodes are read once, and then are on the heap: their patches may be larger.
    Ok(out.len() <= 2 * PATCH_BYTES_MAX && u64::from(low_u16(to_u64(changed.len()))) == to_u64(changed.len()))
}
