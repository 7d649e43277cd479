//! The catalogue: record sets, marks, and streams of chunks whose head is not committed yet.
//!
//! Owns: names and numbers of sets, their record counts; which set a handle refers to. Never: knows where a record is.
//! Invariant: a store never reuses the number of a set. Copies of a store that diverge assign the same numbers to different
//! sets, so a handle's number identifies a set only within its lineage.

mod consumers;

pub(crate) use consumers::Consumer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::shared::{Map, Ordered};
use smallvec::SmallVec;

use crate::catalogue::consumers::consumer_bytes;
use crate::error::{Corruption, Error, Result};
use crate::format::descriptor::PageRef;
use crate::format::index::{IndexDefinition, IndexRow};
use crate::format::manifest::{MarkRow, SetRow, Snapshot, StreamRow};
use crate::id::{IndexNumber, RecordId, Seq, SetNumber, to_u64};

/// Maximum size of the rows of sets, marks, indexes and waiting chunks in a snapshot, which lists all of them.
pub(crate) const CATALOGUE_BYTES_MAX: u64 = 384 << 20;
/// Maximum length of a set or mark name in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// One opening of a store, with the rollbacks and refreshes that continue it in this process. Within a lineage a number means
/// one set, whatever its name. Two lineages may be diverged copies of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lineage(u64);

impl Lineage {
    /// A new lineage.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The origin of a handle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// The store's UUID, which its copies share.
    pub(crate) store: [u8; 16],
    pub(crate) lineage: Lineage,
}

/// What a handle knows about its set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handle<'h> {
    pub(crate) lineage: Lineage,
    pub(crate) number: SetNumber,
    /// Its name when the handle was created.
    pub(crate) name: &'h str,
}

/// A record set.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) name: Arc<str>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) changed: Seq,
    /// It was dropped, and its records are being freed.
    is_dropped: bool,
}

/// A key index.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    pub(crate) definition: Arc<IndexDefinition>,
    /// Whether all of its entries exist.
    pub(crate) is_ready: bool,
    /// Damage found when it was last read. It is not ready until it is rebuilt.
    pub(crate) damage: Option<Arc<Corruption>>,
}

/// Chunks per shared part.
const CHUNKS_PER_PART: usize = 4096;

/// Chunks of one stream. Full parts are shared, so that a state that still holds the list does not force a copy with
/// every commit.
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

    fn len(&self) -> usize {
        self.full.len() * CHUNKS_PER_PART + self.rest.len()
    }

    fn iter(&self) -> impl Iterator<Item = RecordId> {
        self.full.iter().flat_map(|part| part.iter()).chain(&self.rest).copied()
    }
}

/// Everything the store contains besides records. A copy shares all maps with its original; a change of either copies only
/// the path to what it changes, so that the cost of a commit does not depend on how much there is.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    origin: Origin,
    sets: Map<SetNumber, Set>,
    /// The users' sets of each name that were not dropped. There is never more than one of a name, except while a commit
    /// replaces a set, and in stores that were put together from what was left.
    named: Map<Arc<str>, SmallVec<[SetNumber; 1]>>,
    marks: Map<Arc<str>, Seq>,
    marks_by_seq: Ordered<(Seq, Arc<str>)>,
    consumers: Map<Arc<str>, Consumer>,
    streams: Map<u64, Chunks>,
    indexes: Map<IndexNumber, Index>,
    indexes_by_set: Ordered<(SetNumber, IndexNumber)>,
    next_index: IndexNumber,
    next_set: SetNumber,
    next_stream: u64,
    /// Dropped sets that still have records.
    dropped: usize,
    /// Bytes of the rows of a snapshot.
    bytes: u64,
}

impl Default for Catalogue {
    fn default() -> Self {
        let mut catalogue = Self {
            origin: Origin { store: [0; 16], lineage: Lineage(0) },
            sets: Map::default(),
            named: Map::default(),
            marks: Map::default(),
            marks_by_seq: Ordered::default(),
            consumers: Map::default(),
            streams: Map::default(),
            indexes: Map::default(),
            indexes_by_set: Ordered::default(),
            next_index: IndexNumber(1),
            next_set: SetNumber::FIRST_USER,
            next_stream: 1,
            dropped: 0,
            bytes: 0,
        };
        catalogue.create(SetNumber::CHUNKS, "");
        catalogue
    }
}

