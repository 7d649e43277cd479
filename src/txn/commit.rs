//! Ending a transaction: one frame is validated, appended and applied, or nothing is.
//!
//! Owns: the order of these steps, and returning what an aborted transaction took. Never: appends by itself; the engine
//! does.

use crate::engine::{Engine, Need, Validate};
use crate::error::Result;
use crate::format::item::Kind;
use crate::heap::{Effect, keep_last, put_frees};
use crate::history::Topic;
use crate::id::Seq;
use crate::txn::parts::Parts;
use crate::txn::room::{make_room, pages_of};
use crate::txn::transaction::check_bytes;
use crate::txn::validation::{Checked, Claim};
use crate::txn::{Durability, Isolation, Transaction};

impl Transaction {
    /// Commits: makes all changes visible at once and acknowledges them as the transaction was begun, with
    /// [`Durability::Sync`] once they are durable. Returns the number of the commit; if the transaction wrote nothing,
    /// that of the state it read.
    ///
    /// # Errors
    /// After `Conflict`, `UniqueViolation`, `NoSpace` and `TooLarge` nothing of the transaction remains.
    /// `Indeterminate` means that the commit was appended but the sync failed: reopen the store to learn whether the
    /// commit is there.
    pub fn commit(self) -> Result<Seq> {
        let durability = self.durability;
        self.commit_with(durability)
    }

    /// Like [`commit`](Self::commit), with the durability chosen now.
    ///
    /// # Errors
    /// As `commit`.
    pub fn commit_with(mut self, durability: Durability) -> Result<Seq> {
        if durability == Durability::Remote {
            self.engine.check_shipping()?;
        }
        let seq = self.commit_only()?;
        make_sure(&self.engine, seq, durability)?;
        Ok(seq)
    }

    fn commit_only(&mut self) -> Result<Seq> {
        let engine = &*self.engine;
        engine.poison.check_process()?;
        self.first_read.check(self.first_seq, engine.heap.seq())?;
        let Parts { frame, effects, own, frees, frees_flags, handed, staged, keys, .. } = self.parts.get();
        if effects.is_empty() && frees.is_empty() && staged.is_empty() && keys.is_empty() {
            self.done = handed.is_empty();
            let seen = self.view.as_ref().map(|view| view.seq);
            let seen = seen.or_else(|| self.first_read.seq(self.first_seq));
            return Ok(seen.unwrap_or_else(|| engine.heap.seq()));
        }
        if self.isolation == Isolation::Snapshot {
            own.catch_up(effects);
        }
        for stream in staged.iter().filter_map(|claim| claim.stream()) {
            frame.control(Kind::StreamEnd, &stream.to_le_bytes());
            effects.push(Effect::StreamEnd(stream));
        }
        put_frees(frame, *frees_flags, frees.iter().copied());
        effects.extend(frees.iter().map(|id| Effect::Free(*id)));
        check_bytes(engine, self.parts.get(), 0)?;
        let Parts { frame, effects, own, seen, keys, again, .. } = self.parts.get();
        keys.seal();
        self.ranges.seal();
        self.not_found.seal();
        self.scans.seal();
        keys.put(frame, effects);
        let is_put = |effect: &Effect| matches!(effect, Effect::Put { .. } | Effect::StreamEnd(_));
        // A commit that only deletes is never refused for lack of space.
        let need = if effects.iter().any(is_put) { Need::Ordinary } else { Need::MakesRoom };
        keep_last(effects, 0, again, Effect::record);
        let room = make_room(engine, need, pages_of(effects), keys.len())?;
        let offers = keys.prepare(engine)?;
        // So that applying the commit copies nothing for a view that is no longer read from.
        let read_at = self.view.take().map(|view| view.seq);
        let claim = Claim {
            isolation: self.isolation,
            epochs: &self.epochs,
            first_seq: self.first_seq,
            read_at,
            seen,
            own,
            ranges: &self.ranges,
            watches: &self.watches,
            not_found: &self.not_found,
            scans: &self.scans,
            keys,
            planted: self.planted,
        };
        let mut checked = Checked::new(engine, &claim);
        checked.look_again()?;
        let result = engine.commit_recording(frame, effects, need, engine.old_values, &mut checked);
        drop((checked, offers, room));
        let seq = result?;
        self.done = true;
        self.parts.get().staged.iter().for_each(|claim| claim.store());
        Ok(seq)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.engine.poison.is_ours() {
            // In a forked child: the IDs and streams belong to the parent, which returns them itself.
            return;
        }
        self.watches.end(&self.engine);
        if self.scans.is_in_history() {
            self.engine.history.leave(Topic::Records);
        }
        if self.done {
            return;
        }
        let Parts { handed, staged, .. } = self.parts.get();
        self.engine.slots.abandon(handed.drain(..));
        staged.drain(..).for_each(|claim| claim.release());
    }
}

/// Waits until a commit is as durable as was asked for.
pub(crate) fn make_sure(engine: &Engine, seq: Seq, durability: Durability) -> Result<()> {
    match durability {
        Durability::Buffered => Ok(()),
        Durability::Sync => engine.make_durable(seq),
        Durability::Remote => engine.make_remote(seq),
    }
}
