//! A commit as it is shown, and its changes.
//!
//! Owns: the order of changes, their kinds and values. Never: reads a value before it is asked for.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::changes::Context;
use crate::changes::contents::{Fate, Last, Rare, SetOf, freed, set_in};
use crate::changes::reader::Found;
use crate::changes::rows::Rows;
use crate::changes::segments::{Segments, is_gone};
use crate::changes::value::{ChangeValue, Parts};
use crate::changes::walk::Walk;
use crate::error::Result;
use crate::format::Malformed;
use crate::format::item::{FIRST_CONTROL_KIND, Kind, REPLACES, UNASKED};
use crate::heap::Answer;
use crate::id::{RecordId, Seq, SetNumber};
use crate::log::Segment;
use crate::txn::Record;

/// What happened to a record or a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// A record was inserted.
    Insert,
    /// A record got a new value.
    Update,
    /// A record was deleted.
    Delete,
    /// A set was created.
    CreateSet,
    /// A set was renamed; [`Change::set_name`] is its new name.
    RenameSet,
    /// A set was dropped with all its records, for which no changes follow. A set that is
    /// [cleared](crate::Store::clear_set) is dropped, and created under the same name in the same commit.
    DropSet,
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::CreateSet => "create set",
            Self::RenameSet => "rename set",
            Self::DropSet => "drop set",
        })
    }
}

/// A commit, and what it changed. Its values are read from the log when they are asked for; it keeps one segment from being
/// deleted while it exists.
pub struct Commit {
    context: Arc<Context>,
    segment: Arc<Segment>,
    offset: u64,
    bytes: u32,
    seq: Seq,
    time_micros: u64,
    rare: Option<Box<Rare>>,
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").field("seq", &self.seq()).finish_non_exhaustive()
    }
}

impl Commit {
    #[inline]
    pub(super) fn new(context: &Arc<Context>, found: Found, rare: Option<Box<Rare>>) -> Self {
        let Found { segment, offset, bytes, seq, time_micros, .. } = found;
        Self { context: Arc::clone(context), segment, offset, bytes, seq, time_micros, rare }
    }

    pub(super) fn segments(&self) -> &Segments {
        &self.context.segments
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// Where the places of replaced versions are.
    pub(super) fn rows(&self) -> &[Rows] {
        self.rare.as_deref().map_or(&[], |rare| &rare.replaced)
    }

    /// Its number.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// When it was written, by the clock of its machine then. It orders nothing: clocks jump.
    pub fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.time_micros)
    }

    /// The note that its transaction added with [`Transaction::note`](crate::Transaction::note).
    ///
    /// # Errors
    /// Those of reading it, where the log is not mapped.
    pub fn note(&self) -> Result<Option<Cow<'_, [u8]>>> {
        let read = |note: &Range<u64>| self.segment.read(note.start, note.end - note.start);
        self.rare.as_deref().and_then(|rare| rare.note.as_ref()).map(read).transpose()
    }

    /// Bytes that it takes in the log.
    pub fn bytes(&self) -> u64 {
        self.bytes.into()
    }

    /// Its changes: those of sets and values in the order in which they were made, then the deleted records. A record that the
    /// transaction changed more than once comes once, with its last value; one that it inserted and deleted does not come.
    #[inline]
    pub fn changes(&self) -> CommitChanges<'_> {
        CommitChanges {
            commit: self,
            items: Walk::new(&self.segment, self.offset, self.bytes),
            run: SetNumber(0),
            is_shown: false,
            set_of: SetOf::default(),
            freed: Vec::new(),
        }
    }

    #[inline]
    fn fate(&self, id: RecordId) -> Option<&Fate> {
        self.rare.as_deref()?.fates.as_ref()?.get(&id)
    }
}

/// A change by a commit.
#[derive(Clone)]
pub struct Change<'c> {
    commit: &'c Commit,
    kind: ChangeKind,
    set: SetNumber,
    id: Option<RecordId>,
    payload: Cow<'c, [u8]>,
    is_head: bool,
}

