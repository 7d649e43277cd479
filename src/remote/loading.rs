//! Loading a state of a bucket: the newest base before it, and the log after that.
//!
//! Owns: where a point's table of files comes from. Never: changes the bucket.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::{Stream, StreamExt, TryStreamExt};
use object_store::path::Path;

use crate::error::{Error, Result};
use crate::remote::bucket::{Bucket, Found};
use crate::remote::object::{Body, Event, LogPoint, Object, decode};
use crate::remote::table::Table;

/// Requests at a time.
pub(super) const PARALLEL: usize = 32;
/// After every other point.
const NEWEST: LogPoint = LogPoint { epoch: u64::MAX, number: u64::MAX };
/// Log objects that an epoch counts as, when the next base is due.
const EPOCH_COUNTS_AS: u64 = 8;
/// Bytes of log objects that a state keeps.
const READ_BYTES_MAX: usize = 16 << 20;

/// A state of the bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    pub(super) table: Table,
    /// The base that it was loaded from: the first point, if there was none.
    pub(super) base: LogPoint,
    /// Log objects, and epochs, since the base.
    pub(super) since_base: u64,
    /// Log objects that were read for it lately, the newest last, with the inline bytes that parts of files name.
    pub(super) read: VecDeque<(LogPoint, Arc<Vec<u8>>)>,
    read_bytes: usize,
}

impl Loaded {
    /// Applies a log object. Says whether it is a seal, which changes nothing.
    fn apply(&mut self, at: LogPoint, name: &Path, bytes: Vec<u8>, with_deletes: bool) -> Result<bool> {
        let events = match decode(name.as_ref(), &bytes)?.body {
            Body::Events { events, .. } => events,
            Body::Seal { .. } => return Ok(true),
            _ => return Err(Error::corrupt(name.as_ref(), 0, "a log object", "events", "another kind of object")),
        };
        for event in events {
            if with_deletes || !matches!(event, Event::Delete { .. }) {
                self.table.apply(name.as_ref(), event)?;
            }
        }
        self.since_base += 1;
        self.keep(at, bytes);
        Ok(false)
    }

    fn keep(&mut self, at: LogPoint, bytes: Vec<u8>) {
        // What is loaded from a newer base knows what was read before.
        if self.read.back().is_some_and(|(last, _)| *last >= at) {
            return;
        }
        self.read_bytes += bytes.len();
        self.read.push_back((at, Arc::new(bytes)));
        while self.read_bytes > READ_BYTES_MAX
            && let Some((_, oldest)) = self.read.pop_front()
        {
            self.read_bytes -= oldest.len();
        }
    }

    /// Lets go of the log objects that were read: a writer has their bytes in files.
    pub(super) fn forget_what_was_read(&mut self) {
        (self.read, self.read_bytes) = (VecDeque::new(), 0);
    }

    /// A log object that was read lately.
    pub(super) fn log(&self, at: LogPoint) -> Option<&Arc<Vec<u8>>> {
        let found = self.read.binary_search_by_key(&at, |(at, _)| *at).ok()?;
        self.read.get(found).map(|(_, bytes)| bytes)
    }
}