/// An addition to the catalogue by a commit.
#[derive(Debug)]
pub(crate) enum Added<'a> {
    /// A set with this name.
    Set(&'a str),
    /// A mark with this name.
    Mark(&'a str),
    /// A consumer with this name.
    Consumer(&'a str),
    /// An index.
    Index(&'a IndexDefinition),
    /// A chunk that waits for its head.
    Chunk,
}

/// Bytes of a stream's row, not counting its chunks.
const STREAM_BYTES: u64 = 12;
/// Bytes of a chunk in that row.
const CHUNK_ROW_BYTES: u64 = 8;

fn set_bytes(name: &str) -> u64 {
    30 + to_u64(name.len())
}

fn mark_bytes(name: &str) -> u64 {
    10 + to_u64(name.len())
}

fn index_bytes(definition: &IndexDefinition) -> u64 {
    let texts = [&definition.name, &definition.extractor, &definition.spec, &definition.key_type];
    54 + texts.into_iter().map(|text| to_u64(text.len())).sum::<u64>()
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
    pub(crate) fn from_snapshot(snapshot: &Snapshot, origin: Origin) -> Self {
        let mut catalogue = Self { origin, ..Self::default() };
        for row in &snapshot.sets {
            let SetRow { number, name, records, bytes, changed } = row;
            let (name, records, bytes, changed) = (Arc::from(name.as_str()), *records, *bytes, *changed);
            catalogue.put_set(*number, Set { name, records, bytes, changed, is_dropped: false });
        }
        snapshot.dropped_sets().for_each(|number| catalogue.drop_set(number));
        for row in &snapshot.marks {
            catalogue.mark(&row.name, row.seq);
        }
        for (name, seq, is_lost) in snapshot.consumers() {
            catalogue.set_consumer(&name, Some(Consumer { seq, is_lost }));
        }
        for row in &snapshot.streams {
            catalogue.streams.insert_mut(row.stream, Chunks::default());
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
        catalogue
    }

    /// Adds the catalogue to a snapshot.
    pub(crate) fn fill(&self, snapshot: &mut Snapshot) {
        let row = |(number, set): (&SetNumber, &Set)| SetRow {
            number: *number,
            name: set.name.to_string(),
            records: set.records,
            bytes: set.bytes,
            changed: set.changed,
        };
        snapshot.sets = self.sets.iter().map(row).collect();
        snapshot.marks = self.marks().map(|(name, seq)| MarkRow { name: name.to_owned(), seq }).collect();
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
        snapshot.note_dropped_sets(self.dropped_sets());
        snapshot.note_consumers(self.consumers().map(|(name, consumer)| (name, consumer.seq, consumer.is_lost)));
        snapshot.next_index = self.next_index.0;
        snapshot.next_set = self.next_set.0;
        snapshot.next_stream = self.next_stream;
    }

    /// Numbers assigned by another state of the same store are not assigned again.
    pub(crate) fn begin_behind(&mut self, other: &Self) {
        self.next_set = self.next_set.max(other.next_set);
        self.next_index = self.next_index.max(other.next_index);
        self.next_stream = self.next_stream.max(other.next_stream);
    }

    pub(crate) fn create(&mut self, number: SetNumber, name: &str) {
        if !self.sets.contains_key(&number) {
            self.put_set(
                number,
                Set { name: Arc::from(name), records: 0, bytes: 0, changed: Seq::ZERO, is_dropped: false },
            );
        }
        self.next_set = self.next_set.max(SetNumber(number.0.saturating_add(1)));
    }

    /// Adds a set, or replaces it.
    fn put_set(&mut self, number: SetNumber, set: Set) {
        if let Some(before) = self.sets.get(&number).map(|before| Arc::clone(&before.name)) {
            self.forget_name(number, &before);
            self.bytes = self.bytes.saturating_sub(set_bytes(&before));
        }
        self.bytes += set_bytes(&set.name);
        self.note_name(number, &set.name);
        self.sets.insert_mut(number, set);
    }

    /// From now on the name leads to the set.
    fn note_name(&mut self, number: SetNumber, name: &Arc<str>) {
        if number < SetNumber::FIRST_USER {
            return;
        }
        let mut numbers = self.named.get(name).cloned().unwrap_or_default();
        numbers.push(number);
        // The first one is found.
        numbers.sort_unstable();
        self.named.insert_mut(Arc::clone(name), numbers);
    }

    /// From now on the name does not lead to the set.
    fn forget_name(&mut self, number: SetNumber, name: &str) {
        let Some(numbers) = self.named.get_mut(name) else { return };
        numbers.retain(|other| *other != number);
        if numbers.is_empty() {
            self.named.remove_mut(name);
        }
    }

    pub(crate) fn rename_set(&mut self, number: SetNumber, name: &str) {
        let Some(set) = self.sets.get_mut(&number) else { return };
        let (name, is_dropped) = (Arc::from(name), set.is_dropped);
        let before = std::mem::replace(&mut set.name, Arc::clone(&name));
        self.bytes = (self.bytes + set_bytes(&name)).saturating_sub(set_bytes(&before));
        if !is_dropped {
            self.forget_name(number, &before);
            self.note_name(number, &name);
        }
    }

    /// A set was dropped. Its records exist until they are freed, but cannot be found.
    pub(crate) fn drop_set(&mut self, number: SetNumber) {
        if let Some(set) = self.sets.get_mut(&number).filter(|set| !set.is_dropped) {
            set.is_dropped = true;
            let name = Arc::clone(&set.name);
            self.forget_name(number, &name);
            self.dropped += 1;
        }
    }

    /// All records of a dropped set have been freed.
    pub(crate) fn end_set(&mut self, number: SetNumber) {
        if let Some(set) = self.sets.get(&number).filter(|set| set.is_dropped) {
            self.bytes = self.bytes.saturating_sub(set_bytes(&set.name));
            self.dropped -= 1;
            self.sets.remove_mut(&number);
        }
    }

    /// Whether there are dropped sets that still have records.
    pub(crate) fn has_dropped(&self) -> bool {
        self.dropped > 0
    }

    /// Whether a set was dropped and still has records.
    pub(crate) fn is_dropped(&self, number: SetNumber) -> bool {
        self.dropped > 0 && self.sets.get(&number).is_some_and(|set| set.is_dropped)
    }

    /// Dropped sets that still have records.
    pub(crate) fn dropped_sets(&self) -> impl Iterator<Item = SetNumber> {
        self.sets.iter().filter(|(_, set)| set.is_dropped).map(|(number, _)| *number)
    }

    pub(crate) fn create_index(&mut self, definition: &Arc<IndexDefinition>, is_ready: bool) {
        let number = definition.number;
        self.drop_index(number);
        self.bytes += index_bytes(definition);
        self.indexes_by_set.insert_mut((definition.set, number));
        self.indexes.insert_mut(number, Index { definition: Arc::clone(definition), is_ready, damage: None });
        self.next_index = self.next_index.max(IndexNumber(number.0.saturating_add(1)));
    }

    /// An index cannot be read, and must be rebuilt.
    pub(crate) fn damage_index(&mut self, number: IndexNumber, damage: Arc<Corruption>) {
        if let Some(index) = self.indexes.get_mut(&number) {
            (index.is_ready, index.damage) = (false, Some(damage));
        }
    }

    /// Numbers of complete indexes.
    pub(crate) fn ready_indexes(&self) -> impl Iterator<Item = IndexNumber> {
        self.indexes.values().filter(|index| index.is_ready).map(|index| index.definition.number)
    }

    /// Indexes that cannot be read.
    pub(crate) fn damaged_indexes(&self) -> impl Iterator<Item = (&Index, &Corruption)> {
        self.indexes.values().filter_map(|index| Some((index, &**index.damage.as_ref()?)))
    }

    /// Numbers of all sets, including hidden ones.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = SetNumber> {
        self.sets.keys().copied()
    }

    /// Sets the recomputed counts of a set.
    pub(crate) fn set_counts(&mut self, number: SetNumber, records: u64, bytes: u64) {
        if let Some(set) = self.sets.get_mut(&number) {
            (set.records, set.bytes) = (records, bytes);
        }
    }

    /// Sets the last commit that changed a set, as another store recorded it.
    pub(crate) fn set_changed(&mut self, number: SetNumber, changed: Seq) {
        if let Some(set) = self.sets.get_mut(&number) {
            set.changed = changed;
        }
    }

    /// The name of a set; empty if it does not exist.
    pub(crate) fn name_of(&self, number: SetNumber) -> &str {
        self.sets.get(&number).map_or("", |set| &set.name)
    }

    pub(crate) fn drop_index(&mut self, number: IndexNumber) {
        if let Some(definition) = self.indexes.get(&number).map(|index| &index.definition) {
            self.bytes = self.bytes.saturating_sub(index_bytes(definition));
            self.indexes_by_set.remove_mut(&(definition.set, number));
            self.indexes.remove_mut(&number);
        }
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

    /// Successors that will replace other indexes once they are complete.
    pub(crate) fn successors(&self) -> impl Iterator<Item = &Index> {
        self.indexes.values().filter(|index| index.definition.replaces.is_some())
    }

    /// The index of a set with this name, complete or not.
    pub(crate) fn index_named(&self, set: SetNumber, name: &str) -> Option<&Index> {
        self.published_of(set).find(|index| index.definition.name == name)
    }

    /// The indexes of a set that can be found by name.
    pub(crate) fn published_of(&self, set: SetNumber) -> impl Iterator<Item = &Index> {
        self.indexes_of(set).filter(|index| index.definition.replaces.is_none())
    }

    /// A successor replaces its predecessor, whose number is returned.
    pub(crate) fn publish(&mut self, number: IndexNumber) -> Option<IndexNumber> {
        let definition = &self.indexes.get(&number)?.definition;
        let replaced = definition.replaces?;
        let definition = IndexDefinition { replaces: None, ..IndexDefinition::clone(definition) };
        self.drop_index(replaced);
        self.create_index(&Arc::new(definition), true);
        Some(replaced)
    }

    /// The indexes of a set, including successors: writers maintain them all.
    pub(crate) fn indexes_of(&self, set: SetNumber) -> impl Iterator<Item = &Index> {
        let of_set = self.indexes_by_set.range((set, IndexNumber(0))..=(set, IndexNumber(u32::MAX)));
        of_set.filter_map(|(_, number)| self.indexes.get(number))
    }

    pub(crate) fn count(&mut self, number: SetNumber, records: i64, bytes: i64, seq: Seq) {
        if let Some(set) = self.sets.get_mut(&number) {
            set.records = set.records.saturating_add_signed(records);
            set.bytes = set.bytes.saturating_add_signed(bytes);
            set.changed = set.changed.max(seq);
        }
    }

    pub(crate) fn mark(&mut self, name: &str, seq: Seq) {
        let name: Arc<str> = Arc::from(name);
        if let Some(before) = self.marks.get(&name).copied() {
            self.marks_by_seq.remove_mut(&(before, Arc::clone(&name)));
        } else {
            self.bytes += mark_bytes(&name);
        }
        self.marks.insert_mut(Arc::clone(&name), seq);
        self.marks_by_seq.insert_mut((seq, name));
    }

    /// A missing mark is no error: replay may start after it was set.
    pub(crate) fn drop_mark(&mut self, name: &str) {
        if let Some(seq) = self.marks.get(name).copied() {
            self.marks.remove_mut(name);
            self.marks_by_seq.remove_mut(&(seq, Arc::from(name)));
            self.bytes = self.bytes.saturating_sub(mark_bytes(name));
        }
    }

    /// Whether a mark of this name exists.
    pub(crate) fn has_mark(&self, name: &str) -> bool {
        self.marks.contains_key(name)
    }

    pub(crate) fn stream(&mut self, stream: u64, chunk: RecordId) {
        if !self.streams.contains_key(&stream) {
            self.streams.insert_mut(stream, Chunks::default());
        }
        if let Some(chunks) = self.streams.get_mut(&stream) {
            self.bytes += if chunks.len() == 0 { STREAM_BYTES + CHUNK_ROW_BYTES } else { CHUNK_ROW_BYTES };
            chunks.push(chunk);
        }
        self.next_stream = self.next_stream.max(stream.saturating_add(1));
    }

    pub(crate) fn end_stream(&mut self, stream: u64) {
        if let Some(chunks) = self.streams.get(&stream) {
            let bytes = STREAM_BYTES + CHUNK_ROW_BYTES * to_u64(chunks.len());
            self.bytes = self.bytes.saturating_sub(bytes);
            self.streams.remove_mut(&stream);
        }
        self.next_stream = self.next_stream.max(stream.saturating_add(1));
    }

    /// Streams whose head has not been committed yet.
    pub(crate) fn streams(&self) -> impl Iterator<Item = u64> {
        self.streams.keys().copied()
    }

    /// Chunks of a stream, in order.
    pub(crate) fn chunks(&self, stream: u64) -> impl Iterator<Item = RecordId> {
        self.streams.get(&stream).into_iter().flat_map(Chunks::iter)
    }

    /// Fails if the catalogue would become too large for a snapshot.
    pub(crate) fn check_room<'a>(&self, added: impl Iterator<Item = Added<'a>>) -> Result<()> {
        let more: u64 = added.map(|added| self.bytes_of(&added)).sum();
        if more > 0 && self.bytes + more > CATALOGUE_BYTES_MAX {
            return Err(Error::Exhausted { what: "room in the catalogue", limit: CATALOGUE_BYTES_MAX });
        }
        Ok(())
    }

    fn bytes_of(&self, added: &Added<'_>) -> u64 {
        match added {
            Added::Set(name) => set_bytes(name),
            Added::Consumer(name) if self.consumers.contains_key(*name) => 0,
            Added::Consumer(name) => consumer_bytes(name),
            Added::Mark(name) if self.marks.contains_key(*name) => 0,
            Added::Mark(name) => mark_bytes(name),
            Added::Index(definition) => index_bytes(definition),
            Added::Chunk => STREAM_BYTES + CHUNK_ROW_BYTES,
        }
    }

    /// The store's UUID.
    pub(crate) fn store(&self) -> [u8; 16] {
        self.origin.store
    }

    /// The origin of handles from this catalogue.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    pub(crate) fn next_set(&self) -> SetNumber {
        self.next_set
    }

    pub(crate) fn next_stream(&self) -> u64 {
        self.next_stream
    }

    /// A set that was not dropped.
    pub(crate) fn set(&self, number: SetNumber) -> Option<&Set> {
        self.sets.get(&number).filter(|set| !set.is_dropped)
    }

    /// The number of the set that a handle refers to: the handle's own, or if that set is gone, that of the set that
    /// now has its name. If the handle is of another lineage, its number may belong to another set, so the name must agree.
    pub(crate) fn set_of_handle(&self, handle: &Handle<'_>) -> Option<SetNumber> {
        if let Some(set) = self.set(handle.number) {
            let is_it = handle.lineage == self.origin.lineage || *set.name == *handle.name;
            return is_it.then_some(handle.number);
        }
        self.find(handle.name).map(|(number, _)| number)
    }

    /// A user's set by name.
    pub(crate) fn find(&self, name: &str) -> Option<(SetNumber, &Set)> {
        let number = *self.named.get(name)?.first()?;
        Some((number, self.set(number)?))
    }

    /// All sets except hidden and dropped ones.
    pub(crate) fn user_sets(&self) -> impl Iterator<Item = (SetNumber, &Set)> {
        self.sets_with_records().filter(|(_, set)| !set.is_dropped)
    }

    /// All sets except hidden ones; including dropped ones that still have records.
    pub(crate) fn sets_with_records(&self) -> impl Iterator<Item = (SetNumber, &Set)> {
        self.sets.range(SetNumber::FIRST_USER..).map(|(number, set)| (*number, set))
    }

    pub(crate) fn marks(&self) -> impl Iterator<Item = (&str, Seq)> {
        self.marks.iter().map(|(name, seq)| (&**name, *seq))
    }

    /// The oldest commit from this one on that a mark names.
    pub(crate) fn oldest_mark_from(&self, seq: Seq) -> Option<Seq> {
        self.marks_by_seq.range((seq, Arc::default())..).next().map(|(seq, _)| *seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: u64) -> Catalogue {
        Catalogue { bytes, ..Catalogue::default() }
    }

    fn rows(catalogue: &Catalogue) -> u64 {
        let sets: u64 = catalogue.sets.values().map(|set| set_bytes(&set.name)).sum();
        let marks: u64 = catalogue.marks().map(|(name, _)| mark_bytes(name)).sum();
        let indexes: u64 = catalogue.indexes().map(|index| index_bytes(&index.definition)).sum();
        let chunks = |stream| STREAM_BYTES + CHUNK_ROW_BYTES * to_u64(catalogue.chunks(stream).count());
        let consumers: u64 = catalogue.consumers().map(|(name, _)| consumer_bytes(name)).sum();
        sets + marks + consumers + indexes + catalogue.streams().map(chunks).sum::<u64>()
    }

    #[test]
    fn what_no_snapshot_can_hold_is_refused_and_there_is_a_way_out() {
        let room = |catalogue: &Catalogue, name| catalogue.check_room([Added::Mark(name)].into_iter());
        let needed = mark_bytes("mark");
        room(&names(CATALOGUE_BYTES_MAX - needed - 1), "mark").unwrap();
        room(&names(CATALOGUE_BYTES_MAX - needed), "mark").unwrap();
        let mut full = names(CATALOGUE_BYTES_MAX - needed + 1);
        let error = room(&full, "mark").unwrap_err();
        assert!(matches!(error, Error::Exhausted { what: "room in the catalogue", .. }), "{error}");
        assert!(error.advice().contains("drop key indexes"), "{}", error.advice());
        // Dropping an index frees room, and setting an existing mark moves it.
        let definition = Arc::new(IndexDefinition {
            number: IndexNumber(1),
            set: SetNumber(16),
            unique: false,
            name: "index".to_owned(),
            extractor: "code".to_owned(),
            version: 1,
            spec: String::new(),
            key_type: String::new(),
            replaces: None,
        });
        full.bytes -= 2 * index_bytes(&definition);
        full.create_index(&definition, true);
        full.mark("mark", Seq(1));
        full.bytes = CATALOGUE_BYTES_MAX;
        room(&full, "mark").unwrap();
        room(&full, "other").unwrap_err();
        full.drop_index(IndexNumber(1));
        room(&full, "other").unwrap();
    }

    #[test]
    fn a_name_leads_to_the_set_that_has_it_and_a_copy_stays_as_it_was() {
        let found = |catalogue: &Catalogue, name| catalogue.find(name).map(|(number, _)| number.0);
        let mut catalogue = Catalogue::default();
        catalogue.create(SetNumber(16), "a");
        catalogue.create(SetNumber(17), "b");
        let before = catalogue.clone();
        catalogue.rename_set(SetNumber(17), "c");
        // As when a set is cleared, and the other way round.
        catalogue.create(SetNumber(18), "a");
        assert_eq!(found(&catalogue, "a"), Some(16));
        catalogue.drop_set(SetNumber(16));
        assert_eq!(found(&catalogue, "a"), Some(18));
        catalogue.drop_set(SetNumber(17));
        catalogue.rename_set(SetNumber(17), "d");
        catalogue.count(SetNumber(18), 3, 30, Seq(7));
        catalogue.end_set(SetNumber(16));
        let all = ["", "a", "b", "c", "d"].map(|name| found(&catalogue, name));
        assert_eq!(all, [None, Some(18), None, None, None]);
        assert_eq!((found(&before, "a"), found(&before, "b")), (Some(16), Some(17)));
        assert_eq!(catalogue.set(SetNumber(18)).map(|set| (set.records, set.changed)), Some((3, Seq(7))));
        assert_eq!(before.numbers().count(), 3, "with the hidden one");
    }

    #[test]
    fn the_bytes_are_those_of_the_rows() {
        let mut catalogue = Catalogue::default();
        let id = |slot| RecordId::from_parts(slot, 1).unwrap();
        for number in 16..40 {
            catalogue.create(SetNumber(number), &format!("set {number}"));
            catalogue.mark(&format!("mark {}", number % 7), Seq(number.into()));
            (0..5000).for_each(|slot| catalogue.stream(u64::from(number % 5), id(slot)));
            if number % 3 == 0 {
                catalogue.end_stream(u64::from(number % 5));
            }
            assert_eq!(catalogue.bytes, rows(&catalogue));
        }
        assert_eq!(catalogue.oldest_mark_from(Seq(0)), Some(Seq(33)));
        assert_eq!(catalogue.oldest_mark_from(Seq(36)), Some(Seq(36)));
        assert_eq!(catalogue.oldest_mark_from(Seq(40)), None);
    }
}
