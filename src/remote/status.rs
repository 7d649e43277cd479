//! What a bucket holds, and restoring a state of it.
//!
//! Owns: the interface for looking at a bucket without writing to it.

use crate::backing::{Backing, UNFINISHED, mark_finished, mark_unfinished};
use crate::error::{Error, Result};
use crate::id::to_u64;
use crate::remote::bucket::Bucket;
use crate::remote::loading::Deletes;
use crate::remote::local::manifest_number;
use crate::remote::object::LogPoint;

/// What a bucket holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BucketStatus {
    /// The newest state.
    pub newest: LogPoint,
    /// Whether its writer has ended its epoch. If not, one may be at work.
    pub is_sealed: bool,
    /// The newest base, if there is one.
    pub base: Option<LogPoint>,
    /// Files of the newest state.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Bucket {
    /// What the bucket holds. `None` if there is no store in it.
    ///
    /// # Errors
    /// `Io` if a request fails, `Corrupt` if an object is damaged.
    pub fn status(&self) -> Result<Option<BucketStatus>> {
        let bucket = self.clone();
        self.run(async move {
            let Some(newest) = bucket.newest().await? else { return Ok(None) };
            let loaded = bucket.load(newest, Deletes::Apply).await?;
            Ok(Some(BucketStatus {
                newest,
                is_sealed: bucket.is_sealed(newest.epoch).await?,
                base: bucket.bases(newest).await?.last().copied(),
                files: to_u64(loaded.table.files()),
                bytes: loaded.table.bytes(),
            }))
        })
    }

    /// Writes the files of a state into an empty backing: the newest, or any that is retained. Returns the state. The bucket does not
    /// change, and a writer may be at work in it. The copy is a store of its own, which is not shipped. One that was interrupted is marked
    /// as incomplete, and no store opens it.
    ///
    /// # Errors
    /// `NotAStore` if the bucket is empty or the state has no manifest, `BadDestination` if the backing is not empty, `PointGone` if an
    /// object is missing or there never was such a state, `Corrupt` if an object is damaged, `Io` if a request fails.
    pub fn restore(&self, point: Option<LogPoint>, into: &dyn Backing) -> Result<LogPoint> {
        self.restore_as(point, into, Deletes::Apply)
    }

    /// Like [`restore`](Self::restore), with the files that the newest epoch deleted since the newest base.
    ///
    /// # Errors
    /// As `restore`.
    #[doc(hidden)]
    pub fn restore_with_deleted(&self, point: Option<LogPoint>, into: &dyn Backing) -> Result<LogPoint> {
        self.restore_as(point, into, Deletes::IgnoreNewest)
    }

    /// The point that was asked for, if the bucket came to it, or the newest.
    async fn point(&self, wanted: Option<LogPoint>) -> Result<LogPoint> {
        let is_empty = || Error::NotAStore { path: self.to_string(), why: "the bucket is empty".to_owned() };
        let Some(wanted) = wanted else { return self.newest().await?.ok_or_else(is_empty) };
        let LogPoint { epoch, number } = wanted;
        let never = |why| Err(Error::PointGone { point: format!("state {wanted} of {self}"), why });
        let bases = self.bases(LogPoint { epoch, number: u64::MAX }).await?;
        let last = self.last_number_after(epoch, &bases).await?;
        // What comes after a state, and objects of epochs, may be damaged or gone: it does not need them.
        if number < last || bases.contains(&wanted) {
            return Ok(wanted);
        }
        if last > 0 {
            let seal = self.seal(LogPoint { epoch, number: last }).await;
            let is_sealed = if number == last { seal?.is_some() } else { matches!(seal, Ok(Some(_))) };
            if number == last && !is_sealed {
                return Ok(wanted);
            }
            return never(format!(
                "there is no such state: epoch {epoch} goes to number {}",
                last - u64::from(is_sealed)
            ));
        }
        let newest = self.newest_trace().await?;
        if newest == 0 {
            return Err(is_empty());
        }
        if !(1..=newest).contains(&epoch) {
            return never(format!("there never was such a state: the bucket has epochs 1 to {newest}"));
        }
        if number == 0 { Ok(wanted) } else { never(format!("there is no such state: epoch {epoch} goes to number 0")) }
    }

    /// The newest epoch of which there is any object, 0 if there is none.
    async fn newest_trace(&self) -> Result<u64> {
        let newest = self.newest_epoch().await?;
        let bases = self.list(&self.names.bases(), None).await?;
        let logs = self.list(&self.names.logs(), None).await?;
        let bases = bases.iter().filter_map(|meta| self.names.base_in(&meta.location));
        let logs = logs.iter().filter_map(|meta| self.names.log_in(&meta.location));
        Ok(bases.chain(logs).map(|at| at.epoch).max().unwrap_or_default().max(newest))
    }

    fn restore_as(&self, point: Option<LogPoint>, into: &dyn Backing, deletes: Deletes) -> Result<LogPoint> {
        let listed = into.list().map_err(|source| Error::io("list", into.location(), source))?;
        if !listed.is_empty() {
            return Err(Error::BadDestination { path: into.location(), why: "it is not empty" });
        }
        let bucket = self.clone();
        let (point, loaded) = self.run(async move {
            let point = bucket.point(point).await?;
            Ok((point, bucket.load(point, deletes).await?))
        })?;
        // Files come in the order of their names, so until all are there it is no state of the store. A load that is not at its end has
        // its own mark.
        let is_load = loaded.table.file(UNFINISHED).is_some();
        if !is_load {
            let has_manifest = loaded.table.iter().any(|(name, _)| manifest_number(name).is_some());
            if !has_manifest {
                let why = format!("its state {point} has no manifest: that is from before a first upload had ended");
                return Err(Error::NotAStore { path: self.to_string(), why });
            }
            mark_unfinished(into)?;
        }
        self.fetch(&loaded.table, into)?;
        if !is_load {
            mark_finished(into)?;
        }
        Ok(point)
    }
}
