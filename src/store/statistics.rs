//! What a store contains and costs, gathered from all layers.

use crate::format::segment::FileKind;
use crate::gc::ConsumerKeeps;
use crate::heap::State;
use crate::id::SetNumber;
use crate::stats::{ConsumerStats, RemoteStats, SegmentStats, SetStats, Stats, ViewStats};
use crate::store::Store;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Store {
    /// What the store contains and costs now. Takes time proportional to the number of index pages, plus, for each
    /// state that views see, the number of pages changed since.
    pub fn stats(&self) -> Stats {
        let engine = self.engine();
        let state = engine.heap.pin();
        let set = |name: &str, set: &crate::catalogue::Set| SetStats {
            name: name.to_owned(),
            records: set.records,
            bytes: set.bytes,
        };
        let sets: Vec<SetStats> = state.catalogue.user_sets().map(|(_, row)| set(&row.name, row)).collect();
        let chunks = state.catalogue.set(SetNumber::CHUNKS).map(|row| set("chunks", row));
        let chunks = chunks.unwrap_or(SetStats { name: "chunks".to_owned(), records: 0, bytes: 0 });
        let mut segments: Vec<SegmentStats> = state
            .table
            .iter()
            .map(|(_, segment)| SegmentStats {
                file: segment.name().to_owned(),
                kind: FileKind::Records,
                generation: segment.header().generation,
                bytes: segment.len().unwrap_or_default(),
                live_bytes: segment.live_bytes(),
            })
            .collect();
        let pages = engine.pages.all_rows().into_iter();
        segments.extend(pages.map(|(file, bytes, live_bytes)| SegmentStats {
            file,
            kind: FileKind::Pages,
            generation: 0,
            bytes,
            live_bytes,
        }));
        let (dirty_pages, dirty_bytes) = (engine.heap.dirty_pages(), engine.heap.dirty_bytes());
        let directory_bytes = state.root.directory_bytes();
        Stats {
            records: sets.iter().map(|set| set.records).sum(),
            record_bytes: sets.iter().map(|set| set.bytes).sum::<u64>() + chunks.bytes,
            sets,
            chunks,
            segments,
            collected: self.inner.collector.collected(),
            retired: self.inner.collector.retired(),
            consumers: self.inner.collector.consumers(engine).into_iter().map(consumer_stats).collect(),
            durable_seq: self.durable_seq(),
            last_seq: engine.heap.seq(),
            timeline: engine.timeline(),
            dirty_pages,
            dirty_nodes: engine.heap.with_indexes(|indexes| indexes.dirty()),
            dirty_bytes,
            directory_bytes,
            heap_bytes: dirty_bytes + directory_bytes,
            views: view_stats(engine.heap.views(), &state),
            stopped: engine.poison.reason().map(str::to_owned),
            retries: self.inner.retries.load(Ordering::Relaxed),
            log_bytes_since_snapshot: engine.growth.replay_bytes(),
            log_bytes_appended: engine.log.appended_bytes(),
            index_log_bytes_appended: engine.growth.index_log_bytes(),
            remote: engine.backlog().map(|(seq, backlog)| RemoteStats {
                seq: seq.min(engine.heap.seq()),
                backlog_bytes: backlog.bytes,
                lag: backlog.age,
                backlog_events: backlog.noted.saturating_sub(backlog.stored),
                error: backlog.error,
            }),
        }
    }
}

fn consumer_stats(keeps: ConsumerKeeps) -> ConsumerStats {
    let ConsumerKeeps { name, consumer, bytes } = keeps;
    ConsumerStats { name, seq: consumer.seq, kept_bytes: bytes, is_dropped: consumer.is_lost }
}

/// What each view keeps. Views of the same state are compared once.
pub(super) fn view_stats(views: Vec<(Arc<State>, Duration)>, now: &State) -> Vec<ViewStats> {
    let mut known = BTreeMap::new();
    let views = views.into_iter().map(|(state, age)| {
        let kept = *known.entry(Arc::as_ptr(&state)).or_insert_with(|| state.kept_from(now));
        ViewStats { seq: state.seq, age, heap_bytes: kept.heap, log_bytes: kept.log, page_bytes: kept.pages }
    });
    views.collect()
}
