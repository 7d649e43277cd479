//! Deleting what only states older than the retention need.
//!
//! Owns: which objects go. Never: deletes an epoch or a seal, or anything after an outcome that is unknown; acts for another than
//! the newest epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;

use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::remote::bucket::{Bucket, Found};
use crate::remote::loading::PARALLEL;
use crate::remote::object::{LogPoint, Nonce, Place};
use crate::remote::table::Table;

/// Objects deleted between two checks that the epoch is the newest.
const BATCH: usize = 256;

/// What was deleted from a bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a retained base and everything after it need.
struct Kept {
    base: LogPoint,
    logs: BTreeSet<LogPoint>,
    data: BTreeSet<Path>,
}

/// What goes, bases first.
#[derive(Default)]
struct Unneeded {
    doomed: Vec<ObjectMeta>,
    /// The base up to which the bucket is cleared when they are gone, and the marks that there are.
    cleared: Option<(LogPoint, Vec<(LogPoint, Path)>)>,
}

impl Kept {
    fn of(bucket: &Bucket, base: LogPoint, table: &Table) -> Self {
        let mut kept = Self { base, logs: BTreeSet::new(), data: BTreeSet::new() };
        for (file, piece) in table.iter().flat_map(|(name, pieces)| pieces.iter().map(move |piece| (name, piece))) {
            match piece.place {
                Place::Inline { at, .. } => drop(kept.logs.insert(at)),
                Place::Data { at } => drop(kept.data.insert(bucket.names.data(file, at, piece.begin))),
            }
        }
        kept
    }
}

impl Bucket {
    /// Deletes what is not needed any more, for the writer of an epoch.
    pub(super) fn prune(&self, epoch: u64, nonce: Nonce, retention: Duration) -> Result<Pruned> {
        let bucket = self.clone();
        self.run(bucket.prune_now(epoch, nonce, retention))
    }

    /// As `prune`.
    pub(super) async fn prune_now(self, epoch: u64, nonce: Nonce, retention: Duration) -> Result<Pruned> {
        let (writer, _) = self.epoch(epoch).await?;
        if writer.nonce != nonce {
            return Err(self.fenced(epoch));
        }
        self.is_newest(epoch).await?;
        let Unneeded { doomed, cleared } = self.unneeded(retention).await?;
        let mut pruned = Pruned::default();
        for batch in doomed.chunks(BATCH) {
            self.is_newest(epoch).await?;
            let deleted = batch.iter().cloned().map(|meta| {
                let bucket = self.clone();
                async move { bucket.delete(&meta.location).await.map(|()| meta.size) }
            });
            let deleted: Vec<_> = deleted.collect();
            let deleted = futures_util::stream::iter(deleted).buffered(PARALLEL);
            let bytes: Vec<u64> = deleted.try_collect().await?;
            pruned.objects += to_u64(bytes.len());
            pruned.bytes += bytes.iter().sum::<u64>();
        }
        if let Some((base, earlier)) = cleared {
            self.note_cleared(base, earlier).await;
        }
        Ok(pruned)
    }

    fn fenced(&self, epoch: u64) -> Error {
        Error::Fenced { location: self.to_string(), by: format!("epoch {epoch} is not the newest any more") }
    }

    /// Fails if there is a newer epoch, or if that cannot be known.
    async fn is_newest(&self, epoch: u64) -> Result<()> {
        match self.get(&self.names.epoch(epoch + 1)).await? {
            Found::Nothing => Ok(()),
            Found::Bytes(_) => Err(self.fenced(epoch)),
        }
    }

    async fn unneeded(&self, retention: Duration) -> Result<Unneeded> {
        let bases = self.list(&self.names.bases(), None).await?;
        let marks = self.cleared().await?;
        let first = bases.iter().filter_map(|meta| self.names.base_in(&meta.location)).min();
        // Up to a base that is marked only what it names may go: seals, of which there may be many, are not listed.
        let cleared = match first.filter(|first| marks.iter().any(|(at, _)| at == first)) {
            Some(first) => self.base(first).await.ok().map(|table| Kept::of(self, first, &table)),
            None => None,
        };
        let after = cleared.as_ref().map(|cleared| self.names.log(cleared.base));
        let logs = self.list(&self.names.logs(), after.as_ref()).await?;
        // The server's time of the last object of the log, or of the last base: a wrong clock here deletes nothing too early. Nor does one
        // there that was ahead for a while, as long as this one is right.
        let last_log = logs.iter().max_by_key(|meta| self.names.log_in(&meta.location));
        let last_base = bases.iter().max_by_key(|meta| self.names.base_in(&meta.location));
        let last = last_log.into_iter().chain(last_base).map(|meta| meta.last_modified).max();
        let Some(last) = last else { return Ok(Unneeded::default()) };
        let now = last.min(SystemTime::now().into());
        let is_old = |meta: &ObjectMeta| (now - meta.last_modified).to_std().is_ok_and(|age| age >= retention);
        let points = bases.iter().filter(|meta| is_old(meta)).filter_map(|meta| self.names.base_in(&meta.location));
        let Some(oldest) = points.max() else { return Ok(Unneeded::default()) };
        if cleared.as_ref().is_some_and(|cleared| cleared.base == oldest) {
            return Ok(Unneeded::default());
        }
        let table = self.base(oldest).await?;
        let kept = Kept::of(self, oldest, &table);
        let named = cleared.map(|cleared| cleared.logs.difference(&kept.logs).copied().collect());
        let no_more_named = self.find_logs(named.unwrap_or_default()).await?;
        let data = self.list(&self.names.all_data(), None).await?;
        let mut ends = BTreeMap::new();
        let mut epochs: BTreeMap<u64, u64> = BTreeMap::new();
        for at in logs.iter().filter_map(|meta| self.names.log_in(&meta.location)) {
            *epochs.entry(at.epoch).or_default() += 1;
        }
        for (epoch, objects) in epochs.into_iter().filter(|(epoch, _)| *epoch < oldest.epoch) {
            // The last object that is left of an epoch is its seal: a request for each epoch that ever was would be many.
            ends.insert(epoch, if objects > 1 { self.epoch(epoch + 1).await?.1 } else { 0 });
        }
        let unneeded_logs = logs.into_iter().filter(|meta| {
            let Some(at) = self.names.log_in(&meta.location) else { return false };
            let is_seal = ends.get(&at.epoch).is_some_and(|last| at.number > *last);
            at <= kept.base && !is_seal && !kept.logs.contains(&at)
        });
        let unneeded_data = data.into_iter().filter(|meta| {
            let Some(at) = self.names.data_in(&meta.location) else { return false };
            at <= kept.base && !kept.data.contains(&meta.location)
        });
        let is_earlier = |meta: &ObjectMeta| self.names.base_in(&meta.location).is_some_and(|at| at < kept.base);
        // Bases first: while one is there, what it needs may be.
        let unneeded =
            bases.into_iter().filter(is_earlier).chain(no_more_named).chain(unneeded_logs).chain(unneeded_data);
        let (doomed, young): (Vec<_>, Vec<_>) = unneeded.partition(is_old);
        let cleared = young.is_empty().then_some((kept.base, marks));
        Ok(Unneeded { doomed, cleared })
    }
}
