//! Views: a consistent state for as long as a reader holds it.

use std::fmt;
use std::sync::Arc;

use crate::catalogue::{Handle, Origin};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::entry::{ENTRIES_PER_PAGE, Entry, State as EntryState};
use crate::heap::{Answer, State, Walk};
use crate::id::{RecordId, Seq, SetNumber, to_u64, to_usize};
use crate::pins::Pin;
use crate::record_index::{Cell, LeafRef};
use crate::txn::{Lookup, Record};

/// Records that `get_many` looks up at once.
pub(super) const AHEAD: usize = 32;

/// A named set of records.
///
/// A handle stays valid when its set is renamed. If its set was dropped or cleared, the handle refers to the set that
/// now has its name; if there is none, writes and scans fail with `NoSuchSet`.
///
/// A handle from another opening of the store, or from a copy of it, is valid only while the set with its number still has
/// its name. Otherwise that set may be a different one, and every use of the handle fails with `NoSuchSet`: look the set up
/// by name again.
#[derive(Clone, Debug)]
pub struct RecordSet {
    origin: Origin,
    number: SetNumber,
    name: Arc<str>,
}

impl RecordSet {
    pub(crate) fn new(origin: Origin, number: SetNumber, name: Arc<str>) -> Self {
        Self { origin, number, name }
    }

    /// `OtherStore` if this set belongs to another store.
    pub(crate) fn check_store(&self, store: [u8; 16]) -> Result<()> {
        if self.origin.store == store { Ok(()) } else { Err(Error::OtherStore { set: self.name.to_string() }) }
    }

    /// What this handle knows about its set.
    #[inline]
    pub(crate) fn handle(&self) -> Handle<'_> {
        Handle { lineage: self.origin.lineage, number: self.number, name: &self.name }
    }

    /// The number of the set that this handle refers to in a state: its own, or if that set was dropped or cleared,
    /// that of the set with its name.
    pub(crate) fn number_in(&self, state: &State) -> Result<SetNumber> {
        self.check_store(state.catalogue.store())?;
        let found = state.catalogue.set_of_handle(&self.handle());
        found.ok_or_else(|| Error::NoSuchSet { name: self.name.to_string() })
    }

    /// The number of the set in a state. A set that was created after that state has no records in it.
    pub(crate) fn number_to_read(&self, state: &State) -> Result<SetNumber> {
        match self.number_in(state) {
            Err(Error::NoSuchSet { .. })
                if self.number >= state.catalogue.next_set()
                    && self.origin.lineage == state.catalogue.origin().lineage =>
            {
                Ok(self.number)
            }
            other => other,
        }
    }

    /// Its name when this handle was created.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number, never reused within the store.
    pub fn number(&self) -> SetNumber {
        self.number
    }
}

impl PartialEq for RecordSet {
    fn eq(&self, other: &Self) -> bool {
        (self.origin.store, self.number, &self.name) == (other.origin.store, other.number, &other.name)
    }
}

impl Eq for RecordSet {}

impl fmt::Display for RecordSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A consistent, read-only state of the store. It never blocks, and no commit changes what it sees.
///
/// Taking a view takes well under a microsecond. Threads can share it. While it exists, it keeps the space of what it
/// sees; [`Store::stats`](crate::Store::stats) lists views with their age and the space that they keep.
///
/// ```
/// let store = tenure::Store::in_memory()?;
/// let notes = store.record_set("notes")?;
/// let id = store.write(|tx| tx.insert(&notes, "old"))?;
/// let view = store.view();
/// store.write(|tx| tx.update(id, "new"))?;
/// assert_eq!(view.get(id)?.as_slice(), Some(&b"old"[..]));
/// assert_eq!(store.view().get(id)?.as_slice(), Some(&b"new"[..]));
/// # Ok::<(), tenure::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct View {
    pin: Arc<Pin<State>>,
}

impl View {
    pub(crate) fn new(engine: &Engine) -> Self {
        Self { pin: engine.heap.view() }
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        self.pin.state()
    }

    /// The last commit that this view sees.
    pub fn seq(&self) -> Seq {
        self.pin.state().seq
    }

