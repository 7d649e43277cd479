//! The catalogue: record sets, marks, and streams of chunks that wait for their head.
//!
//! Owns: names and numbers of sets, their counts. Never: knows where a record lies.
//! Invariant: a set's number is never given to another set.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::Corruption;
use crate::error::Error;
use crate::error::Result;
use crate::format::descriptor::PageRef;
use crate::format::index::IndexDefinition;
use crate::format::index::IndexRow;
use crate::format::manifest::MarkRow;
use crate::format::manifest::RaisedRow;
use crate::format::manifest::SetRow;
use crate::format::manifest::Snapshot;
use crate::format::manifest::StreamRow;
use crate::id::IndexNumber;
use crate::id::RecordId;
use crate::id::Seq;
use crate::id::SetNumber;

/// The longest name of a set or mark, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// A record set.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) name: Arc<str>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) changed: Seq,
}

/// A key index.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    pub(crate) definition: Arc<IndexDefinition>,
    /// Whether its entries are all there.
    pub(crate) is_ready: bool,
    /// What was damaged when it was read last. It is not ready until it is built again.
    pub(crate) damage: Option<Arc<Corruption>>,
}

/// Chunks in a part that is shared between states.
const CHUNKS_PER_PART: usize = 4096;

/// Chunks of one stream. Full parts are shared, so that a state that still holds the list does not make it be copied
/// with every commit.
#[derive(Debug, Clone, Default)]
struct Chunks {
    full: Vec<Arc<[RecordId]>>,
    rest: Vec<RecordId>,
}

impl Chunks {
    fn push(&mut self, chunk: RecordId) {
        self.rest.push(chunk);
        if self.rest.len() == CHUNKS_PER_PART {
            self.full.push(Arc::from(std::mem::take(&mut self.rest)));
        }
    }

    fn iter(&self) -> impl Iterator<Item = RecordId> {
        self.full.iter().flat_map(|part| part.iter()).chain(&self.rest).copied()
    }
}

/// What the store holds beside records.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    store: [u8; 16],
    sets: BTreeMap<SetNumber, Set>,
    marks: BTreeMap<String, Seq>,
    streams: Arc<BTreeMap<u64, Chunks>>,
    indexes: BTreeMap<IndexNumber, Index>,
    next_index: IndexNumber,
    next_set: SetNumber,
    next_stream: u64,
    /// Next counts of slots whose records were live in a state that was gone back to, and were deleted after it.
    raised: Arc<BTreeMap<u64, u32>>,
}

impl Default for Catalogue {
    fn default() -> Self {
        let mut catalogue = Self {
            store: [0; 16],
            sets: BTreeMap::new(),
            marks: BTreeMap::new(),
            streams: Arc::default(),
            indexes: BTreeMap::new(),
            next_index: IndexNumber(1),
            next_set: SetNumber::FIRST_USER,
            next_stream: 1,
            raised: Arc::default(),
        };
        catalogue.create(SetNumber::CHUNKS, "");
        catalogue
    }
}

/// Checks a name for a set or mark.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 255 bytes"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(Error::BadName { what, name: name.chars().take(64).collect(), why })
}

impl Catalogue {
    /// The catalogue of a saved snapshot.
    pub(crate) fn from_snapshot(snapshot: &Snapshot, store: [u8; 16]) -> Self {
        let mut catalogue = Self { store, ..Self::default() };
        for row in &snapshot.sets {
            let SetRow { number, name, records, bytes, changed } = row;
            let (name, records, bytes, changed) = (Arc::from(name.as_str()), *records, *bytes, *changed);
            catalogue.sets.insert(*number, Set { name, records, bytes, changed });
        }
        catalogue.marks = snapshot.marks.iter().map(|row| (row.name.clone(), row.seq)).collect();
        for row in &snapshot.streams {
            Arc::make_mut(&mut catalogue.streams).entry(row.stream).or_default();
            for chunk in row.chunks.iter().filter_map(|raw| RecordId::from_u64(*raw)) {
                catalogue.stream(row.stream, chunk);
            }
        }
        for row in &snapshot.indexes {
            catalogue.create_index(&Arc::new(row.definition.clone()), row.ready);
        }
        for (number, damage) in snapshot.damaged_indexes() {
            catalogue.damage_index(number, Arc::new(damage));
        }
        catalogue.next_index = catalogue.next_index.max(IndexNumber(snapshot.next_index));
        catalogue.next_set = SetNumber(snapshot.next_set.max(SetNumber::FIRST_USER.0));
        catalogue.next_stream = snapshot.next_stream.max(1);
        catalogue.raised = Arc::new(snapshot.raised.iter().map(|row| (row.slot, row.next_count)).collect());
        catalogue
    }

