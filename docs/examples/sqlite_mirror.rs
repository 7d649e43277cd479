//! Mirrors a set into `SQLite`, each change exactly once, however often either side is killed.
//!
//! The position is stored in `SQLite`, in the same transaction as the changes: whatever a crash leaves, the two agree. The named
//! consumer only tells the store what it need not keep any more, so it may be behind.
//!
//! Run: `cargo run --example sqlite_mirror`

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tenure::{ChangeKind, Changes, Commit, Consumer, Error, RecordSet, Seq, Store};

/// The name of the consumer in the store.
pub const NAME: &str = "sqlite";
/// Commits that one transaction of `SQLite` takes, at most.
const COMMITS: usize = 500;

/// What may fail.
#[derive(Debug)]
pub enum Failure {
    /// The store.
    Store(Error),
    /// The mirror.
    Sqlite(rusqlite::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A table with the records of one set, and the position in another.
#[derive(Debug)]
pub struct Mirror {
    sqlite: Connection,
    /// Where the store is open for writing.
    consumer: Option<Consumer>,
    changes: Changes,
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn prepare(sqlite: &Connection) -> Result<(), Failure> {
    sqlite.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE IF NOT EXISTS records
             (id INTEGER PRIMARY KEY, value BLOB NOT NULL, seq INTEGER NOT NULL, changes INTEGER NOT NULL);
         CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL);",
    )?;
    Ok(())
}

/// The commit that a mirror has come to.
pub fn position(sqlite: &Connection) -> Result<Option<Seq>, Failure> {
    let seq: Option<i64> = sqlite.query_row("SELECT seq FROM position", [], |row| row.get(0)).optional()?;
    Ok(seq.and_then(|seq| u64::try_from(seq).ok()).map(Seq))
}

impl Mirror {
    /// A mirror in the process that writes to the store. Where it cannot go on, it begins again with what the set has now.
    pub fn open(store: &Store, set: &RecordSet, sqlite: Connection) -> Result<Self, Failure> {
        prepare(&sqlite)?;
        let known = store.consumer(NAME).and_then(|consumer| consumer.position().map(|_| consumer));
        if let (Some(since), Ok(consumer)) = (position(&sqlite)?, known) {
            let changes = store.changes(since)?.of_sets([set]);
            return Ok(Self { sqlite, consumer: Some(consumer), changes });
        }
        Self::begin_again(store, set, sqlite)
    }

    /// A mirror in another process, with a store that is open read-only. The writer has added the consumer at the beginning, and
    /// acknowledges the [`position`] of the mirror from time to time.
    pub fn beside(store: &Store, set: &RecordSet, sqlite: Connection) -> Result<Self, Failure> {
        prepare(&sqlite)?;
        let since = position(&sqlite)?.unwrap_or(Seq::ZERO);
        let changes = store.changes(since)?.of_sets([set]);
        Ok(Self { sqlite, consumer: None, changes })
    }

    /// Copies a view, and follows from its commit on.
    fn begin_again(store: &Store, set: &RecordSet, mut sqlite: Connection) -> Result<Self, Failure> {
        // A mirror that is interrupted here begins again.
        sqlite.execute("DELETE FROM position", [])?;
        match store.remove_consumer(NAME) {
            Ok(()) | Err(Error::NoSuchConsumer { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        // In this order: what is committed after the view is kept. What is copied must be durable.
        let consumer = store.add_consumer(NAME, store.durable_seq())?;
        let view = store.view();
        store.wait_durable(view.seq())?;
        let transaction = sqlite.transaction()?;
        transaction.execute("DELETE FROM records", [])?;
        for record in view.scan(set) {
            let record = record?;
            let values = params![number(record.id().as_u64()), record.to_vec()?, number(record.seq().0)];
            transaction.execute("INSERT INTO records VALUES (?1, ?2, ?3, 1)", values)?;
        }
        transaction.execute("INSERT INTO position VALUES (1, ?1)", [number(view.seq().0)])?;
        transaction.commit()?;
        let changes = store.changes(view.seq())?.of_sets([set]);
        Ok(Self { sqlite, consumer: Some(consumer), changes })
    }

    /// Applies the commits that there are, waiting for the first one. Returns how many.
    pub fn step(&mut self, timeout: Duration) -> Result<usize, Failure> {
        let Some(first) = self.changes.next_timeout(timeout)? else { return Ok(0) };
        let transaction = self.sqlite.transaction()?;
        apply(&transaction, &first)?;
        let mut count = 1;
        while count < COMMITS
            && let Some(commit) = self.changes.try_next()?
        {
            apply(&transaction, &commit)?;
            count += 1;
        }
        let passed = self.changes.passed();
        transaction.execute("INSERT OR REPLACE INTO position VALUES (1, ?1)", [number(passed.0)])?;
        transaction.commit()?;
        if let Some(consumer) = &self.consumer {
            consumer.acknowledge(passed)?;
        }
        Ok(count)
    }
}

/// Applies a commit. Inserts fail if the record is there, updates and deletes if it is not.
fn apply(sqlite: &Connection, commit: &Commit) -> Result<(), Failure> {
    const INSERT: &str = "INSERT INTO records VALUES (?1, ?2, ?3, 1)";
    const UPDATE: &str = "UPDATE records SET value = ?2, seq = ?3, changes = changes + 1 WHERE id = ?1";
    const DELETE: &str = "DELETE FROM records WHERE id = ?1";
    for change in commit.changes() {
        let change = change?;
        let id = change.id().map(|id| number(id.as_u64()));
        // Empty for a large value that was reclaimed: the commit that has replaced it follows.
        let (value, seq) = (change.value()?.into_bytes().unwrap_or_default(), number(commit.seq().0));
        let changed = match change.kind() {
            ChangeKind::Insert => sqlite.prepare(INSERT)?.execute(params![id, value, seq])?,
            ChangeKind::Update => sqlite.prepare(UPDATE)?.execute(params![id, value, seq])?,
            ChangeKind::Delete => sqlite.prepare(DELETE)?.execute([id])?,
            ChangeKind::DropSet => sqlite.execute("DELETE FROM records", []).map(|_| 1)?,
            _ => 1,
        };
        if changed != 1 {
            return Err(Failure::Sqlite(rusqlite::Error::StatementChangedRows(changed)));
        }
    }
    Ok(())
}

/// Mirrors a few changes.
pub fn main() -> Result<(), Failure> {
    let dir = tempfile::tempdir().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let store = Store::open(dir.path().join("things.tenure"))?;
    let people = store.record_set("people")?;
    let ada = store.write(|tx| tx.insert(&people, "Ada"))?;
    let mut mirror = Mirror::open(&store, &people, Connection::open(dir.path().join("mirror.sqlite"))?)?;
    let bob = store.write(|tx| tx.insert(&people, "Bob"))?;
    store.write(|tx| tx.update(ada, "Ada King"))?;
    store.write(|tx| tx.delete(bob))?;
    while mirror.step(Duration::from_millis(50))? > 0 {}
    let name: Vec<u8> = mirror.sqlite.query_row("SELECT value FROM records", [], |row| row.get(0))?;
    assert_eq!(name, b"Ada King");
    store.close()?;
    Ok(())
}