impl fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, set, id, .. } = self;
        f.debug_struct("Change").field("kind", kind).field("set", set).field("id", id).finish_non_exhaustive()
    }
}

impl<'c> Change<'c> {
    pub(super) fn commit(&self) -> &'c Commit {
        self.commit
    }

    /// What happened.
    pub fn kind(&self) -> ChangeKind {
        self.kind
    }

    /// The number of the set.
    pub fn set(&self) -> SetNumber {
        self.set
    }

    /// The name of the set, as far as the feed has come: the one that it has now, until a change renames it. Empty for a set that
    /// was created before the feed began and is gone now.
    pub fn set_name(&self) -> &'c str {
        self.commit.context.sets.name(self.set)
    }

    /// The record; `None` for a change of a set.
    pub fn id(&self) -> Option<RecordId> {
        self.id
    }

    /// The new value of a record that was inserted or updated.
    ///
    /// A value above 65,504 bytes lies in parts of its own, in commits before this one. They are reclaimed some time after
    /// a later commit has replaced or deleted the record: then this is [`ChangeValue::Gone`], and that later change follows.
    ///
    /// # Errors
    /// Those of reading a large value.
    #[inline]
    pub fn value(&self) -> Result<ChangeValue<'c>> {
        match (self.kind, self.id) {
            (ChangeKind::Insert | ChangeKind::Update, Some(id)) if self.is_head => {
                let value = self.commit.large(id, &self.payload)?;
                Ok(value.map_or(ChangeValue::Gone, |bytes| ChangeValue::Bytes(Cow::Owned(bytes))))
            }
            (ChangeKind::Insert | ChangeKind::Update, Some(_)) => Ok(ChangeValue::Bytes(self.payload.clone())),
            _ => Ok(ChangeValue::Nothing),
        }
    }
}

impl Commit {
    /// A value in parts; `None` if they are not there any more.
    fn large(&self, id: RecordId, head: &[u8]) -> Result<Option<Vec<u8>>> {
        if let Some(rare) = &self.rare {
            let parts = match rare.parts.get() {
                Some(parts) => parts,
                None => {
                    let found = Parts::in_frames(&self.context.segments, &rare.frames)?;
                    rare.parts.get_or_init(|| found)
                }
            };
            if let Some(value) = parts.value(head)? {
                return Ok(Some(value));
            }
        }
        // The feed began after its parts, or they were moved.
        let state = self.context.segments.engine.heap.pin();
        let found = match state.lookup(id) {
            Ok(Answer::Live(found)) if found.seq == self.seq() => found,
            Ok(_) => return Ok(None),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        match Record::shared(state, found)?.to_vec() {
            Ok(bytes) => Ok(Some(bytes)),
            // Beside another process, which has deleted it.
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An item: offset, kind, flags, ID and payload, in place or copied.
type Read<'c> = (u64, u8, u8, u64, Cow<'c, [u8]>);

/// The changes of a commit, one after the other.
pub struct CommitChanges<'c> {
    commit: &'c Commit,
    items: Walk<'c>,
    run: SetNumber,
    /// Whether changes of its records are shown.
    is_shown: bool,
    set_of: SetOf,
    /// Deleted records of the current item, in reverse.
    freed: Vec<RecordId>,
}

impl fmt::Debug for CommitChanges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitChanges").field("seq", &self.commit.seq()).finish_non_exhaustive()
    }
}

impl<'c> CommitChanges<'c> {
    fn change(&self, kind: ChangeKind, set: SetNumber, id: Option<RecordId>, payload: Cow<'c, [u8]>) -> Change<'c> {
        Change { commit: self.commit, kind, set, id, payload, is_head: false }
    }

    fn deleted(&mut self, id: RecordId) -> Option<Change<'c>> {
        let (commit, context) = (self.commit, &self.commit.context);
        let set = self.set_of.find(&context.segments.engine, id, &context.sets);
        let is_deleted = commit.fate(id).is_none_or(|fate| fate.last == Last::Deleted && !fate.is_new);
        let is_shown = is_deleted && context.sets.shows(set);
        is_shown.then(|| self.change(ChangeKind::Delete, set, Some(id), Cow::Borrowed(&[])))
    }

