//! fjall.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fjall::config::CompressionPolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable as _, Snapshot};

use crate::data;
use crate::data::Key;
use crate::engine::{Batch, Engine, Session, Setup, View};
use crate::engines::{composite, composite_id};

struct Indexes {
    by_key: Keyspace,
    by_section: Keyspace,
}

pub struct Fjall {
    database: Database,
    records: Keyspace,
    indexes: Option<Indexes>,
    /// Held from looking for a key until it is written: a batch checks nothing.
    unique: std::sync::Mutex<()>,
    mode: PersistMode,
}

impl Fjall {
    fn batch(&self) -> OwnedWriteBatch {
        self.database.batch().durability(Some(self.mode))
    }

    fn indexes(&self) -> Result<&Indexes> {
        self.indexes.as_ref().context("no index")
    }

    fn record(&self, id: u64) -> Result<fjall::UserValue> {
        self.records.get(id.to_be_bytes())?.context("no such record")
    }
}

impl Engine for Fjall {
    type Id = u64;
    type Session<'e> = &'e Self;

    const NAME: &'static str = "fjall";
    const SETTINGS: &'static str = "Block cache 256 MiB, no compression (payloads are random), `expect_point_read_hits` for \
        records. Write batches with `PersistMode::Buffer` for loads and updates, `SyncData` for durable commits. A lock of \
        the caller makes the unique index unique: keys are looked for before they are written.";

    fn open(path: &Path, setup: Setup) -> Result<Self> {
        let database = Database::builder(path).cache_size(setup.cache_bytes() as u64).open()?;
        let plain = || KeyspaceCreateOptions::default().data_block_compression_policy(CompressionPolicy::disabled());
        let records = database.keyspace("records", || plain().expect_point_read_hits(true))?;
        let indexes = if setup.indexed {
            Some(Indexes {
                by_key: database.keyspace("by_key", plain)?,
                by_section: database.keyspace("by_section", plain)?,
            })
        } else {
            None
        };
        let mode = if setup.durable { PersistMode::SyncData } else { PersistMode::Buffer };
        Ok(Self { database, records, indexes, unique: std::sync::Mutex::default(), mode })
    }

    fn session(&self) -> Result<&Self> {
        Ok(self)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn settle(&self) -> Result<()> {
        let indexes = self.indexes.iter().flat_map(|indexes| [&indexes.by_key, &indexes.by_section]);
        for keyspace in indexes.chain([&self.records]) {
            keyspace.rotate_memtable_and_wait()?;
        }
        while self.database.outstanding_flushes() > 0 || self.database.active_compactions() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self.sync()
    }

    fn close(self) -> Result<()> {
        self.sync()
    }

    fn to_word(id: u64) -> u64 {
        id
    }

    fn from_word(word: u64) -> Result<u64> {
        Ok(word)
    }
}

impl Session for &Fjall {
    type Id = u64;
    type View<'s>
        = ReadView<'s>
    where
        Self: 's;

    fn insert(&mut self, batch: &Batch, ids: &mut Vec<u64>) -> Result<()> {
        let _held = self.unique.lock().ok().context("poisoned")?;
        let mut write = self.batch();
        let mut own = HashSet::new();
        for (id, bytes) in batch.iter() {
            write.insert(&self.records, id.to_be_bytes(), bytes);
            if let Some(indexes) = &self.indexes {
                let key = data::key_of(bytes);
                ensure!(own.insert(key) && !indexes.by_key.contains_key(key)?, "a key twice");
                write.insert(&indexes.by_key, key, id.to_be_bytes());
                write.insert(&indexes.by_section, composite(data::section_of(bytes), id), []);
            }
            ids.push(id);
        }
        Ok(write.commit()?)
    }

    fn get(&mut self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(&self.record(id)?);
        Ok(())
    }

    fn view(&mut self) -> Result<ReadView<'_>> {
        Ok(ReadView { engine: self, snapshot: self.database.snapshot() })
    }

    fn update(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        let mut write = self.batch();
        for (id, bytes) in changes {
            write.insert(&self.records, id.to_be_bytes(), *bytes);
        }
        Ok(write.commit()?)
    }

    fn update_keys(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        let indexes = self.indexes()?;
        let _held = self.unique.lock().ok().context("poisoned")?;
        let (mut write, mut own) = (self.batch(), HashSet::new());
        for (id, bytes) in changes {
            let (old, new) = (data::key_of(&self.record(*id)?), data::key_of(bytes));
            ensure!(own.insert(new) && !indexes.by_key.contains_key(new)?, "a key twice");
            write.insert(&self.records, id.to_be_bytes(), *bytes);
            write.remove(&indexes.by_key, old);
            write.insert(&indexes.by_key, new, id.to_be_bytes());
        }
        Ok(write.commit()?)
    }

    fn delete(&mut self, ids: &[u64]) -> Result<()> {
        let _held = self.unique.lock().ok().context("poisoned")?;
        let mut write = self.batch();
        for id in ids {
            let old = self.record(*id)?;
            write.remove(&self.records, id.to_be_bytes());
            if let Some(indexes) = &self.indexes {
                write.remove(&indexes.by_key, data::key_of(&old));
                write.remove(&indexes.by_section, composite(data::section_of(&old), *id));
            }
        }
        Ok(write.commit()?)
    }
}

pub struct ReadView<'s> {
    engine: &'s Fjall,
    snapshot: Snapshot,
}

impl View for ReadView<'_> {
    type Id = u64;

    fn get(&self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(&self.snapshot.get(&self.engine.records, id.to_be_bytes())?.context("no such record")?);
        Ok(())
    }

    fn by_key(&self, key: &Key, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let id = self.snapshot.get(&self.engine.indexes()?.by_key, key)?.context("no such key")?;
        self.get(u64::from_be_bytes(id[..].try_into()?), visit)
    }

    fn range(&self, sections: Range<u32>, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let bounds = composite(sections.start, 0)..composite(sections.end, 0);
        for entry in self.snapshot.range(&self.engine.indexes()?.by_section, bounds) {
            self.get(composite_id(&entry.key()?)?, visit)?;
        }
        Ok(())
    }

    fn scan(&self, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        for entry in self.snapshot.iter(&self.engine.records) {
            visit(&entry.value()?);
        }
        Ok(())
    }
}