    /// The record. `Deleted` and `NeverAllocated` are errors here. One cache miss for the entry, one for the record.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "a third faster: the misses of several reads overlap; see docs/decisions")]
    pub fn get(&self, id: RecordId) -> Result<Record<'_>> {
        if let Some((found, bytes)) = self.pin.state().lookup_plain(id) {
            return Ok(Record::plain(self.pin.state(), found, bytes));
        }
        self.get_any(id)
    }

    #[cold]
    fn get_any(&self, id: RecordId) -> Result<Record<'_>> {
        self.live(id, self.pin.state().lookup(id)?)
    }

    #[cold]
    fn get_read(&self, id: RecordId, bytes: Vec<u8>) -> Result<Record<'_>> {
        self.live(id, self.pin.state().lookup_read(id, bytes)?)
    }

    fn live(&self, id: RecordId, answer: Answer) -> Result<Record<'_>> {
        match self.shown(id, answer)? {
            Lookup::Live(record) => Ok(record),
            Lookup::Deleted => Err(Error::Deleted { id }),
            Lookup::NeverAllocated => Err(Error::NeverAllocated { id }),
        }
    }

    fn shown(&self, id: RecordId, answer: Answer) -> Result<Lookup<'_>> {
        Ok(match answer {
            Answer::Live(_) if is_hidden(self.pin.state(), id) => Lookup::NeverAllocated,
            Answer::Live(found) => Lookup::Live(Record::in_view(self.pin.state(), found)?),
            Answer::Deleted => Lookup::Deleted,
            Answer::NeverAllocated => Lookup::NeverAllocated,
        })
    }

    /// The record, or whether its ID was deleted or never assigned. Chunks of large values are not records of their
    /// own.
    pub fn lookup(&self, id: RecordId) -> Result<Lookup<'_>> {
        self.shown(id, self.pin.state().lookup(id)?)
    }

    /// The record, if it belongs to the set; `WrongSet` if it belongs to another.
    pub fn get_in(&self, set: &RecordSet, id: RecordId) -> Result<Record<'_>> {
        set.check_store(self.pin.state().catalogue.store())?;
        let record = self.get(id)?;
        let number = self.pin.state().root.set_of_slot(id.slot());
        if number == set.number_in(self.pin.state())? {
            return Ok(record);
        }
        let got = self.pin.state().catalogue.set(number).map(|set| set.name.to_string()).unwrap_or_default();
        Err(Error::WrongSet { id, expected: set.name().to_owned(), got })
    }

    /// Reads many records, in the order of the IDs. Looks up several at once, so that their cache misses overlap.
    pub fn get_many(&self, ids: &[RecordId]) -> Vec<Result<Record<'_>>> {
        let mut found = Vec::with_capacity(ids.len());
        for some in ids.chunks(AHEAD) {
            self.pin.state().look_ahead(some.iter().map(|id| id.slot()));
            let read = self.pin.state().read_ahead(some);
            if read.is_empty() {
                found.extend(some.iter().map(|id| self.get(*id)));
                continue;
            }
            found.extend(some.iter().zip(read).map(|(id, read)| match read {
                None => self.get(*id),
                Some(bytes) => self.get_read(*id, bytes),
            }));
        }
        found
    }

    /// The set that a slot's records belong to; `None` if the slot was never used.
    pub fn set_of(&self, id: RecordId) -> Option<RecordSet> {
        let number = self.pin.state().root.set_of_slot(id.slot());
        let set = self.pin.state().catalogue.set(number).filter(|_| number >= SetNumber::FIRST_USER)?;
        Some(RecordSet::new(self.pin.state().catalogue.origin(), number, Arc::clone(&set.name)))
    }

    /// The number of records of a set; 0 if the set belongs to another store.
    pub fn len(&self, set: &RecordSet) -> u64 {
        let number = set.number_in(self.pin.state());
        number.ok().and_then(|number| self.pin.state().catalogue.set(number)).map_or(0, |set| set.records)
    }

    /// Whether a set has no records.
    pub fn is_empty(&self, set: &RecordSet) -> bool {
        self.len(set) == 0
    }

    /// The records of a set in the order of their IDs; one error if the set belongs to another store, or is gone.
    ///
    /// ```
    /// let store = tenure::Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// store.write(|tx| { tx.insert(&notes, "a")?; tx.insert(&notes, "b") })?;
    /// let view = store.view();
    /// let all: Result<Vec<_>, _> = view.scan(&notes).map(|record| record.and_then(|r| r.to_vec())).collect();
    /// assert_eq!(all?, [b"a", b"b"]);
    /// # Ok::<(), tenure::Error>(())
    /// ```
    pub fn scan(&self, set: &RecordSet) -> Scan<'_> {
        let state = self.pin.state();
        let (set, refused) = match set.number_to_read(state) {
            Ok(number) => (number, None),
            Err(error) => (set.number(), Some(error)),
        };
        Scan { refused, ..Scan::new(state, set) }
    }
}

