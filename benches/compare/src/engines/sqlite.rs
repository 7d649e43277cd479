//! `SQLite`, by its binding rusqlite.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context as _, Result, ensure};
use rusqlite::{CachedStatement, Connection, Params, params};

use crate::data;
use crate::data::Key;
use crate::engine::{Batch, Engine, Session, Setup, View};

const GET: &str = "SELECT value FROM record WHERE id = ?1";
const BY_KEY: &str = "SELECT value FROM record WHERE key = ?1";
const RANGE: &str = "SELECT value FROM record WHERE section >= ?1 AND section < ?2 ORDER BY section, id";
const UPDATE: &str = "UPDATE record SET value = ?2 WHERE id = ?1";
const UPDATE_KEY: &str = "UPDATE record SET value = ?2, key = ?3 WHERE id = ?1";
const DELETE: &str = "DELETE FROM record WHERE id = ?1";

pub struct Sqlite {
    path: PathBuf,
    setup: Setup,
    /// One writes at a time, and waits for its turn without sleeping.
    writer: Mutex<()>,
    /// The first connection makes the tables, and the last to go checkpoints.
    main: Mutex<Connection>,
}

impl Sqlite {
    fn connect(path: &Path, setup: Setup) -> Result<Connection> {
        let connection = Connection::open(path)?;
        connection.set_prepared_statement_cache_capacity(32);
        // The log is checkpointed at 64 MiB, or not at all.
        let pages = if setup.long_tail { 0 } else { (64 << 20) / 4096 };
        let synchronous = if setup.durable { "FULL" } else { "NORMAL" };
        let cache_kibibytes = setup.cache_bytes() >> 10;
        let mapped: u64 = if setup.memory.is_some() { 0 } else { 1 << 32 };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA cache_size = -{cache_kibibytes};
             PRAGMA mmap_size = {mapped}; PRAGMA wal_autocheckpoint = {pages}; PRAGMA temp_store = MEMORY;"
        ))?;
        connection.busy_timeout(std::time::Duration::from_mins(1))?;
        Ok(connection)
    }
}

impl Engine for Sqlite {
    type Id = u64;
    type Session<'e> = Handle<'e>;

    const NAME: &'static str = "sqlite";
    const SETTINGS: &'static str = "WAL, `synchronous = NORMAL` for loads and updates and `FULL` for durable commits, cache \
        256 MiB a connection, so more than the others with several threads, file mapped (not where memory is limited), checkpoint at 64 MiB, prepared \
        statements, a connection for each thread, one writer at a time by a lock. One table: id, key (unique index), \
        section (index), value. No checksums.";

    fn open(path: &Path, setup: Setup) -> Result<Self> {
        std::fs::create_dir_all(path)?;
        let path = path.join("data.sqlite");
        let main = Self::connect(&path, setup)?;
        let columns = if setup.indexed { "key BLOB NOT NULL UNIQUE, section INTEGER NOT NULL, " } else { "" };
        main.execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS record (id INTEGER PRIMARY KEY, {columns}value BLOB NOT NULL);"
        ))?;
        if setup.indexed {
            main.execute_batch("CREATE INDEX IF NOT EXISTS by_section ON record (section);")?;
        }
        Ok(Self { path, setup, writer: Mutex::default(), main: Mutex::new(main) })
    }

    fn session(&self) -> Result<Handle<'_>> {
        Ok(Handle { connection: Self::connect(&self.path, self.setup)?, engine: self })
    }

    fn sync(&self) -> Result<()> {
        // The log is synced when it is checkpointed.
        let main = self.main.lock().ok().context("poisoned")?;
        main.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        let main = self.main.lock().ok().context("poisoned")?;
        main.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    fn close(self) -> Result<()> {
        let main = self.main.into_inner().ok().context("poisoned")?;
        main.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    fn to_word(id: u64) -> u64 {
        id
    }

    fn from_word(word: u64) -> Result<u64> {
        Ok(word)
    }
}

pub struct Handle<'e> {
    connection: Connection,
    engine: &'e Sqlite,
}