    /// Puts the catalogue into a snapshot.
    pub(crate) fn fill(&self, snapshot: &mut Snapshot) {
        let row = |(number, set): (&SetNumber, &Set)| SetRow {
            number: *number,
            name: set.name.to_string(),
            records: set.records,
            bytes: set.bytes,
            changed: set.changed,
        };
        snapshot.sets = self.sets.iter().map(row).collect();
        snapshot.marks = self.marks.iter().map(|(name, seq)| MarkRow { name: name.clone(), seq: *seq }).collect();
        let stream = |(stream, chunks): (&u64, &Chunks)| StreamRow {
            stream: *stream,
            chunks: chunks.iter().map(RecordId::as_u64).collect(),
        };
        snapshot.streams = self.streams.iter().map(stream).collect();
        let index = |index: &Index| IndexRow {
            definition: IndexDefinition::clone(&index.definition),
            ready: index.is_ready,
            root: PageRef::default(),
            entries: 0,
        };
        snapshot.indexes = self.indexes.values().map(index).collect();
        snapshot.note_damaged_indexes(self.damaged_indexes().map(|(index, damage)| (index.definition.number, damage)));
        snapshot.next_index = self.next_index.0;
        snapshot.next_set = self.next_set.0;
        snapshot.next_stream = self.next_stream;
        let raised = |(slot, next_count): (&u64, &u32)| RaisedRow { slot: *slot, next_count: *next_count };
        snapshot.raised = self.raised.iter().map(raised).collect();
    }

    /// When the record in a slot is deleted, its next count is at least this one. For the first slot of a page that has no
    /// set: so are those of all its slots, should the store go back to a state in which it has one.
    pub(crate) fn raise(&mut self, slot: u64, next_count: u32) {
        let count = Arc::make_mut(&mut self.raised).entry(slot).or_default();
        *count = next_count.max(*count);
    }

    /// What `raise` has said of a slot.
    pub(crate) fn raised(&self, slot: u64) -> Option<u32> {
        self.raised.get(&slot).copied()
    }

    /// The least next count of a slot whose record is deleted now.
    pub(crate) fn take_raised(&mut self, slot: u64) -> Option<u32> {
        if self.raised.contains_key(&slot) { Arc::make_mut(&mut self.raised).remove(&slot) } else { None }
    }

    /// Numbers that another state of the same store has given are not given again.
    pub(crate) fn begin_behind(&mut self, other: &Self) {
        self.next_set = self.next_set.max(other.next_set);
        self.next_index = self.next_index.max(other.next_index);
        self.next_stream = self.next_stream.max(other.next_stream);
        for (slot, next_count) in &*other.raised {
            self.raise(*slot, *next_count);
        }
    }

    pub(crate) fn create(&mut self, number: SetNumber, name: &str) {
        let set = Set { name: Arc::from(name), records: 0, bytes: 0, changed: Seq::ZERO };
        self.sets.entry(number).or_insert(set);
        self.next_set = self.next_set.max(SetNumber(number.0.saturating_add(1)));
    }

    pub(crate) fn create_index(&mut self, definition: &Arc<IndexDefinition>, is_ready: bool) {
        let number = definition.number;
        self.indexes.insert(number, Index { definition: Arc::clone(definition), is_ready, damage: None });
        self.next_index = self.next_index.max(IndexNumber(number.0.saturating_add(1)));
    }

