//! How far the bucket is cleared: up to a base there are only seals, and what the base names.
//!
//! Owns: the marks that say so, so that deleting need not list the seals of all epochs. Never: believes a mark of another base than the
//! oldest one.

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, PutPayload};

use crate::error::Result;
use crate::remote::bucket::{Bucket, Outcome};
use crate::remote::loading::PARALLEL;
use crate::remote::object::LogPoint;

impl Bucket {
    /// The marks.
    pub(super) async fn cleared(&self) -> Result<Vec<(LogPoint, Path)>> {
        let marks = self.list(&self.names.all_cleared(), None).await?.into_iter();
        let marks = marks.filter_map(|meta| Some((self.names.cleared_in(&meta.location)?, meta.location)));
        Ok(marks.collect())
    }

    /// Marks the bucket as cleared up to a base, in place of earlier marks. What fails is done again next time.
    pub(super) async fn note_cleared(&self, base: LogPoint, earlier: Vec<(LogPoint, Path)>) {
        let name = self.names.cleared(base);
        let is_there = earlier.iter().any(|(at, _)| *at == base);
        let stored = is_there || matches!(self.put(&name, PutPayload::new(), <[u8]>::is_empty).await, Outcome::Stored);
        if stored {
            for (_, mark) in earlier.into_iter().filter(|(at, _)| *at != base) {
                drop(self.delete(&mark).await);
            }
        }
    }

    /// Log objects, as a listing has them. Those that are gone are left out.
    pub(super) async fn find_logs(&self, points: Vec<LogPoint>) -> Result<Vec<ObjectMeta>> {
        let found = points.into_iter().map(|at| {
            let (bucket, name) = (self.clone(), self.names.log(at));
            async move { bucket.look_for(&name).await }
        });
        let found: Vec<_> = found.collect();
        let found: Vec<_> = futures_util::stream::iter(found).buffered(PARALLEL).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}