#[inline]
pub(crate) fn is_hidden(state: &State, id: RecordId) -> bool {
    state.root.set_of_slot(id.slot()) < SetNumber::FIRST_USER
}

/// Iterates over the records of a set in the order of their IDs. Ends after an error.
#[derive(Debug)]
pub struct Scan<'v> {
    state: &'v Arc<State>,
    set: SetNumber,
    page: u64,
    entries: Vec<Entry>,
    index: usize,
    from: u64,
    refused: Option<Error>,
    failed: bool,
    walk: Box<Walk>,
}

impl<'v> Scan<'v> {
    pub(super) fn new(state: &'v Arc<State>, set: SetNumber) -> Self {
        Self {
            state,
            set,
            page: 0,
            entries: Vec::new(),
            index: 0,
            from: 0,
            refused: None,
            failed: false,
            walk: Box::default(),
        }
    }

    /// Starts at this ID, or at the first one after it.
    #[must_use]
    pub fn from(mut self, id: RecordId) -> Self {
        self.from = id.slot();
        self.page = id.slot() / to_u64(ENTRIES_PER_PAGE);
        self
    }

    /// Goes forward to this ID, or to the first one after it.
    pub(super) fn skip_to(&mut self, id: RecordId) {
        self.from = self.from.max(id.slot());
        let page = self.from / to_u64(ENTRIES_PER_PAGE);
        if page >= self.page {
            (self.page, self.entries, self.index) = (page, Vec::new(), 0);
        }
    }

    fn next_found(&mut self) -> Result<Option<Record<'v>>> {
        if let Some(error) = self.refused.take() {
            return Err(error);
        }
        loop {
            while let Some(entry) = self.entries.get(self.index) {
                let slot = (self.page - 1) * to_u64(ENTRIES_PER_PAGE) + to_u64(self.index);
                self.index += 1;
                if let (EntryState::Live(location), true) = (entry.state(), slot >= self.from) {
                    if let Some((found, bytes)) =
                        self.state.read_plain(location).filter(|(found, _)| found.id.slot() == slot)
                    {
                        return Ok(Some(Record::plain(self.state, found, bytes)));
                    }
                    let found = self.state.read(slot, location)?;
                    return Record::in_view(self.state, found).map(Some);
                }
            }
            if !self.next_page()? {
                return Ok(None);
            }
        }
    }

    /// Goes on to the next page of the record index, if there is one.
    #[cold]
    fn next_page(&mut self) -> Result<bool> {
        (self.entries, self.index) = (Vec::new(), 0);
        let root = &self.state.root;
        // A page without a record is passed without a look at its entries, unless it is damaged, which the caller has to know.
        let is_empty = |cell: &Cell| cell.descriptor_now().live == 0 && !matches!(cell.leaf, LeafRef::Damaged(_));
        let set = self.set.0;
        let mut pages = self.page..root.page_end();
        let next = pages.find_map(|page| root.cell(page).filter(|cell| cell.descriptor.set == set && !is_empty(cell)));
        self.page = pages.start;
        let Some(cell) = next else { return Ok(false) };
        self.entries = cell.entries()?;
        self.entries.truncate(to_usize(to_u64(ENTRIES_PER_PAGE)));
        self.walk.ask(self.state, &self.entries);
        Ok(true)
    }
}

impl<'v> Iterator for Scan<'v> {
    type Item = Result<Record<'v>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let result = self.next_found();
        self.failed = result.is_err();
        result.transpose()
    }
}
