//! Commits that wait for the place that the backing ships to.
//!
//! Owns: which commits that place has. Never: ships anything, or acknowledges what is not durable here.
//! Invariant: everything up to a commit was durable before its number of events was read.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::backing::{Backlog, Shipping};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::Seq;

/// Moments that are remembered; beyond that the newest one moves on.
const MOMENTS_MAX: usize = 1024;

/// How far the other place is: numbers of events, each with a commit that was durable by then.
#[derive(Debug, Default)]
pub(crate) struct Shipped {
    moments: Mutex<VecDeque<(u64, Seq)>>,
    reached: Mutex<Seq>,
}

impl Shipped {
    fn remember(&self, noted: u64, seq: Seq) {
        let mut moments = self.moments.lock();
        let is_full = moments.len() >= MOMENTS_MAX;
        match moments.back_mut() {
            Some(last) if last.1 >= seq => {}
            Some(last) if is_full => *last = (noted, seq),
            _ => moments.push_back((noted, seq)),
        }
    }

    /// The last commit that is known to be there.
    fn reached(&self, stored: u64) -> Seq {
        let mut moments = self.moments.lock();
        let mut reached = self.reached.lock();
        while let Some((_, seq)) = moments.pop_front_if(|(noted, _)| *noted <= stored) {
            *reached = (*reached).max(seq);
        }
        *reached
    }
}

impl Engine {
    /// Fails if no commit can wait for another place.
    pub(crate) fn check_shipping(&self) -> Result<()> {
        self.shipping().map(drop)
    }

    fn shipping(&self) -> Result<Arc<dyn Shipping>> {
        let why = "the store is not open for writing in a backing that ships to a bucket";
        let refused = || Error::BadOption { option: "durability", got: "Remote".to_owned(), why };
        self.backing.shipping().ok_or_else(refused)
    }

    /// Waits until the other place has a commit.
    pub(crate) fn make_remote(&self, seq: Seq) -> Result<()> {
        let shipping = self.shipping()?;
        let failed = |error: io::Error| match error.downcast::<Error>() {
            Ok(fenced @ Error::Fenced { .. }) => fenced,
            Ok(other) => Error::Indeterminate { seq, reason: other.to_string() },
            Err(error) => Error::Indeterminate { seq, reason: error.to_string() },
        };
        self.make_durable(seq).or_else(|error| shipping.check().map_err(failed).and(Err(error)))?;
        let durable = self.log.durable_seq();
        let noted = shipping.noted();
        self.shipped.remember(noted, durable);
        shipping.wait(noted).map_err(failed)
    }

    /// The last commit that the other place has, and how far it is behind.
    pub(crate) fn backlog(&self) -> Option<(Seq, Backlog)> {
        let shipping = self.backing.shipping()?;
        let durable = self.log.durable_seq();
        self.shipped.remember(shipping.noted(), durable);
        let backlog = shipping.backlog();
        Some((self.shipped.reached(backlog.stored), backlog))
    }
}
