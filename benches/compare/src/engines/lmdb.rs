//! LMDB, by its binding heed.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use heed::byteorder::{BE, NativeEndian};
use heed::types::{Bytes, U32, U64};
use heed::{Database, DatabaseFlags, Env, EnvFlags, EnvOpenOptions, IntegerComparator, PutFlags, RoTxn, WithTls};

use crate::data;
use crate::data::Key;
use crate::engine::{Batch, Engine, Session, Setup, View};

/// The map must be larger than what is ever stored; it takes addresses, not memory.
const MAP_BYTES: usize = 1 << 36;
/// The name of the engine that differs only where stores are larger than memory.
pub const WITHOUT_READ_AHEAD: &str = "lmdb-nordahead";

#[derive(Clone, Copy)]
struct Indexes {
    by_key: Database<Bytes, U64<NativeEndian>>,
    by_section: Database<U32<BE>, U64<BE>>,
}

/// With reading ahead by the system, or without, which is for stores larger than memory.
pub struct Lmdb<const READ_AHEAD: bool> {
    env: Env,
    records: Database<U64<NativeEndian>, Bytes, IntegerComparator>,
    indexes: Option<Indexes>,
}

impl<const READ_AHEAD: bool> Engine for Lmdb<READ_AHEAD> {
    type Id = u64;
    type Session<'e> = &'e Self;

    const NAME: &'static str = if READ_AHEAD { "lmdb" } else { WITHOUT_READ_AHEAD };
    const SETTINGS: &'static str = "No WRITEMAP, so that a stray write cannot reach the file. Loads and updates with \
        NOSYNC, which promises less than the others: a power cut may ruin the file. Durable commits with the default. \
        No cache of its own: the page cache. No checksums (it has none). Integer keys, records loaded with APPEND, the \
        index that is not unique with DUPSORT and DUPFIXED. As lmdb-nordahead, with NORDAHEAD.";

    fn open(path: &Path, setup: Setup) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_BYTES).max_dbs(3);
        let mut flags = if setup.durable { EnvFlags::empty() } else { EnvFlags::NO_SYNC };
        flags.set(EnvFlags::NO_READ_AHEAD, !READ_AHEAD);
        #[expect(unsafe_code, reason = "the binding asks for it")]
        // SAFETY: the directory belongs to this process, which opens it once; without syncs a power cut can ruin the file,
        // and the run would be lost with it.
        let env = unsafe {
            options.flags(flags);
            options.open(path)?
        };
        let mut tx = env.write_txn()?;
        let records = env.database_options().types().key_comparator().name("records").create(&mut tx)?;
        let indexes = if setup.indexed {
            let flags = DatabaseFlags::DUP_SORT | DatabaseFlags::DUP_FIXED;
            Some(Indexes {
                by_key: env.create_database(&mut tx, Some("by_key"))?,
                by_section: env.database_options().types().flags(flags).name("by_section").create(&mut tx)?,
            })
        } else {
            None
        };
        tx.commit()?;
        Ok(Self { env, records, indexes })
    }

    fn session(&self) -> Result<&Self> {
        Ok(self)
    }

    fn sync(&self) -> Result<()> {
        Ok(self.env.force_sync()?)
    }

    fn settle(&self) -> Result<()> {
        self.sync()
    }

    fn close(self) -> Result<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }

    fn to_word(id: u64) -> u64 {
        id
    }

    fn from_word(word: u64) -> Result<u64> {
        Ok(word)
    }
}

impl<const READ_AHEAD: bool> Session for &Lmdb<READ_AHEAD> {
    type Id = u64;
    type View<'s>
        = ReadView<'s, READ_AHEAD>
    where
        Self: 's;

    fn insert(&mut self, batch: &Batch, ids: &mut Vec<u64>) -> Result<()> {
        let mut tx = self.env.write_txn()?;
        for (id, bytes) in batch.iter() {
            self.records.put_with_flags(&mut tx, PutFlags::APPEND, &id, bytes)?;
            if let Some(indexes) = &self.indexes {
                // An error if the key is there already.
                indexes.by_key.put_with_flags(&mut tx, PutFlags::NO_OVERWRITE, &data::key_of(bytes), &id)?;
                indexes.by_section.put(&mut tx, &data::section_of(bytes), &id)?;
            }
            ids.push(id);
        }
        Ok(tx.commit()?)
    }

    fn get(&mut self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        self.view()?.get(id, visit)
    }

    fn view(&mut self) -> Result<ReadView<'_, READ_AHEAD>> {
        Ok(ReadView { engine: self, tx: self.env.read_txn()? })
    }

    fn update(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        let mut tx = self.env.write_txn()?;
        for (id, bytes) in changes {
            self.records.put(&mut tx, id, bytes)?;
        }
        Ok(tx.commit()?)
    }

    fn modify(&mut self, id: u64, change: &mut impl FnMut(&[u8], &mut Vec<u8>)) -> Result<()> {
        let (mut tx, mut new) = (self.env.write_txn()?, Vec::new());
        change(self.records.get(&tx, &id)?.context("no such record")?, &mut new);
        self.records.put(&mut tx, &id, &new)?;
        Ok(tx.commit()?)
    }

    fn update_keys(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        let indexes = self.indexes.context("no index")?;
        let mut tx = self.env.write_txn()?;
        for (id, bytes) in changes {
            let old = data::key_of(self.records.get(&tx, id)?.context("no such record")?);
            self.records.put(&mut tx, id, bytes)?;
            indexes.by_key.put_with_flags(&mut tx, PutFlags::NO_OVERWRITE, &data::key_of(bytes), id)?;
            indexes.by_key.delete(&mut tx, &old)?;
        }
        Ok(tx.commit()?)
    }

    fn delete(&mut self, ids: &[u64]) -> Result<()> {
        let mut tx = self.env.write_txn()?;
        for id in ids {
            let old = self.records.get(&tx, id)?.context("no such record")?;
            let (key, section) = (data::key_of(old), data::section_of(old));
            self.records.delete(&mut tx, id)?;
            if let Some(indexes) = &self.indexes {
                indexes.by_key.delete(&mut tx, &key)?;
                ensure!(indexes.by_section.delete_one_duplicate(&mut tx, &section, id)?, "no such entry");
            }
        }
        Ok(tx.commit()?)
    }
}

pub struct ReadView<'s, const READ_AHEAD: bool> {
    engine: &'s Lmdb<READ_AHEAD>,
    tx: RoTxn<'s, WithTls>,
}

impl<const READ_AHEAD: bool> View for ReadView<'_, READ_AHEAD> {
    type Id = u64;

    fn get(&self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(self.engine.records.get(&self.tx, &id)?.context("no such record")?);
        Ok(())
    }

    fn by_key(&self, key: &Key, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let indexes = self.engine.indexes.context("no index")?;
        self.get(indexes.by_key.get(&self.tx, key)?.context("no such key")?, visit)
    }

    fn range(&self, sections: Range<u32>, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let indexes = self.engine.indexes.context("no index")?;
        for entry in indexes.by_section.range(&self.tx, &sections)? {
            self.get(entry?.1, visit)?;
        }
        Ok(())
    }

    fn scan(&self, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        for entry in self.engine.records.iter(&self.tx)? {
            visit(entry?.1);
        }
        Ok(())
    }
}
