//! The application's own bytes about a commit.
//!
//! Owns: adding them to the frame. Never: reads them; they come with the changes of the commit.

use crate::error::{Error, Result};
use crate::format::item::{Kind, PAYLOAD_BYTES_MAX, item_bytes};
use crate::id::to_u64;
use crate::txn::Transaction;
use crate::txn::transaction::check_bytes;

impl Transaction {
    /// Adds a note to the commit, up to 65,504 bytes: who made the change, or why. It is in the log, and comes with
    /// [`Store::changes`](crate::Store::changes). A later note of the transaction replaces it. A transaction that writes
    /// nothing commits nothing, and so has no note.
    ///
    /// ```
    /// use tenure::{Seq, Store};
    /// let store = Store::in_memory()?;
    /// let notes = store.record_set("notes")?;
    /// let mut tx = store.begin()?;
    /// tx.insert(&notes, "first")?;
    /// tx.note("imported by hand")?;
    /// let seq = tx.commit()?;
    /// let commit = store.changes(Seq::ZERO)?.find(|commit| commit.as_ref().is_ok_and(|commit| commit.seq() == seq));
    /// assert_eq!(commit.unwrap()?.note()?.as_deref(), Some(&b"imported by hand"[..]));
    /// # Ok::<(), tenure::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TooLarge`.
    pub fn note(&mut self, note: impl AsRef<[u8]>) -> Result<()> {
        let note = note.as_ref();
        if note.len() > PAYLOAD_BYTES_MAX {
            let (bytes, limit) = (to_u64(note.len()), to_u64(PAYLOAD_BYTES_MAX));
            return Err(Error::TooLarge { what: "note", bytes, limit });
        }
        check_bytes(&self.engine, self.parts.get(), item_bytes(Kind::Metadata as u8, note.len()))?;
        self.parts.get().frame.control(Kind::Metadata, note);
        Ok(())
    }
}
