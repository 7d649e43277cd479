//! What is kept for named consumers of the changes, and how much at most.
//!
//! Owns: dropping the slowest consumer when more is kept than the option allows. Never: moves a consumer on.

use crate::catalogue::Consumer;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::segment::FileKind;
use crate::gc::retire::{Retired, keeper, version};
use crate::gc::{Collector, Inner};
use crate::id::Seq;
use crate::recovery::Keeper;

/// What a consumer keeps.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerKeeps {
    pub(crate) name: String,
    pub(crate) consumer: Consumer,
    /// Bytes of files that only consumers keep, and that this one needs.
    pub(crate) bytes: u64,
}

/// Files that only consumers keep: whoever has acknowledged the commit needs the file no more; its bytes.
fn kept(engine: &Engine, retired: &[Retired]) -> Vec<(Seq, u64)> {
    let ours = retired.iter().filter(|each| keeper(engine, each) == Keeper::Consumer);
    let mut kept: Vec<(Seq, u64)> = ours.map(|each| (each.emptied_at(), each.bytes())).collect();
    let left = engine.left.all();
    let left = left
        .into_iter()
        .filter(|(number, emptied_at)| Keeper::of_left(engine, *number, *emptied_at) == Some(Keeper::Consumer));
    kept.extend(left.map(|(number, emptied_at)| {
        let file = engine.backing.open(&FileKind::Records.file_name(number));
        (emptied_at, file.and_then(|file| file.len()).unwrap_or_default())
    }));
    kept
}

fn bytes_after(kept: &[(Seq, u64)], seq: Seq) -> u64 {
    kept.iter().filter(|(emptied_at, _)| seq < *emptied_at).map(|(_, bytes)| bytes).sum()
}

impl Collector {
    /// The consumers, and what each keeps.
    pub(crate) fn consumers(&self, engine: &Engine) -> Vec<ConsumerKeeps> {
        let catalogue = engine.heap.catalogue();
        if catalogue.consumers().next().is_none() {
            return Vec::new();
        }
        let kept = kept(engine, &self.inner.lock().retired);
        let keeps = |consumer: Consumer| if consumer.is_lost { 0 } else { bytes_after(&kept, consumer.seq) };
        let all = catalogue.consumers();
        all.map(|(name, consumer)| ConsumerKeeps { name: name.to_owned(), consumer, bytes: keeps(consumer) }).collect()
    }

    /// Drops the slowest consumers if more is kept for them than is allowed. Says whether it has dropped any, also before an error.
    pub(super) fn drop_slowest(&self, engine: &Engine, inner: &mut Inner, is_any_dropped: &mut bool) -> Result<()> {
        let Some(limit) = self.settings.consumer_bytes_max else { return Ok(()) };
        loop {
            let Some((name, seq)) = engine.heap.catalogue().slowest().map(|(name, seq)| (name.to_owned(), seq)) else {
                return Ok(());
            };
            // This runs two hundred times a second.
            let moment = (version(engine), inner.retired.len());
            if inner.consumers_at == Some(moment) {
                return Ok(());
            }
            if bytes_after(&kept(engine, &inner.retired), seq) <= limit {
                inner.consumers_at = Some(moment);
                return Ok(());
            }
            let is_still = || match engine.heap.catalogue().consumer(&name) {
                Some(now) if now.seq == seq => Ok(()),
                _ => Err(Error::NoSuchConsumer { name: name.clone() }),
            };
            match engine.commit_consumer(&name, Some(Consumer { seq, is_lost: true }), is_still) {
                Ok(_) => *is_any_dropped = true,
                // It has moved on meanwhile.
                Err(Error::NoSuchConsumer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