    /// An index cannot be read, and has to be built again.
    pub(crate) fn damage_index(&mut self, number: IndexNumber, damage: Arc<Corruption>) {
        if let Some(index) = self.indexes.get_mut(&number) {
            (index.is_ready, index.damage) = (false, Some(damage));
        }
    }

    /// Indexes that cannot be read.
    pub(crate) fn damaged_indexes(&self) -> impl Iterator<Item = (&Index, &Corruption)> {
        self.indexes.values().filter_map(|index| Some((index, &**index.damage.as_ref()?)))
    }

    /// Numbers of all sets, the hidden ones too.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = SetNumber> {
        self.sets.keys().copied()
    }

    /// What a set holds, counted anew.
    pub(crate) fn set_counts(&mut self, number: SetNumber, records: u64, bytes: u64) {
        if let Some(set) = self.sets.get_mut(&number) {
            (set.records, set.bytes) = (records, bytes);
        }
    }

    /// The name of a set; empty for one that is not there.
    pub(crate) fn name_of(&self, number: SetNumber) -> &str {
        self.sets.get(&number).map_or("", |set| &set.name)
    }

    pub(crate) fn drop_index(&mut self, number: IndexNumber) {
        self.indexes.remove(&number);
    }

    pub(crate) fn next_index(&self) -> IndexNumber {
        self.next_index
    }

    pub(crate) fn index(&self, number: IndexNumber) -> Option<&Index> {
        self.indexes.get(&number)
    }

    pub(crate) fn indexes(&self) -> impl Iterator<Item = &Index> {
        self.indexes.values()
    }

    /// The indexes of a set.
    pub(crate) fn indexes_of(&self, set: SetNumber) -> impl Iterator<Item = &Index> {
        self.indexes.values().filter(move |index| index.definition.set == set)
    }

    pub(crate) fn count(&mut self, number: SetNumber, records: i64, bytes: i64, seq: Seq) {
        if let Some(set) = self.sets.get_mut(&number) {
            set.records = set.records.saturating_add_signed(records);
            set.bytes = set.bytes.saturating_add_signed(bytes);
            set.changed = set.changed.max(seq);
        }
    }

    pub(crate) fn mark(&mut self, name: &str, seq: Seq) {
        self.marks.insert(name.to_owned(), seq);
    }

    pub(crate) fn stream(&mut self, stream: u64, chunk: RecordId) {
        Arc::make_mut(&mut self.streams).entry(stream).or_default().push(chunk);
        self.next_stream = self.next_stream.max(stream.saturating_add(1));
    }

    pub(crate) fn end_stream(&mut self, stream: u64) {
        Arc::make_mut(&mut self.streams).remove(&stream);
        self.next_stream = self.next_stream.max(stream.saturating_add(1));
    }

    /// Streams whose head has not come yet.
    pub(crate) fn streams(&self) -> impl Iterator<Item = u64> {
        self.streams.keys().copied()
    }

    /// Chunks of a stream, in their order.
    pub(crate) fn chunks(&self, stream: u64) -> impl Iterator<Item = RecordId> {
        self.streams.get(&stream).into_iter().flat_map(Chunks::iter)
    }

    /// The store's UUID.
    pub(crate) fn store(&self) -> [u8; 16] {
        self.store
    }

    pub(crate) fn next_set(&self) -> SetNumber {
        self.next_set
    }

    pub(crate) fn next_stream(&self) -> u64 {
        self.next_stream
    }

    pub(crate) fn set(&self, number: SetNumber) -> Option<&Set> {
        self.sets.get(&number)
    }

    /// A user's set by name.
    pub(crate) fn find(&self, name: &str) -> Option<(SetNumber, &Set)> {
        self.user_sets().find(|(_, set)| &*set.name == name)
    }

    /// All sets but the hidden ones.
    pub(crate) fn user_sets(&self) -> impl Iterator<Item = (SetNumber, &Set)> {
        self.sets.range(SetNumber::FIRST_USER..).map(|(number, set)| (*number, set))
    }

    pub(crate) fn marks(&self) -> impl Iterator<Item = (&str, Seq)> {
        self.marks.iter().map(|(name, seq)| (name.as_str(), *seq))
    }
}