impl Handle<'_> {
    fn write(&mut self, body: impl FnOnce(&Connection) -> Result<()>) -> Result<()> {
        let _held = self.engine.writer.lock().ok().context("poisoned")?;
        let tx = self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        body(&tx)?;
        Ok(tx.commit()?)
    }
}

impl Session for Handle<'_> {
    type Id = u64;
    type View<'s>
        = ReadView<'s>
    where
        Self: 's;

    fn insert(&mut self, batch: &Batch, ids: &mut Vec<u64>) -> Result<()> {
        let indexed = self.engine.setup.indexed;
        self.write(|tx| {
            let columns = if indexed { "(id, value, key, section) VALUES (?1, ?2, ?3, ?4)" } else { "VALUES (?1, ?2)" };
            let mut insert = tx.prepare_cached(&format!("INSERT INTO record {columns}"))?;
            for (id, bytes) in batch.iter() {
                if indexed {
                    insert.execute(params![id, bytes, &data::key_of(bytes)[..], data::section_of(bytes)])?;
                } else {
                    insert.execute(params![id, bytes])?;
                }
                ids.push(id);
            }
            Ok(())
        })
    }

    fn get(&mut self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        ensure!(show(&mut self.connection.prepare_cached(GET)?, params![id], visit)? == 1, "no such record");
        Ok(())
    }

    fn view(&mut self) -> Result<ReadView<'_>> {
        self.connection.prepare_cached("BEGIN")?.execute([])?;
        Ok(ReadView { connection: &self.connection })
    }

    fn update(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        self.write(|tx| {
            let mut update = tx.prepare_cached(UPDATE)?;
            for (id, bytes) in changes {
                ensure!(update.execute(params![id, bytes])? == 1, "no such record");
            }
            Ok(())
        })
    }

    fn update_keys(&mut self, changes: &[(u64, &[u8])]) -> Result<()> {
        self.write(|tx| {
            let mut update = tx.prepare_cached(UPDATE_KEY)?;
            for (id, bytes) in changes {
                ensure!(update.execute(params![id, bytes, &data::key_of(bytes)[..]])? == 1, "no such record");
            }
            Ok(())
        })
    }

    fn delete(&mut self, ids: &[u64]) -> Result<()> {
        self.write(|tx| {
            let mut delete = tx.prepare_cached(DELETE)?;
            for id in ids {
                ensure!(delete.execute(params![id])? == 1, "no such record");
            }
            Ok(())
        })
    }
}

/// Shows the values of all rows, in place, and counts them.
fn show(statement: &mut CachedStatement<'_>, params: impl Params, visit: &mut impl FnMut(&[u8])) -> Result<u32> {
    let (mut rows, mut count) = (statement.query(params)?, 0);
    while let Some(row) = rows.next()? {
        visit(row.get_ref(0)?.as_blob()?);
        count += 1;
    }
    Ok(count)
}

pub struct ReadView<'s> {
    connection: &'s Connection,
}

impl Drop for ReadView<'_> {
    fn drop(&mut self) {
        // A failure shows in the next BEGIN.
        let ended = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        debug_assert!(ended.is_ok(), "a read transaction ends");
    }
}

impl View for ReadView<'_> {
    type Id = u64;

    fn get(&self, id: u64, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        ensure!(show(&mut self.connection.prepare_cached(GET)?, params![id], visit)? == 1, "no such record");
        Ok(())
    }

    fn by_key(&self, key: &Key, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        ensure!(show(&mut self.connection.prepare_cached(BY_KEY)?, params![&key[..]], visit)? == 1, "no such key");
        Ok(())
    }

    fn range(&self, sections: Range<u32>, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        show(&mut self.connection.prepare_cached(RANGE)?, params![sections.start, sections.end], visit)?;
        Ok(())
    }

    fn scan(&self, visit: &mut impl FnMut(&[u8])) -> Result<()> {
        show(&mut self.connection.prepare_cached("SELECT value FROM record")?, [], visit)?;
        Ok(())
    }
}
