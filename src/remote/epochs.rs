//! Epochs: ending one, beginning the next.
//!
//! Owns: who writes. Never: asks a clock or a lease.
//! Invariants: 1. An epoch exists only if the log of the one before ends with a seal. 2. Of several that begin the same epoch, one
//! succeeds.

use std::time::Duration;

use object_store::PutPayload;

use crate::error::{Error, Result};
use crate::remote::bucket::{Bucket, Outcome};
use crate::remote::object::{Body, LogPoint, Nonce, Object, decode, encode};

/// How often an unclear outcome is tried again, and the pauses.
const ATTEMPTS: u32 = 8;
const PAUSE: Duration = Duration::from_millis(20);

/// Whether these bytes are an object of this writer at this point.
pub(super) fn is_own(bytes: &[u8], nonce: Nonce, at: LogPoint) -> bool {
    decode("", bytes).is_ok_and(|object| object.nonce == nonce && object.at == at)
}

impl Bucket {
    /// Puts a small object until its outcome is known. `None` if it is stored, or what is there instead.
    async fn settle(&self, name: &object_store::path::Path, object: &Object) -> Result<Option<Vec<u8>>> {
        let bytes = encode(object, &[]);
        let mut attempt = 0;
        loop {
            let owned = |found: &[u8]| is_own(found, object.nonce, object.at);
            match self.put(name, PutPayload::from(bytes.clone()), owned).await {
                Outcome::Stored => return Ok(None),
                Outcome::Taken(bytes) => return Ok(Some(bytes)),
                Outcome::Unknown(error) if attempt == ATTEMPTS => return Err(error),
                Outcome::Unknown(_) => {
                    tokio::time::sleep(PAUSE * (1 << attempt.min(6))).await;
                    attempt += 1;
                }
            }
        }
    }

    /// The last number of the log of an epoch, without a seal, and whether there is one.
    pub(super) async fn end_of(&self, epoch: u64) -> Result<(u64, bool)> {
        let number = self.last_number(epoch).await?;
        let is_sealed = number > 0 && self.seal(LogPoint { epoch, number }).await?.is_some();
        Ok((if is_sealed { number - 1 } else { number }, is_sealed))
    }

    /// Ends the log of an epoch at this place. Says whether it ends there, whoever put the seal; if not, its writer has put events.
    pub(super) async fn seal_at(&self, at: LogPoint, nonce: Nonce) -> Result<bool> {
        let name = self.names.log(at);
        let seal = Object { nonce, at, body: Body::Seal { is_own: false } };
        match self.settle(&name, &seal).await? {
            None => Ok(true),
            Some(bytes) => Ok(matches!(decode(name.as_ref(), &bytes)?.body, Body::Seal { .. })),
        }
    }

    /// Ends the log of an epoch, if nobody has, and returns its last number, without the seal.
    pub(super) async fn seal_epoch(&self, epoch: u64, nonce: Nonce) -> Result<u64> {
        let (mut number, is_sealed) = self.end_of(epoch).await?;
        while !is_sealed && !self.seal_at(LogPoint { epoch, number: number + 1 }, nonce).await? {
            number += 1;
        }
        Ok(number)
    }

    /// Whether the log of an epoch ends with a seal, whoever put it.
    pub(super) async fn is_sealed(&self, epoch: u64) -> Result<bool> {
        Ok(self.end_of(epoch).await?.1)
    }

    /// Begins an epoch.
    ///
    /// # Errors
    /// `Locked` if another writer did.
    pub(super) async fn begin_epoch(&self, epoch: u64, nonce: Nonce, previous_last: u64) -> Result<()> {
        let at = LogPoint { epoch, number: 0 };
        let object = Object { nonce, at, body: Body::Epoch { previous_last } };
        match self.settle(&self.names.epoch(epoch), &object).await? {
            None => Ok(()),
            Some(_) => Err(Error::Locked { path: self.to_string() }),
        }
    }
}
