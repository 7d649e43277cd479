//! The catalogue in a snapshot.
//!
//! Owns: which rows it has there. Never: knows their bytes.

use std::sync::Arc;

use crate::catalogue::Catalogue;
use crate::catalogue::consumers::Consumer;
use crate::catalogue::indexes::Index;
use crate::catalogue::origin::Origin;
use crate::catalogue::sets::Set;
use crate::catalogue::streams::Chunks;
use crate::format::descriptor::PageRef;
use crate::format::index::{IndexDefinition, IndexRow};
use crate::format::manifest::{MarkRow, SetRow, Snapshot, StreamRow};
use crate::id::{IndexNumber, RecordId, SetNumber};

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
}
