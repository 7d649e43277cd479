//! Who holds a staged value: its handle alone, a transaction, or a record.
//!
//! Owns: that only one of them does. Invariant: chunks that no commit has taken are freed when the value is dropped, or by the next
//! opening. Never: reads the value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::engine::Engine;
use crate::error::{Error, Result};

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const STORED: u8 = 2;

/// Who holds a staged value.
#[derive(Debug)]
pub(crate) struct Claimed {
    engine: Arc<Engine>,
    stream: Option<u64>,
    state: AtomicU8,
}

impl Claimed {
    /// Its handle alone holds it.
    pub(super) fn new(engine: &Arc<Engine>, stream: Option<u64>) -> Self {
        Self { engine: Arc::clone(engine), stream, state: AtomicU8::new(FREE) }
    }

    /// The engine that has the value.
    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The stream of its chunks, if it has any.
    pub(crate) fn stream(&self) -> Option<u64> {
        self.stream
    }

    /// A transaction takes it.
    pub(super) fn take(&self, engine: &Arc<Engine>) -> Result<()> {
        if !Arc::ptr_eq(&self.engine, engine) {
            return Err(Error::StagedValue { why: "it was staged in another store, or before this one was opened" });
        }
        match self.state.compare_exchange(FREE, TAKEN, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(TAKEN) => Err(Error::StagedValue { why: "an unfinished transaction holds it" }),
            Err(_) => Err(Error::StagedValue { why: "it is already stored as a record" }),
        }
    }

    /// The transaction that held it did not commit.
    pub(crate) fn release(&self) {
        self.state.store(FREE, Ordering::Release);
    }

    /// A record holds it from now on.
    pub(crate) fn store(&self) {
        self.state.store(STORED, Ordering::Release);
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        // In a forked child the chunks belong to the parent.
        if let Some(stream) = self.stream.filter(|_| self.engine.poison.is_ours())
            && *self.state.get_mut() != STORED
        {
            // The next opening frees what cannot be freed now.
            drop(self.engine.drop_streams(&[stream]));
        }
    }
}
