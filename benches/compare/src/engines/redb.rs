//! redb.

use std::cell::OnceCell;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use redb::{
    Database, Durability, ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable as _, Table,
    TableDefinition, WriteTransaction,
};

use crate::data;
use crate::data::Key;
use crate::engine::{Batch, Engine, Session, Setup, View};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const BY_KEY: TableDefinition<'_, &Key, u64> = TableDefinition::new("by_key");
const BY_SECTION: TableDefinition<'_, (u32, u64), ()> = TableDefinition::new("by_section");

pub struct Redb {
    database: Database,
    setup: Setup,
}

impl Redb {
    fn write(&self) -> Result<WriteTransaction> {
        let mut tx = self.database.begin_write()?;
        tx.set_durability(if self.setup.durable { Durability::Immediate } else { Durability::None })?;
        Ok(tx)
    }
}

impl Engine for Redb {
    type Id = u64;
    type Session<'e> = &'e Self;

    const NAME: &'static str = "redb";
    const SETTINGS: &'static str = "Cache 256 MiB. Loads and updates with `Durability::None`, which promises less than the \
        others: such commits do not outlive the process until one that is `Immediate` follows. Durable commits with \
        `Durability::Immediate`, one phase, no quick repair (the defaults). Tables: u64 -> bytes, key -> u64, \
        (section, u64) -> ().";

    fn open(path: &Path, setup: Setup) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut builder = Database::builder();
        builder.set_cache_size(setup.cache_bytes());
        let database = builder.create(path.join("data.redb"))?;
        let tx = database.begin_write()?;
        tx.open_table(RECORDS)?;
        if setup.indexed {
            tx.open_table(BY_KEY)?;
            tx.open_table(BY_SECTION)?;
        }
        tx.commit()?;
        Ok(Self { database, setup })
    }

    fn session(&self) -> Result<&Self> {
        Ok(self)
    }

    fn sync(&self) -> Result<()> {
        let mut tx = self.database.begin_write()?;
        tx.set_durability(Durability::Immediate)?;
        Ok(tx.commit()?)
    }

    fn settle(&self) -> Result<()> {
        self.sync()
    }

    fn close(self) -> Result<()> {
        Ok(self.database.close()?)
    }

    fn to_word(id: u64) -> u64 {
        id
    }

    fn from_word(word: u64) -> Result<u64> {
        Ok(word)
    }
}

struct Indexes<'t> {
    by_key: Table<'t, &'static Key, u64>,
    by_section: Table<'t, (u32, u64), ()>,
}

impl<'t> Indexes<'t> {
    fn of(tx: &'t WriteTransaction, setup: Setup) -> Result<Option<Self>> {
        let open = || Ok(Self { by_key: tx.open_table(BY_KEY)?, by_section: tx.open_table(BY_SECTION)? });
        setup.indexed.then(open).transpose()
    }
}

impl Session for &Redb {
    type Id = u64;
    type View<'s>
        = ReadView
    where
        Self: 's;

    fn insert(&mut self, batch: &Batch, ids: &mut Vec<u64>) -> Result<()> {
        let tx = self.write()?;
        let mut records = tx.open_table(RECORDS)?;
        let mut indexes = Indexes::of(&tx, self.setup)?;
        for (id, bytes) in batch.iter() {
            records.insert(id, bytes)?;
            if let Some(indexes) = &mut indexes {
                ensure!(indexes.by_key.insert(&data::key_of(bytes), id)?.is_none(), "a key twice");
                indexes.by_section.insert((data::section_of(bytes), id), ())?;
            }
            ids.push(id);
        }
        drop((records, indexes));
        Ok(tx.commit()?)
    }

    fn get(&mut self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        self.view()?.get(id, visit)
    }

    fn view(&mut self) -> Result<ReadView> {
        let tx = self.database.begin_read()?;
        Ok(ReadView { records: tx.open_table(RECORDS)?, by_key: OnceCell::new(), by_section: OnceCell::new(), tx })
    }

    fn update(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        let tx = self.write()?;
        let mut records = tx.open_table(RECORDS)?;
        for (id, bytes) in changes {
            ensure!(records.insert(id, *bytes)?.is_some(), "no such record");
        }
        drop(records);
        Ok(tx.commit()?)
    }

    fn update_keys(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        let tx = self.write()?;
        let mut records = tx.open_table(RECORDS)?;
        let mut by_key = tx.open_table(BY_KEY)?;
        for (id, bytes) in changes {
            let old = data::key_of(records.insert(id, *bytes)?.context("no such record")?.value());
            ensure!(by_key.insert(&data::key_of(bytes), id)?.is_none(), "a key twice");
            by_key.remove(&old)?;
        }
        drop((records, by_key));
        Ok(tx.commit()?)
    }

    fn delete(&mut self, ids: &[u64]) -> Result<()> {
        let tx = self.write()?;
        let mut records = tx.open_table(RECORDS)?;
        let mut indexes = Indexes::of(&tx, self.setup)?;
        for id in ids {
            let old = records.remove(id)?.context("no such record")?;
            if let Some(indexes) = &mut indexes {
                indexes.by_key.remove(&data::key_of(old.value()))?;
                indexes.by_section.remove((data::section_of(old.value()), *id))?;
            }
        }
        drop((records, indexes));
        Ok(tx.commit()?)
    }
}

pub struct ReadView {
    tx: ReadTransaction,
    records: ReadOnlyTable<u64, &'static [u8]>,
    by_key: OnceCell<ReadOnlyTable<&'static Key, u64>>,
    by_section: OnceCell<ReadOnlyTable<(u32, u64), ()>>,
}

impl View for ReadView {
    type Id = u64;

    fn get(&self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(self.records.get(id)?.context("no such record")?.value());
        Ok(())
    }

    fn by_key(&self, key: &Key, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        if self.by_key.get().is_none() {
            self.by_key.set(self.tx.open_table(BY_KEY)?).ok().context("opened twice")?;
        }
        let id = self.by_key.get().context("opened")?.get(key)?.context("no such key")?.value();
        self.get(id, visit)
    }

    fn range(&self, sections: Range<u32>, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        if self.by_section.get().is_none() {
            self.by_section.set(self.tx.open_table(BY_SECTION)?).ok().context("opened twice")?;
        }
        let table = self.by_section.get().context("opened")?;
        for entry in table.range((sections.start, 0)..(sections.end, 0))? {
            let (_, id) = entry?.0.value();
            self.get(id, visit)?;
        }
        Ok(())
    }

    fn scan(&self, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        for entry in self.records.iter()? {
            visit(entry?.1.value());
        }
        Ok(())
    }
}
