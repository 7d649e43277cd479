//! Tenure.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};
use tenure::extract::Extractor;
use tenure::{Durability, Index, Options, Record, RecordId, RecordSet, Store, View as StoreView};

use crate::data;
use crate::data::Key;
use crate::engine::{Batch, Engine, Session, Setup, View};

pub struct Tenure {
    store: Store,
    set: RecordSet,
    indexes: Option<(Index, Index)>,
}

/// Values in one piece lie in place.
fn show(record: &Record<'_>, visit: &mut impl FnMut(&[u8])) -> Result<()> {
    visit(record.as_slice().context("a value in chunks")?);
    Ok(())
}

impl Engine for Tenure {
    type Id = RecordId;
    type Session<'e> = &'e Self;

    const NAME: &'static str = "tenure";
    const SETTINGS: &'static str = "Defaults: checksums on, collector on, changed index pages at most 256 MiB. Batches \
        through `insert_many`, `update_many` and `delete_many`. Loads and updates with `Durability::Buffered`, durable \
        commits with `Durability::Sync`. References are the record IDs themselves. Indexes are kept by extractors, which \
        also look at the old value of a record that is updated.";

    fn open(path: &Path, setup: Setup) -> Result<Self> {
        let durability = if setup.durable { Durability::Sync } else { Durability::Buffered };
        let mut options = Options::new().durability(durability);
        if setup.long_tail {
            options = options.snapshot_log_bytes(u64::MAX).dirty_bytes_max(1 << 40);
        }
        let store = options.open(path)?;
        let set = store.record_set("records")?;
        let indexes = if setup.indexed {
            let key = Extractor::new("key", 1, |record, keys| keys.push(&record[..data::KEY_BYTES]));
            let section = Extractor::new("section", 1, |record, keys| keys.push(&data::section_of(record)));
            Some((store.unique_index(&set, "key", key)?, store.index(&set, "section", section)?))
        } else {
            None
        };
        Ok(Self { store, set, indexes })
    }

    fn session(&self) -> Result<&Self> {
        Ok(self)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.store.sync()?)
    }

    fn settle(&self) -> Result<()> {
        self.store.save_snapshot()?;
        Ok(())
    }

    fn close(self) -> Result<()> {
        Ok(self.store.close()?)
    }

    fn to_word(id: RecordId) -> u64 {
        id.as_u64()
    }

    fn from_word(word: u64) -> Result<RecordId> {
        RecordId::from_u64(word).context("no ID")
    }
}

impl Session for &Tenure {
    type Id = RecordId;
    type View<'s>
        = ReadView<'s>
    where
        Self: 's;

    fn insert(&mut self, batch: &Batch, ids: &mut Vec<RecordId>) -> Result<()> {
        let values: Vec<&[u8]> = batch.iter().map(|(_, bytes)| bytes).collect();
        ids.extend(self.store.write(|tx| tx.insert_many(&self.set, &values))?);
        Ok(())
    }

    fn get(&mut self, id: RecordId, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        show(&self.store.get(id)?, visit)
    }

    fn view(&mut self) -> Result<ReadView<'_>> {
        Ok(ReadView { engine: self, view: self.store.view() })
    }

    fn update(&mut self, changes: &[(RecordId, &[u8])]) -> Result<()> {
        Ok(self.store.write(|tx| tx.update_many(changes))?)
    }

    fn modify(&mut self, id: RecordId, change: &mut impl FnMut(&[u8], &mut Vec<u8>)) -> Result<()> {
        let mut new = Vec::new();
        self.store.write(|tx| -> Result<()> {
            new.clear();
            show(&tx.get(id)?, &mut |old| change(old, &mut new))?;
            Ok(tx.update(id, &new)?)
        })
    }

    fn update_keys(&mut self, changes: &[(RecordId, &[u8])]) -> Result<()> {
        self.update(changes)
    }

    fn delete(&mut self, ids: &[RecordId]) -> Result<()> {
        Ok(self.store.write(|tx| tx.delete_many(ids))?)
    }
}

pub struct ReadView<'s> {
    engine: &'s Tenure,
    view: StoreView,
}

impl View for ReadView<'_> {
    type Id = RecordId;

    fn get(&self, id: RecordId, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        show(&self.view.get(id)?, visit)
    }

    fn by_key(&self, key: &Key, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let (by_key, _) = self.engine.indexes.as_ref().context("no index")?;
        show(&by_key.fetch(&self.view, &key[..])?.context("no such key")?, visit)
    }

    fn range(&self, sections: Range<u32>, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let (_, by_section) = self.engine.indexes.as_ref().context("no index")?;
        for record in by_section.range(&self.view, sections)?.records(&self.view) {
            show(&record?, visit)?;
        }
        Ok(())
    }

    fn scan(&self, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        for record in self.view.scan(&self.engine.set) {
            show(&record?, visit)?;
        }
        Ok(())
    }
}
