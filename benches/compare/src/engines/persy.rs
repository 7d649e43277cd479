//! persy.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use data_encoding::BASE32_DNSSEC;
use persy::{Config, Persy as Database, PersyId, SegmentId, Snapshot, Transaction, TransactionConfig, ValueMode};

use crate::data;
use crate::data::Key;
use crate::engine::{Batch, Engine, Session, Setup, View};

const BY_KEY: &str = "by_key";
const BY_SECTION: &str = "by_section";
/// Bits of a word for the place within a page.
const PLACE_BITS: u32 = 16;

pub struct Persy {
    database: Database,
    records: SegmentId,
    setup: Setup,
}

/// Errors of persy are generic over their operation.
fn error(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("persy: {error}")
}

impl Persy {
    fn begin(&self) -> Result<Transaction> {
        let config = TransactionConfig::new().set_background_sync(!self.setup.durable);
        self.database.begin_with(config).map_err(error)
    }

    fn old(&self, tx: &mut Transaction, id: PersyId) -> Result<Vec<u8>> {
        tx.read(self.records, &id).map_err(error)?.context("no such record")
    }
}

fn commit(tx: Transaction) -> Result<()> {
    tx.prepare().map_err(error)?.commit().map_err(error)
}

fn number(key: &Key) -> u128 {
    u128::from_be_bytes(*key)
}

fn variable_length(bytes: &[u8]) -> (u64, usize) {
    let length = bytes.iter().take_while(|byte| **byte >= 128).count() + 1;
    let part = |sum: u64, byte: &u8| sum << 7 | u64::from(byte & 127);
    (bytes[..length.min(bytes.len())].iter().rev().fold(0, part), length)
}

fn put_variable_length(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 127).unwrap_or_default();
        number >>= 7;
        out.push(if number > 0 { low | 128 } else { low });
        if number == 0 {
            return;
        }
    }
}

impl Engine for Persy {
    type Id = PersyId;
    type Session<'e> = &'e Self;

    const NAME: &'static str = "persy";
    const SETTINGS: &'static str = "Cache 256 MiB. Loads and updates with `background_sync`, durable commits without. Records \
        in a segment under the IDs that persy gives; unique index u128 -> ID (`Exclusive`), the other u32 -> IDs \
        (`Cluster`). A reference packs page and place of an ID into 8 bytes.";

    fn open(path: &Path, setup: Setup) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let mut config = Config::new();
        config.change_cache_size(setup.cache_bytes() as u64);
        let database = Database::open_or_create_with(path.join("data.persy"), config, move |database| {
            let mut tx = database.begin()?;
            tx.create_segment("records")?;
            if setup.indexed {
                tx.create_index::<u128, PersyId>(BY_KEY, ValueMode::Exclusive)?;
                tx.create_index::<u32, PersyId>(BY_SECTION, ValueMode::Cluster)?;
            }
            tx.prepare()?.commit()?;
            Ok(())
        })
        .map_err(error)?;
        let records = database.solve_segment_id("records").map_err(error)?;
        Ok(Self { database, records, setup })
    }

    fn session(&self) -> Result<&Self> {
        Ok(self)
    }

    fn sync(&self) -> Result<()> {
        // Nothing in the library waits for its background syncs: a commit in the foreground does.
        let mut tx = self.database.begin_with(TransactionConfig::new()).map_err(error)?;
        let mark = tx.insert(self.records, &[]).map_err(error)?;
        tx.delete(self.records, &mark).map_err(error)?;
        commit(tx)
    }

    fn settle(&self) -> Result<()> {
        self.sync()
    }

    fn close(self) -> Result<()> {
        self.sync()
    }

    fn to_word(id: PersyId) -> u64 {
        let bytes = BASE32_DNSSEC.decode(id.to_string().as_bytes()).unwrap_or_default();
        let (page, length) = variable_length(&bytes);
        let (place, _) = variable_length(&bytes[length + 1..]);
        assert!(place < 1 << PLACE_BITS, "a place within a page");
        page << PLACE_BITS | place
    }

    fn from_word(word: u64) -> Result<PersyId> {
        let mut bytes = Vec::with_capacity(16);
        put_variable_length(word >> PLACE_BITS, &mut bytes);
        bytes.push(0b0101_0101);
        put_variable_length(word & ((1 << PLACE_BITS) - 1), &mut bytes);
        BASE32_DNSSEC.encode(&bytes).parse().map_err(error)
    }
}

