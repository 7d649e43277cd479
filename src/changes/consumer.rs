//! Named consumers: the store keeps for each what it has not acknowledged.
//!
//! Owns: the handle of one. Never: decides what is kept; the collector does, from the positions in the catalogue.

use std::sync::Arc;

use crate::catalogue;
use crate::catalogue::check_name;
use crate::changes::Changes;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::Seq;
use crate::store::Store;

/// A named reader of the changes. The log from its last acknowledged commit on is kept until it acknowledges more: see
/// [`Store::add_consumer`].
#[derive(Debug, Clone)]
pub struct Consumer {
    store: Store,
    name: Arc<str>,
}

impl Store {
    /// Adds a consumer that has everything up to this commit: from now on the store keeps the log after it until the consumer
    /// [acknowledges](Consumer::acknowledge) more, even if the store is closed and opened again. Durable on return.
    ///
    /// [`Stats::consumers`](crate::Stats::consumers) shows how much is kept;
    /// [`Options::consumer_bytes_max`](crate::Options::consumer_bytes_max) limits it.
    ///
    /// ```
    /// use tenure::Store;
    /// let store = Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let mirror = store.add_consumer("mirror", store.last_seq())?;
    /// store.write(|tx| tx.insert(&notes, "first"))?;
    /// let mut changes = mirror.changes()?;
    /// while let Some(commit) = changes.try_next()? {
    ///     // Copy what changed to where it is needed, then:
    ///     mirror.acknowledge(commit.seq())?;
    /// }
    /// assert_eq!(mirror.position()?, changes.passed());
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `BadName` if there is a consumer of this name, `Gone` or `RolledBack` if the log does not lead from there to the last commit,
    /// `PointGone` if there is no such commit yet.
    pub fn add_consumer(&self, name: &str, since: Seq) -> Result<Consumer> {
        check_name("consumer", name)?;
        let engine = self.engine();
        engine.check_writable()?;
        let is_new = || match engine.heap.catalogue().consumer(name) {
            None => Ok(()),
            Some(_) => {
                Err(Error::BadName { what: "consumer", name: name.to_owned(), why: "there is a consumer of this name" })
            }
        };
        is_new()?;
        let consumer = catalogue::Consumer { seq: since, is_lost: false };
        // First, so that nothing is deleted after the log was looked at.
        let seq = engine.commit_consumer(name, Some(consumer), is_new)?;
        // The collector may be deleting what it found that nobody needed.
        self.collector().wait_idle();
        let is_there = engine.make_durable(seq).and_then(|()| {
            let mut changes = self.changes(since)?;
            // To its end: changes may be gone between others that are there.
            while changes.passed() < seq && changes.try_next()?.is_some() {}
            Ok(())
        });
        match is_there {
            Ok(()) => Ok(Consumer { store: self.clone(), name: Arc::from(name) }),
            Err(error) => {
                self.remove_consumer(name)?;
                Err(error)
            }
        }
    }

    /// A consumer that was added before.
    ///
    /// # Errors
    /// `NoSuchConsumer`.
    pub fn consumer(&self, name: &str) -> Result<Consumer> {
        let consumer = Consumer { store: self.clone(), name: Arc::from(name) };
        consumer.now().map(|_| consumer)
    }

    /// Removes a consumer: nothing is kept for it any more. Durable on return.
    ///
    /// # Errors
    /// `NoSuchConsumer`.
    pub fn remove_consumer(&self, name: &str) -> Result<()> {
        let engine = self.engine();
        engine.check_writable()?;
        find(engine, name)?;
        let seq = engine.commit_consumer(name, None, || find(engine, name).map(drop))?;
        engine.make_durable(seq)?;
        self.collector().sweep(engine)
    }
}

fn find(engine: &Engine, name: &str) -> Result<catalogue::Consumer> {
    let found = engine.heap.catalogue().consumer(name);
    found.ok_or_else(|| Error::NoSuchConsumer { name: name.to_owned() })
}

impl Consumer {
    fn now(&self) -> Result<catalogue::Consumer> {
        find(self.store.engine(), &self.name)
    }

    fn kept(&self) -> Result<catalogue::Consumer> {
        let now = self.now()?;
        if now.is_lost {
            return Err(Error::ConsumerDropped { name: self.name.to_string(), since: now.seq });
        }
        Ok(now)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The last commit that it has acknowledged.
    ///
    /// # Errors
    /// `NoSuchConsumer` if it was removed, `ConsumerDropped` if it was too far behind.
    pub fn position(&self) -> Result<Seq> {
        self.kept().map(|kept| kept.seq)
    }

    /// The commits that it has not acknowledged.
    ///
    /// # Errors
    /// As [`position`](Self::position), and those of [`Store::changes`].
    pub fn changes(&self) -> Result<Changes> {
        self.store.changes(self.position()?)
    }

    /// Says that it has everything up to this commit, so that the store need not keep it. Acknowledge what is durable where it was
    /// copied to, and not each commit: this is a small commit, without a sync. After a power cut the position may be an earlier
    /// one, so a consumer that must apply each change once stores its own position with what it copies.
    ///
    /// An earlier commit than the last acknowledged one changes nothing.
    ///
    /// # Errors
    /// As [`position`](Self::position); `PointGone` if the commit is not durable yet, `ReadOnly` if the handle only reads.
    pub fn acknowledge(&self, seq: Seq) -> Result<()> {
        let engine = self.store.engine();
        engine.poison.check_process()?;
        // Also of a commit that this handle does not know yet, and of one that was acknowledged before.
        if engine.read_only {
            return Err(Error::ReadOnly);
        }
        let durable = self.store.durable_seq();
        if seq > durable {
            let why = format!("the last durable commit is {durable}");
            return Err(Error::PointGone { point: format!("commit {seq}"), why });
        }
        if seq <= self.kept()?.seq {
            return Ok(());
        }
        let consumer = catalogue::Consumer { seq, is_lost: false };
        let mut is_passed = false;
        let committed = engine.commit_consumer(&self.name, Some(consumer), || {
            // Another thread may have acknowledged more meanwhile.
            is_passed = seq <= self.kept()?.seq;
            if is_passed { Err(Error::NoSuchConsumer { name: self.name.to_string() }) } else { Ok(()) }
        });
        if is_passed { Ok(()) } else { committed.map(drop) }
    }
}
