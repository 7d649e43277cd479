//! Probing the leaves that changes will need, before the changes are applied.
//!
//! Owns: reading and copying leaves in page segments, and finding keys that are already taken. Never: decides that a
//! key is duplicated; the caller with exclusive access to the tree does.

use crate::error::Result;
use crate::format::PAGE_BYTES;
use crate::format::node::{KeyEntry, NODE_SLOT_BYTES};
use crate::key_index::apply::CHANGES_BESIDE_MAX;
use crate::key_index::change::Change;
use crate::key_index::ledger::Prepared;
use crate::key_index::node::{Child, Node};
use crate::key_index::root::{KeyRoot, childless};
use crate::key_index::runs::{AHEAD, Runs, fill_runs, look_ahead};

/// The result of a probe.
#[derive(Debug)]
pub(crate) struct Probed {
    /// Leaves that the changes will need, so that applying them reads nothing.
    pub(crate) leaves: Prepared,
    /// No key to be inserted belongs to another record: neither in this state, nor among the changes.
    pub(crate) is_clear: bool,
}

impl KeyRoot {
    /// Reads, checks and copies the leaves that these changes, which ascend, will need. For a unique index it also
    /// looks for keys that are taken, which reads neighbouring leaves if the entries of a key may continue there.
    pub(crate) fn probe(&self, changes: &[Change<'_>], is_unique: bool, keeps_beside: bool) -> Result<Probed> {
        // Two changes of the same key are left to the caller, who sees all of them together.
        let is_clear =
            is_unique && changes.windows(2).all(|pair| !matches!(pair, [a, b] if a.entry.key == b.entry.key));
        let mut probe =
            Probe { root: self, is_unique, keeps_beside, probed: Probed { leaves: Prepared::new(), is_clear } };
        // Without changes no leaf is needed, not even the root.
        if !changes.is_empty() {
            probe.node(&self.root, changes)?;
        }
        Ok(probe.probed)
    }
}

struct Probe<'r> {
    root: &'r KeyRoot,
    is_unique: bool,
    /// See the ledger.
    keeps_beside: bool,
    probed: Probed,
}

impl Probe<'_> {
    fn node(&mut self, child: &Child, changes: &[Change<'_>]) -> Result<()> {
        let Some(inner) = child.as_inner(&self.root.segments)? else { return self.leaf(child, changes) };
        let mut runs = Runs::new();
        fill_runs(inner, changes, &mut runs)?;
        for part in runs.chunks(AHEAD) {
            look_ahead(inner, part);
            for run in part {
                self.node(inner.children.get(run.child).ok_or_else(childless)?, run.changes)?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, child: &Child, changes: &[Change<'_>]) -> Result<()> {
        if let (Node::CleanLeaf(_) | Node::Patched(_), Some(clean)) = (&child.node, child.saved()) {
            // A change or two stay beside the image, if that has room.
            let bytes: usize = changes.iter().map(|change| NODE_SLOT_BYTES + change.entry.key.len() + 8).sum();
            let is_copied = !self.keeps_beside
                || !child.is_mapped()
                || changes.len() > CHANGES_BESIDE_MAX
                || child.bytes() + bytes > PAGE_BYTES;
            let leaf = if is_copied {
                Some(child.load_leaf()?)
            } else {
                child.check_leaf()?;
                None
            };
            self.probed.leaves.push((clean.number(), leaf));
        }
        if self.is_unique {
            for change in changes.iter().filter(|change| change.insert) {
                let holder = self.holder(child, change.entry.key)?;
                self.probed.is_clear &= holder.is_none_or(|holder| holder == change.entry.id);
            }
        }
        Ok(())
    }

    /// The record with a key whose entries start in this leaf, or next to it.
    fn holder(&self, child: &Child, key: &[u8]) -> Result<Option<u64>> {
        let wanted = KeyEntry { key, id: 0 };
        if child.has_layers() {
            return self.root.first(key);
        }
        let within = child.with_leaf(|view| {
            let at = view.search(&wanted, false)?;
            if at == 0 || at == view.count() {
                return Some(None);
            }
            Some(Some(if view.has_key(at, key)? { Some(view.id(at)?) } else { None }))
        })?;
        within.map_or_else(|| self.root.first(key), Ok)
    }
}
