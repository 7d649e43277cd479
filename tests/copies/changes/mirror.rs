//! A copy of all sets, kept up to date by the changes alone.

use std::collections::BTreeMap;

use tenure::{ChangeKind, Changes, Commit, Error, RecordId, Seq, SetNumber, Store, View};

/// Records by set and ID.
pub(crate) type Records = BTreeMap<SetNumber, BTreeMap<RecordId, Vec<u8>>>;

/// A copy, and the commit that it has come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mirror {
    pub(crate) records: Records,
    pub(crate) position: Seq,
    /// Changes that were applied.
    pub(crate) applied: u64,
}

impl Mirror {
    /// Applies a commit. Each change must fit what is there: an insert is of a new record, an update of one that exists.
    pub(crate) fn apply(&mut self, commit: &Commit) {
        assert!(commit.seq() > self.position, "{} after {}", commit.seq(), self.position);
        self.position = commit.seq();
        for change in commit.changes() {
            let change = change.expect("a change");
            self.applied += 1;
            let (kind, set) = (change.kind(), change.set());
            let value = change.value().expect("reads").into_bytes().map(std::borrow::Cow::into_owned);
            match (kind, change.id()) {
                (ChangeKind::Insert | ChangeKind::Update, Some(id)) => {
                    // A large value that a later commit replaces is not there any more.
                    let before = self.records.entry(set).or_default().insert(id, value.unwrap_or_default());
                    assert_eq!(before.is_some(), kind == ChangeKind::Update, "{kind} of {id} in {}", commit.seq());
                }
                (ChangeKind::Delete, Some(id)) => {
                    let gone = self.records.get_mut(&set).and_then(|records| records.remove(&id));
                    assert!(gone.is_some(), "delete of {id} in {}", commit.seq());
                }
                (ChangeKind::CreateSet, None) => {
                    assert!(
                        self.records.insert(set, BTreeMap::new()).is_none(),
                        "creation of set {set} in {}",
                        commit.seq()
                    );
                }
                (ChangeKind::DropSet, None) => {
                    assert!(self.records.remove(&set).is_some(), "drop of set {set} in {}", commit.seq());
                }
                _ => {}
            }
        }
    }

    /// Applies everything that there is.
    pub(crate) fn follow(&mut self, changes: &mut Changes) -> Result<(), Error> {
        while let Some(commit) = changes.try_next()? {
            self.apply(&commit);
        }
        self.position = changes.passed();
        Ok(())
    }
}

/// What a view has of all sets.
pub(crate) fn records_of(store: &Store, view: &View) -> Records {
    let mut all = Records::new();
    for set in store.record_sets() {
        let records = view.scan(&set).map(|record| {
            let record = record.expect("reads");
            (record.id(), record.to_vec().expect("reads"))
        });
        all.insert(set.number(), records.collect());
    }
    all
}
