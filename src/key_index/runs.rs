//! Grouping changes by child of an inner node, and prefetching children before they are worked on.
//!
//! Changes of many keys touch many leaves, each of which is a cache miss. Prefetching several of them before working on
//! the first lets the processor wait for all of them at once.

use smallvec::SmallVec;

use crate::error::Result;
use crate::key_index::change::Change;
use crate::key_index::glance;
use crate::key_index::node::{Inner, not_inner};

/// Children prefetched before the first of them is worked on.
pub(crate) const AHEAD: usize = 16;

/// Changes that belong to one child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'c> {
    pub(crate) child: usize,
    pub(crate) changes: &'c [Change<'c>],
}

/// Runs of changes.
pub(crate) type Runs<'c> = SmallVec<[Run<'c>; 32]>;

/// Groups the changes, which ascend, into `runs` by the child that they belong to. Not returned as a result, since
/// moving many of them would take longer.
pub(crate) fn fill_runs<'c>(inner: &Inner, mut changes: &'c [Change<'c>], runs: &mut Runs<'c>) -> Result<()> {
    let view = inner.view()?;
    while let Some(first) = changes.first() {
        let child = view.search(&first.entry, true).ok_or_else(not_inner)?.saturating_sub(1);
        let end = if changes.len() == 1 || child + 1 >= inner.children.len() {
            changes.len()
        } else {
            let below = |change: &Change<'_>| view.is_below(&change.entry, child + 1).unwrap_or_default();
            // Most runs are short; the first change belongs here in any case.
            let near = 1 + changes.iter().skip(1).take(7).take_while(|change| below(change)).count();
            if near < 8 { near } else { changes.partition_point(below).max(near) }
        };
        let (mine, others) = changes.split_at(end);
        runs.push(Run { child, changes: mine });
        changes = others;
    }
    Ok(())
}

/// Prefetches what the search for the first change of each run will need. Changes nothing.
pub(crate) fn look_ahead(inner: &Inner, runs: &[Run<'_>]) {
    if runs.len() < 2 {
        return;
    }
    let all = runs.iter().filter_map(|run| inner.children.get(run.child).zip(run.changes.first()));
    glance::look_ahead(all.map(|(child, change)| (child, change.entry)));
}
