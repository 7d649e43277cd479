//! The directory pages of a root, in groups that states share.
//!
//! Owns: what of a root is copied for a change that a view must not see: one group, and a reference to each. Never: knows what a
//! directory page has.
//! Invariant: what follows the last directory page in its group is empty.

use std::sync::Arc;

use crate::record_index::mid::Mid;

/// Directory pages of a group: those of two million slots. With a hundred million there are some fifty groups.
const MIDS_PER_GROUP: usize = 32;

type Group = [Arc<Mid>; MIDS_PER_GROUP];

/// Directory pages, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mids {
    groups: Vec<Arc<Group>>,
    len: usize,
}

impl Mids {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Arc<Mid>> {
        self.padded(index).filter(|_| index < self.len)
    }

    /// The same for those who read an entry: beyond the last directory page there may be an empty one.
    #[inline]
    pub(super) fn padded(&self, index: usize) -> Option<&Arc<Mid>> {
        self.groups.get(index / MIDS_PER_GROUP)?.get(index % MIDS_PER_GROUP)
    }

    /// A directory page in a group of its own, which is copied if another state has it.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Arc<Mid>> {
        if index >= self.len {
            return None;
        }
        Arc::make_mut(self.groups.get_mut(index / MIDS_PER_GROUP)?).get_mut(index % MIDS_PER_GROUP)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Mid>> {
        self.groups.iter().flat_map(|group| group.iter()).take(self.len)
    }

    pub(super) fn push(&mut self, mid: Arc<Mid>) {
        let index = self.len;
        self.extend_to(index + 1);
        if let Some(place) = self.get_mut(index) {
            *place = mid;
        }
    }

    /// Adds empty ones. All of them are the same one: a high page number costs little memory for those before it.
    pub(super) fn extend_to(&mut self, len: usize) {
        let groups = len.div_ceil(MIDS_PER_GROUP);
        if groups > self.groups.len() {
            let empty = Arc::new(Mid::empty());
            let group: Arc<Group> = Arc::new(std::array::from_fn(|_| Arc::clone(&empty)));
            self.groups.resize(groups, group);
        }
        self.len = self.len.max(len);
    }

    /// Heap bytes, without those of the directory pages.
    pub(super) fn heap_bytes(&self) -> usize {
        self.groups.len() * (size_of::<Arc<Group>>() + size_of::<Group>() + 32)
    }

    /// Groups that another root does not have as well.
    #[cfg(test)]
    pub(super) fn groups_besides(&self, other: &Self) -> usize {
        let has = |index: usize, own: &Arc<Group>| other.groups.get(index).is_some_and(|other| Arc::ptr_eq(own, other));
        self.groups.iter().enumerate().filter(|(index, own)| !has(*index, own)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::descriptor::DESCRIPTORS_PER_PAGE;
    use crate::format::entry::{ENTRIES_PER_PAGE, Entry};
    use crate::id::{SetNumber, to_u64};
    use crate::record_index::{Root, Tree};

    const PAGES_PER_GROUP: u64 = to_u64(MIDS_PER_GROUP * DESCRIPTORS_PER_PAGE);

    /// Of two roots: groups, directory pages and blocks of cells that are not the same.
    fn differences(one: &Root, other: &Root) -> (usize, usize, usize) {
        let pairs = || one.mids.iter().zip(other.mids.iter());
        let mids = pairs().filter(|(one, other)| !Arc::ptr_eq(one, other)).count();
        let blocks = pairs().map(|(one, other)| one.cells.blocks_besides(&other.cells)).sum();
        (one.mids.groups_besides(&other.mids), mids, blocks)
    }

    #[test]
    fn a_change_that_a_view_must_not_see_copies_one_group_and_one_block() {
        let mut tree = Tree::new(Root::default());
        let pages = 3 * PAGES_PER_GROUP - 5;
        for page in 0..pages {
            tree.assign(page, SetNumber(1)).unwrap();
        }
        tree.set(7, Entry::freed_after(1)).unwrap();
        for page in [0, 1, 200, PAGES_PER_GROUP, PAGES_PER_GROUP + 17, pages - 1] {
            let view = Arc::clone(tree.root());
            tree.pin();
            let slot = page * to_u64(ENTRIES_PER_PAGE);
            tree.set(slot, Entry::freed_after(2)).unwrap();
            assert_eq!(differences(&view, tree.root()), (1, 1, 1), "page {page}");
            assert_eq!(view.entry(slot).unwrap(), Entry::NEVER);
            assert_eq!(tree.root().entry(slot).unwrap(), Entry::freed_after(2));
            // As long as no view has the block, it is changed in place.
            drop(view);
            tree.set_held(0);
            assert!(tree.take_restructured(), "readers need the copies");
            tree.set(slot + 1, Entry::freed_after(3)).unwrap();
            assert!(!tree.take_restructured(), "page {page}");
        }
        assert_eq!(tree.root().entry(7).unwrap(), Entry::freed_after(1));
    }

    #[test]
    fn what_follows_the_last_directory_page_does_not_exist() {
        let mut mids = Mids::default();
        assert!(mids.get(0).is_none() && mids.get_mut(0).is_none());
        mids.extend_to(40);
        mids.extend_to(3);
        assert_eq!((mids.len(), mids.iter().count()), (40, 40));
        assert!(mids.get(39).is_some() && mids.get(40).is_none() && mids.get_mut(40).is_none());
        let mid = Arc::new(Mid::default());
        mids.push(Arc::clone(&mid));
        assert!(Arc::ptr_eq(mids.get(40).unwrap(), &mid) && mids.get(41).is_none());
    }
}