/// What a later state is.
pub(super) enum Advanced {
    /// It, and whether its epoch has ended.
    To(LogPoint, Loaded, bool),
    /// Objects between are gone: load it from a base.
    Lost,
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
        let bases = self.bases(NEWEST).await?;
        self.epoch_after(&bases).await
    }

    /// The newest epoch, if these are the bases. Epochs stay for ever: only those from the one of the last base on are listed.
    async fn epoch_after(&self, bases: &[LogPoint]) -> Result<u64> {
        let known = bases.last().map_or(0, |base| base.epoch);
        let after = (known > 1).then(|| self.names.epoch(known - 1));
        let epochs = self.list(&self.names.epochs(), after.as_ref()).await?;
        Ok(epochs.iter().filter_map(|meta| self.names.epoch_in(&meta.location)).max().unwrap_or_default())
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
        let mut bases: Vec<LogPoint> = bases.iter().filter_map(|meta| self.names.base_in(&meta.location)).collect();
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
        self.last_number_after(epoch, &bases).await
    }

    pub(super) async fn last_number_after(&self, epoch: u64, bases: &[LogPoint]) -> Result<u64> {
        let known = bases.last().filter(|base| base.epoch == epoch).map_or(0, |base| base.number);
        let after = self.names.log(LogPoint { epoch, number: known });
        let logs = self.list(&self.names.logs_of(epoch), Some(&after)).await?;
        Ok(logs
            .iter()
            .filter_map(|meta| self.names.log_in(&meta.location))
            .map(|at| at.number)
            .max()
            .unwrap_or_default()
            .max(known))
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
                    let base = base.unwrap_or_default();
                    self.replay(Loaded { table, base, ..Loaded::default() }, until, deletes).await
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

    /// The same state from a newer base, which knows where bytes are now: what the base before it names is not kept for ever. `None` if
    /// there is no newer base up to it.
    pub(super) async fn with_newer_base(&self, at: LogPoint, known: Loaded) -> Result<Option<Loaded>> {
        let bases = self.list(&self.names.bases(), Some(&self.names.base(known.base))).await?;
        let bases = bases.iter().filter_map(|meta| self.names.base_in(&meta.location));
        let Some(base) = bases.filter(|base| known.base < *base && *base <= at).max() else { return Ok(None) };
        let table = self.base(base).await?;
        let (read, read_bytes) = (known.read, known.read_bytes);
        let loaded = self.replay(Loaded { table, base, since_base: 0, read, read_bytes }, at, Deletes::Apply).await?;
        Ok(loaded.table.has_the_files_of(&known.table).then_some(loaded))
    }

    /// Applies the log objects after the base up to a point.
    async fn replay(&self, mut loaded: Loaded, until: LogPoint, deletes: Deletes) -> Result<Loaded> {
        let from = loaded.base;
        for epoch in from.epoch.max(1)..=until.epoch {
            let first = if epoch == from.epoch { from.number + 1 } else { 1 };
            let last = if epoch == until.epoch { until.number } else { self.epoch(epoch + 1).await?.1 };
            loaded.since_base += if epoch == from.epoch { 0 } else { EPOCH_COUNTS_AS };
            let mut read = self.logs(epoch, first..=last, &loaded);
            while let Some((at, name, bytes)) = read.try_next().await? {
                let is_kept = deletes == Deletes::Apply || epoch < until.epoch || at.number == 1;
                if loaded.apply(at, &name, bytes, is_kept)? {
                    return Err(Error::corrupt(name.as_ref(), 0, "a log object", "events", "a seal"));
                }
            }
        }
        Ok(loaded)
    }

    /// Reads log objects of an epoch, several at a time, in their order.
    fn logs<'b>(
        &'b self,
        epoch: u64,
        numbers: std::ops::RangeInclusive<u64>,
        known: &Loaded,
    ) -> impl Stream<Item = Result<(LogPoint, Path, Vec<u8>)>> + Unpin + use<'b> {
        let (first, last) = (*numbers.start(), *numbers.end());
        let first = known.read.partition_point(|(at, _)| *at < LogPoint { epoch, number: first });
        let known = known.read.iter().skip(first).take_while(|(at, _)| *at <= LogPoint { epoch, number: last });
        let mut known: VecDeque<_> = known.map(|(at, bytes)| (*at, Arc::clone(bytes))).collect();
        // Objects may be asked for that there never were, however many.
        let read = numbers.map(move |number| {
            let at = LogPoint { epoch, number };
            let is_known = known.front().is_some_and(|(known, _)| *known == at);
            let read = if is_known { known.pop_front().map(|(_, bytes)| bytes) } else { None };
            let name = self.names.log(at);
            async move {
                let bytes = match read {
                    Some(read) => read.to_vec(),
                    None => self.need(&name).await?,
                };
                Ok((at, name, bytes))
            }
        });
        Box::pin(futures_util::stream::iter(read).buffered(PARALLEL))
    }

    /// Goes on from a state to the newest one: one listing if there is nothing new.
    pub(super) async fn advance(&self, from: LogPoint, mut loaded: Loaded) -> Result<Advanced> {
        let mut at = from;
        loop {
            let (logs, after) = (self.names.logs_of(at.epoch), self.names.log(at));
            let listed = self.list(&logs, Some(&after)).await?;
            let mut numbers: Vec<u64> =
                listed.iter().filter_map(|meta| self.names.log_in(&meta.location)).map(|at| at.number).collect();
            numbers.sort_unstable();
            let Some(last) = numbers.last().copied() else { return Ok(Advanced::To(at, loaded, false)) };
            if !numbers.iter().copied().eq(at.number + 1..=last) {
                return Ok(Advanced::Lost);
            }
            let mut is_sealed = false;
            let mut read = self.logs(at.epoch, at.number + 1..=last, &loaded);
            while let Some((next, name, bytes)) = read.try_next().await? {
                if loaded.apply(next, &name, bytes, true)? {
                    is_sealed = true;
                    break;
                }
                at = next;
            }
            drop(read);
            if !is_sealed {
                return Ok(Advanced::To(at, loaded, false));
            }
            if self.get(&self.names.epoch(at.epoch + 1)).await? == Found::Nothing {
                return Ok(Advanced::To(at, loaded, true));
            }
            loaded.since_base += EPOCH_COUNTS_AS;
            at = LogPoint { epoch: at.epoch + 1, number: 0 };
        }
    }

    /// Whether there is an object that a newer state has: one request. `false` can be wrong if objects after the point were deleted.
    pub(super) async fn has_next(&self, at: LogPoint, is_sealed: bool) -> Result<bool> {
        let next = if is_sealed {
            self.names.epoch(at.epoch + 1)
        } else {
            self.names.log(LogPoint { number: at.number + 1, ..at })
        };
        Ok(self.look_for(&next).await?.is_some())
    }

    /// The newest point: after the last log object of the newest epoch. `None` in an empty bucket.
    pub(super) async fn newest(&self) -> Result<Option<LogPoint>> {
        let bases = self.bases(NEWEST).await?;
        let epoch = self.epoch_after(&bases).await?;
        if epoch == 0 {
            return Ok(None);
        }
        let mut number = self.last_number_after(epoch, &bases).await?;
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
