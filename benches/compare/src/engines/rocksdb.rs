//! `RocksDB`. Behind a feature, as its binding needs libclang and minutes of C++.

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBPinnableSlice,
    DataBlockIndexType, Options, ReadOptions, Snapshot, WaitForCompactOptions, WriteBatch, WriteOptions,
};

use crate::data;
use crate::data::Key;
use crate::engine::{Batch, Engine, Session, Setup, View};
use crate::engines::{composite, composite_id};

const NAMES: [&str; 3] = ["records", "by_key", "by_section"];

pub struct Rocks {
    database: DB,
    setup: Setup,
    /// Held from looking for a key until it is written: a batch checks nothing.
    unique: std::sync::Mutex<()>,
}

impl Rocks {
    fn family(&self, name: &str) -> Result<&ColumnFamily> {
        self.database.cf_handle(name).context("no such column family")
    }
}

fn family(cache: &Cache, is_point_read: bool) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if is_point_read {
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::None);
    options.set_optimize_filters_for_hits(is_point_read);
    options
}

impl Engine for Rocks {
    type Id = u64;
    type Session<'e> = Handle<'e>;

    const NAME: &'static str = "rocksdb";
    const SETTINGS: &'static str = "Block cache 256 MiB, write buffers of 64 MiB (default), Bloom filters of 10 bits, hashed \
        data blocks, two background jobs, no compression (payloads are random), write-ahead log on, synced for durable \
        commits only. Column families: u64 -> bytes, key -> u64, (section, u64) -> (). A lock of the caller makes the \
        unique index unique: keys are looked for before they are written.";

    fn open(path: &Path, setup: Setup) -> Result<Self> {
        let cache = Cache::new_lru_cache(setup.cache_bytes());
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_background_jobs(2);
        if setup.memory.is_some() {
            options.set_db_write_buffer_size(setup.cache_bytes());
        }
        let count = if setup.indexed { 3 } else { 1 };
        let mut families = vec![ColumnFamilyDescriptor::new("default", Options::default())];
        for name in &NAMES[..count] {
            families.push(ColumnFamilyDescriptor::new(*name, family(&cache, *name != "by_section")));
        }
        let database = DB::open_cf_descriptors(&options, path, families)?;
        Ok(Self { database, setup, unique: std::sync::Mutex::default() })
    }

    fn session(&self) -> Result<Handle<'_>> {
        let mut options = WriteOptions::default();
        options.set_sync(self.setup.durable);
        let indexes =
            if self.setup.indexed { Some((self.family("by_key")?, self.family("by_section")?)) } else { None };
        Ok(Handle { engine: self, records: self.family("records")?, indexes, options })
    }

    fn sync(&self) -> Result<()> {
        Ok(self.database.flush_wal(true)?)
    }

    fn settle(&self) -> Result<()> {
        for name in &NAMES[..if self.setup.indexed { 3 } else { 1 }] {
            self.database.flush_cf(self.family(name)?)?;
        }
        self.database.wait_for_compact(&WaitForCompactOptions::default())?;
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

type Pair<'e> = (&'e ColumnFamily, &'e ColumnFamily);

pub struct Handle<'e> {
    engine: &'e Rocks,
    records: &'e ColumnFamily,
    indexes: Option<Pair<'e>>,
    options: WriteOptions,
}

impl Handle<'_> {
    fn record(&self, id: u64) -> Result<DBPinnableSlice<'_>> {
        self.engine.database.get_pinned_cf(self.records, id.to_be_bytes())?.context("no such record")
    }

    fn is_new(&self, by_key: &ColumnFamily, key: &Key) -> Result<bool> {
        Ok(self.engine.database.get_pinned_cf(by_key, key)?.is_none())
    }
}

