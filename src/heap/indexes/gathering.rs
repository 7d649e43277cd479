//! Changes of key indexes that are gathered over many commits and applied together, while the trees have no readers.
//!
//! Owns: how many are gathered, and that several trees are changed at once. Never: decides when there are readers.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::thread;

use parking_lot::Mutex;

use crate::error::Result;
use crate::format::index;
use crate::heap::indexes::Indexes;
use crate::id::IndexNumber;
use crate::key_index::{Changes, Gathered, KeyTree};

/// Bytes of changes gathered before they are applied.
const GATHERED_BYTES_MAX: usize = 32 << 20;
/// A thread takes as long to start as so many changes to apply.
const CHANGES_OF_A_THREAD: usize = 4_096;

/// Changes waiting to be applied.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    pub(super) changes: BTreeMap<IndexNumber, Gathered>,
    /// Their bytes, and of indexes that were dropped meanwhile.
    bytes: usize,
    /// Whether several trees may be changed at once.
    at_once: bool,
}

/// A tree, and what is to be done with it.
struct Lent<'g> {
    number: IndexNumber,
    tree: KeyTree,
    gathered: &'g mut Gathered,
}

impl Lent<'_> {
    fn apply(mut self) -> (IndexNumber, KeyTree, Result<()>) {
        self.gathered.sort();
        let mut changes = Changes::new();
        self.gathered.fill(&mut changes);
        let result = self.tree.apply_sorted(&changes).map(drop);
        drop(changes);
        self.gathered.clear();
        (self.number, self.tree, result)
    }
}

impl Indexes {
    /// From now on changes are gathered, to be applied many at a time; the trees have no readers. With `at_once`, threads are started
    /// to change several trees. `end_gathering` ends this.
    pub(crate) fn begin_gathering(&mut self, at_once: bool) {
        self.gathering.get_or_insert_default().at_once = at_once;
    }

    /// Applies all gathered changes, and later ones immediately.
    pub(crate) fn end_gathering(&mut self) -> Result<()> {
        self.apply_gathered()?;
        self.gathering = None;
        Ok(())
    }

    fn apply_gathered(&mut self) -> Result<()> {
        let Some(mut gathering) = self.gathering.take() else { return Ok(()) };
        let mut lent = Vec::new();
        for (number, gathered) in gathering.changes.iter_mut().filter(|(_, gathered)| gathered.len() > 0) {
            self.note_changed(*number);
            match self.trees.remove(number) {
                Some(tree) => {
                    self.bytes = self.bytes.saturating_sub(tree.heap_bytes());
                    lent.push(Lent { number: *number, tree, gathered });
                }
                None => gathered.clear(),
            }
        }
        let applied = if gathering.at_once { apply_at_once(lent) } else { lent.into_iter().map(Lent::apply).collect() };
        let mut all = Ok(());
        for (number, tree, result) in applied {
            self.bytes += tree.heap_bytes();
            self.trees.insert(number, tree);
            let noted = self.note(number, result);
            all = all.and(noted);
        }
        gathering.bytes = 0;
        self.gathering = Some(gathering);
        all
    }

    pub(super) fn gather(&mut self, number: IndexNumber, changes: &[u8], file: &str) -> Result<()> {
        let Some(gathering) = &mut self.gathering else { return Ok(()) };
        let gathered = gathering.changes.entry(number).or_default();
        let before = gathered.heap_bytes();
        let (_, changes) = index::changes(changes).map_err(|malformed| malformed.at(file, 0))?;
        for change in changes {
            let change = change.map_err(|malformed| malformed.at(file, 0))?;
            gathered.push(change.key, change.id, change.put);
        }
        gathering.bytes += gathered.heap_bytes() - before;
        if gathering.bytes > GATHERED_BYTES_MAX {
            self.apply_gathered()?;
        }
        Ok(())
    }
}

/// Applies the changes of several trees, by as many threads as have enough to do and the machine runs at once.
fn apply_at_once(mut lent: Vec<Lent<'_>>) -> Vec<(IndexNumber, KeyTree, Result<()>)> {
    // The largest is taken first, from the end.
    lent.sort_by_key(|lent| lent.gathered.len());
    let of_their_own = lent.iter().filter(|lent| lent.gathered.len() >= CHANGES_OF_A_THREAD).count();
    let threads = of_their_own.min(thread::available_parallelism().map_or(1, usize::from)).saturating_sub(1);
    let (queue, done) = (Mutex::new(lent), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let Some(next) = queue.lock().pop() else { break };
            let applied = next.apply();
            done.lock().push(applied);
        }
    };
    thread::scope(|scope| {
        // Those that cannot be started are not missed.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let started: Vec<_> = (0..threads).filter_map(start).collect();
        work();
        for thread in started {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    done.into_inner()
}