    #[inline]
    fn next_item(&mut self) -> Result<Option<Read<'c>>> {
        let commit = self.commit;
        let damaged = |malformed: Malformed| malformed.at(commit.segment.name(), commit.offset);
        if self.items.is_mapped() {
            return match self.items.next_mapped() {
                Some(Ok((offset, item))) => {
                    Ok(Some((offset, item.kind, item.flags, item.raw_id, Cow::Borrowed(item.payload))))
                }
                Some(Err(malformed)) => Err(damaged(malformed)),
                None => Ok(None),
            };
        }
        let item = self.items.next()?.transpose().map_err(damaged)?;
        Ok(item.map(|(offset, item)| (offset, item.kind, item.flags, item.raw_id, Cow::Owned(item.payload.to_vec()))))
    }

    #[inline]
    fn put(&self, (offset, kind, flags, raw_id, payload): Read<'c>) -> Option<Change<'c>> {
        let id = RecordId::from_u64(raw_id)?;
        let mut is_new = flags & REPLACES == 0;
        if let Some(fate) = self.commit.fate(id) {
            if fate.last != Last::Put(offset) {
                return None;
            }
            is_new = fate.is_new;
        }
        let is_head = kind == Kind::Head as u8;
        let kind = if is_new { ChangeKind::Insert } else { ChangeKind::Update };
        Some(Change { commit: self.commit, kind, set: self.run, id: Some(id), payload, is_head })
    }

    /// The records that follow belong to the set with which the item begins.
    #[inline]
    fn begin_run(&mut self, payload: &[u8]) {
        self.run = set_in(payload);
        self.is_shown = self.commit.context.sets.shows(self.run);
    }

    /// The next record of a commit that is mapped, up to the next item that is neither one nor begins a run of them.
    #[inline]
    fn next_record(&mut self) -> Option<Change<'c>> {
        loop {
            while let Some((offset, item)) = self.items.next_record() {
                if self.is_shown
                    && let Some(change) =
                        self.put((offset, item.kind, item.flags, item.raw_id, Cow::Borrowed(item.payload)))
                {
                    return Some(change);
                }
            }
            let run = self.items.next_run()?;
            self.begin_run(run.payload);
        }
    }

    fn step(&mut self) -> Result<Option<Change<'c>>> {
        loop {
            while let Some(id) = self.freed.pop() {
                if let Some(change) = self.deleted(id) {
                    return Ok(Some(change));
                }
            }
            if let Some(change) = self.next_record() {
                return Ok(Some(change));
            }
            let Some(item) = self.next_item()? else { return Ok(None) };
            let (_, kind, flags, ..) = item;
            if kind < FIRST_CONTROL_KIND {
                if self.is_shown
                    && let Some(change) = self.put(item)
                {
                    return Ok(Some(change));
                }
                continue;
            }
            let payload = item.4;
            let kind = match Kind::from_u8(kind) {
                Some(Kind::Run) => {
                    self.begin_run(&payload);
                    continue;
                }
                Some(Kind::Frees) if flags & UNASKED == 0 => {
                    self.freed = freed(&payload).collect();
                    self.freed.reverse();
                    continue;
                }
                Some(Kind::CreateSet) => ChangeKind::CreateSet,
                Some(Kind::RenameSet) => ChangeKind::RenameSet,
                Some(Kind::DropSet) => ChangeKind::DropSet,
                _ => continue,
            };
            let set = set_in(&payload);
            if self.commit.context.sets.shows(set) {
                return Ok(Some(self.change(kind, set, None, Cow::Borrowed(&[]))));
            }
        }
    }
}

impl<'c> Iterator for CommitChanges<'c> {
    type Item = Result<Change<'c>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.freed.is_empty()
            && let Some(change) = self.next_record()
        {
            return Some(Ok(change));
        }
        if self.items.is_over() && self.freed.is_empty() {
            return None;
        }
        self.step().transpose()
    }
}