impl Session for Handle<'_> {
    type Id = u64;
    type View<'s>
        = ReadView<'s>
    where
        Self: 's;

    fn insert(&mut self, batch: &Batch, ids: &mut Vec<u64>) -> Result<()> {
        let _held = self.engine.unique.lock().ok().context("poisoned")?;
        let (mut write, mut own) = (WriteBatch::default(), HashSet::new());
        for (id, bytes) in batch.iter() {
            write.put_cf(&self.records, id.to_be_bytes(), bytes);
            if let Some((by_key, by_section)) = self.indexes {
                let key = data::key_of(bytes);
                ensure!(own.insert(key) && self.is_new(by_key, &key)?, "a key twice");
                write.put_cf(&by_key, key, id.to_be_bytes());
                write.put_cf(&by_section, composite(data::section_of(bytes), id), []);
            }
            ids.push(id);
        }
        Ok(self.engine.database.write_opt(write, &self.options)?)
    }

    fn get(&mut self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(&self.record(id)?);
        Ok(())
    }

    fn view(&mut self) -> Result<ReadView<'_>> {
        let snapshot = self.engine.database.snapshot();
        Ok(ReadView { records: self.records, indexes: self.indexes, snapshot })
    }

    fn update(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        let mut write = WriteBatch::default();
        for (id, bytes) in changes {
            write.put_cf(&self.records, id.to_be_bytes(), bytes);
        }
        Ok(self.engine.database.write_opt(write, &self.options)?)
    }

    fn update_keys(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        let (by_key, _) = self.indexes.context("no index")?;
        let _held = self.engine.unique.lock().ok().context("poisoned")?;
        let (mut write, mut own) = (WriteBatch::default(), HashSet::new());
        for (id, bytes) in changes {
            let (old, new) = (data::key_of(&self.record(*id)?), data::key_of(bytes));
            ensure!(own.insert(new) && self.is_new(by_key, &new)?, "a key twice");
            write.put_cf(&self.records, id.to_be_bytes(), bytes);
            write.delete_cf(&by_key, old);
            write.put_cf(&by_key, new, id.to_be_bytes());
        }
        Ok(self.engine.database.write_opt(write, &self.options)?)
    }

    fn delete(&mut self, ids: &[u64]) -> Result<()> {
        let _held = self.engine.unique.lock().ok().context("poisoned")?;
        let mut write = WriteBatch::default();
        for id in ids {
            let old = self.record(*id)?;
            write.delete_cf(&self.records, id.to_be_bytes());
            if let Some((by_key, by_section)) = self.indexes {
                write.delete_cf(&by_key, data::key_of(&old));
                write.delete_cf(&by_section, composite(data::section_of(&old), *id));
            }
        }
        Ok(self.engine.database.write_opt(write, &self.options)?)
    }
}

pub struct ReadView<'s> {
    records: &'s ColumnFamily,
    indexes: Option<Pair<'s>>,
    snapshot: Snapshot<'s>,
}

impl View for ReadView<'_> {
    type Id = u64;

    fn get(&self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(&self.snapshot.get_pinned_cf(self.records, id.to_be_bytes())?.context("no such record")?);
        Ok(())
    }

    fn by_key(&self, key: &Key, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let (by_key, _) = self.indexes.context("no index")?;
        let id = self.snapshot.get_pinned_cf(by_key, key)?.context("no such key")?;
        self.get(u64::from_be_bytes(id[..].try_into()?), visit)
    }

    fn range(&self, sections: Range<u32>, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let (_, by_section) = self.indexes.context("no index")?;
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(composite(sections.end, 0));
        let mut entries = self.snapshot.raw_iterator_cf_opt(by_section, options);
        entries.seek(composite(sections.start, 0));
        while let Some(key) = entries.key() {
            self.get(composite_id(key)?, visit)?;
            entries.next();
        }
        Ok(entries.status()?)
    }

    fn scan(&self, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_readahead_size(2 << 20);
        let mut entries = self.snapshot.raw_iterator_cf_opt(self.records, options);
        entries.seek_to_first();
        while let Some(value) = entries.value() {
            visit(value);
            entries.next();
        }
        Ok(entries.status()?)
    }
}
