//! Loading a state of a bucket: the newest base before it, and the log after that.
//!
//! Owns: where a point's table of files comes from. Never: changes the bucket.

use futures_util::{StreamExt, TryStreamExt};

use crate::error::{Error, Result};
use crate::remote::bucket::{Bucket, Found};
use crate::remote::names;
use crate::remote::object::{Body, Event, LogPoint, Object, decode};
use crate::remote::table::Table;

/// Requests at a time.
pub(super) const PARALLEL: usize = 32;
/// Log objects that an epoch counts as, when the next base is due.
const EPOCH_COUNTS_AS: u64 = 8;

/// A state of the bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    pub(super) table: Table,
    /// Log objects, and epochs, since the base.
    pub(super) since_base: u64,
}

/// Which deletes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletes {
    Apply,
    /// Not those that the writer of the newest epoch made: as if each had failed. What was gone when an epoch began is gone.
    IgnoreNewest,
}

impl Bucket {
    /// The newest epoch, 0 if there is none.
    pub(super) async fn newest_epoch(&self) -> Result<u64> {
        let epochs = self.list(&self.names.epochs(), None).await?;
        Ok(epochs.iter().filter_map(|meta| names::number(&meta.location)).max().unwrap_or_default())
    }

    /// What an epoch's object says: the writer, and the last number of the log before it.
    pub(super) async fn epoch(&self, epoch: u64) -> Result<(Object, u64)> {
        let name = self.names.epoch(epoch);
        let object = self.object(&name).await?;
        match object.body {
            Body::Epoch { previous_last } if object.at.epoch == epoch => Ok((object, previous_last)),
            _ => Err(Error::corrupt(name.as_ref(), 0, "an object", "this epoch", "another object")),
        }
    }

    /// The bases up to a point, oldest first.
    pub(super) async fn bases(&self, until: LogPoint) -> Result<Vec<LogPoint>> {
        let bases = self.list(&self.names.bases(), None).await?;
        let mut bases: Vec<LogPoint> = bases.iter().filter_map(|meta| names::point(&meta.location)).collect();
        bases.retain(|base| *base <= until);
        bases.sort_unstable();
        Ok(bases)
    }

    pub(super) async fn base(&self, at: LogPoint) -> Result<Table> {
        let name = self.names.base(at);
        let object = self.object(&name).await?;
        match object.body {
            Body::Base { files, .. } if object.at == at => Table::of_base(name.as_ref(), files),
            _ => Err(Error::corrupt(name.as_ref(), 0, "an object", "this base", "another object")),
        }
    }

    /// The last object of an epoch's log, 0 if there is none.
    pub(super) async fn last_number(&self, epoch: u64) -> Result<u64> {
        let bases = self.bases(LogPoint { epoch, number: u64::MAX }).await?;
        let known = bases.last().filter(|base| base.epoch == epoch).map_or(0, |base| base.number);
        let after = self.names.log(LogPoint { epoch, number: known });
        let logs = self.list(&self.names.logs_of(epoch), Some(&after)).await?;
        Ok(logs.iter().filter_map(|meta| names::number(&meta.location)).max().unwrap_or_default().max(known))
    }

    /// Loads the state at a point. If a base is damaged, an older one serves as well.
    pub(super) async fn load(&self, until: LogPoint, deletes: Deletes) -> Result<Loaded> {
        let mut bases = self.bases(until).await?;
        let mut damage = None;
        loop {
            let base = bases.pop();
            let loaded = match base {
                Some(base) => self.base(base).await,
                None => Ok(Table::default()),
            };
            let result = match loaded {
                Ok(table) => {
                    let loaded = Loaded { table, since_base: 0 };
                    self.replay(loaded, base.unwrap_or_default(), until, deletes).await
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(loaded) => return Ok(loaded),
                Err(error) if base.is_some() && (error.is_corruption() || matches!(error, Error::PointGone { .. })) => {
                    damage.get_or_insert(error);
                }
                Err(error) => return Err(damage.unwrap_or(error)),
            }
        }
    }

    /// Applies the log objects after one point up to another.
    async fn replay(&self, mut loaded: Loaded, from: LogPoint, until: LogPoint, deletes: Deletes) -> Result<Loaded> {
        for epoch in from.epoch.max(1)..=until.epoch {
            let first = if epoch == from.epoch { from.number + 1 } else { 1 };
            let last = if epoch == until.epoch { until.number } else { self.epoch(epoch + 1).await?.1 };
            loaded.since_base += if epoch == from.epoch { 0 } else { EPOCH_COUNTS_AS };
            let numbers = first..=last;
            let read = futures_util::stream::iter(numbers.map(|number| {
                let name = self.names.log(LogPoint { epoch, number });
                async move { Ok((self.need(&name).await?, name, number)) }
            }));
            let mut read = read.buffered(PARALLEL);
            while let Some((bytes, name, number)) = read.try_next().await? {
                loaded.since_base += 1;
                let is_kept = deletes == Deletes::Apply || epoch < until.epoch || number == 1;
                let Body::Events { events, .. } = decode(name.as_ref(), &bytes)?.body else {
                    return Err(Error::corrupt(name.as_ref(), 0, "a log object", "events", "another kind of object"));
                };
                for event in events {
                    if is_kept || !matches!(event, Event::Delete { .. }) {
                        loaded.table.apply(name.as_ref(), event)?;
                    }
                }
            }
        }
        Ok(loaded)
    }

    /// The newest point: after the last log object of the newest epoch. `None` in an empty bucket.
    pub(super) async fn newest(&self) -> Result<Option<LogPoint>> {
        let epoch = self.newest_epoch().await?;
        if epoch == 0 {
            return Ok(None);
        }
        let mut number = self.last_number(epoch).await?;
        if number > 0 && self.seal(LogPoint { epoch, number }).await?.is_some() {
            number -= 1;
        }
        Ok(Some(LogPoint { epoch, number }))
    }

    /// The seal at this place, if there is one.
    pub(super) async fn seal(&self, at: LogPoint) -> Result<Option<Object>> {
        let name = self.names.log(at);
        match self.get(&name).await? {
            Found::Bytes(bytes) => {
                let object = decode(name.as_ref(), &bytes)?;
                Ok(matches!(object.body, Body::Seal { .. }).then_some(object))
            }
            // Behind a base it may have been deleted, and was not a seal.
            Found::Nothing => Ok(None),
        }
    }
}