impl Session for &Persy {
    type Id = PersyId;
    type View<'s>
        = ReadView<'s>
    where
        Self: 's;

    fn insert(&mut self, batch: &Batch, ids: &mut Vec<PersyId>) -> Result<()> {
        let mut tx = self.begin()?;
        for (_, bytes) in batch.iter() {
            let id = tx.insert(self.records, bytes).map_err(error)?;
            if self.setup.indexed {
                tx.put(BY_KEY, number(&data::key_of(bytes)), id).map_err(error)?;
                tx.put(BY_SECTION, data::section_of(bytes), id).map_err(error)?;
            }
            ids.push(id);
        }
        commit(tx)
    }

    fn get(&mut self, id: PersyId, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(&self.database.read(self.records, &id).map_err(error)?.context("no such record")?);
        Ok(())
    }

    fn view(&mut self) -> Result<ReadView<'_>> {
        Ok(ReadView { engine: self, snapshot: self.database.snapshot().map_err(error)? })
    }

    fn update(&mut self, changes: &[(PersyId, &[u8])]) -> Result<()> {
        let mut tx = self.begin()?;
        for (id, bytes) in changes {
            tx.update(self.records, id, bytes).map_err(error)?;
        }
        commit(tx)
    }

    fn update_keys(&mut self, changes: &[(PersyId, &[u8])]) -> Result<()> {
        let mut tx = self.begin()?;
        for (id, bytes) in changes {
            let old = data::key_of(&self.old(&mut tx, *id)?);
            tx.update(self.records, id, bytes).map_err(error)?;
            tx.remove::<u128, PersyId>(BY_KEY, number(&old), None).map_err(error)?;
            tx.put(BY_KEY, number(&data::key_of(bytes)), *id).map_err(error)?;
        }
        commit(tx)
    }

    fn delete(&mut self, ids: &[PersyId]) -> Result<()> {
        let mut tx = self.begin()?;
        for id in ids {
            let old = self.old(&mut tx, *id)?;
            tx.delete(self.records, id).map_err(error)?;
            if self.setup.indexed {
                tx.remove::<u128, PersyId>(BY_KEY, number(&data::key_of(&old)), None).map_err(error)?;
                tx.remove(BY_SECTION, data::section_of(&old), Some(*id)).map_err(error)?;
            }
        }
        commit(tx)
    }
}

pub struct ReadView<'s> {
    engine: &'s Persy,
    snapshot: Snapshot,
}

impl View for ReadView<'_> {
    type Id = PersyId;

    fn get(&self, id: PersyId, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        visit(&self.snapshot.read(self.engine.records, &id).map_err(error)?.context("no such record")?);
        Ok(())
    }

    fn by_key(&self, key: &Key, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        let id = self.snapshot.one::<u128, PersyId>(BY_KEY, &number(key)).map_err(error)?;
        self.get(id.context("no such key")?, visit)
    }

    fn range(&self, sections: Range<u32>, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        for (_, ids) in self.snapshot.range::<u32, PersyId, _>(BY_SECTION, sections).map_err(error)? {
            ids.into_iter().try_for_each(|id| self.get(id, visit))?;
        }
        Ok(())
    }

    fn scan(&self, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        for (_, bytes) in self.snapshot.scan(self.engine.records).map_err(error)? {
            visit(&bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_goes_into_a_word_and_back() {
        for word in [0, 1, 127, (128 << PLACE_BITS) + 65_535, (99_999_999 << PLACE_BITS) + 300] {
            let id = Persy::from_word(word).expect("an ID");
            assert_eq!(Persy::to_word(id), word);
        }
    }
}
