//! Streams: the chunks of large values whose head is not committed yet.
//!
//! Owns: the number of the next stream, and freeing the chunks of one that ends without a head. Never: writes or reads a chunk.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::ids::FREES_PER_FRAME;
use crate::engine::{Engine, Need};
use crate::error::{Error, Result};
use crate::format::frame::FrameBuilder;
use crate::format::item::{Kind, UNASKED};
use crate::format::manifest::NUMBER_END;
use crate::heap::{Answer, Effect, put_frees};

/// Numbers of streams.
#[derive(Debug)]
pub(crate) struct Streams {
    next: AtomicU64,
}

impl Streams {
    /// They go on with this number.
    pub(crate) fn starting_with(next: u64) -> Self {
        Self { next: AtomicU64::new(next) }
    }

    /// The number of a new stream of chunks.
    pub(crate) fn take(&self) -> Result<u64> {
        let next = |stream: u64| (stream < NUMBER_END).then_some(stream + 1);
        let taken = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.map_err(|_next| Error::Exhausted { what: "number of a stream", limit: NUMBER_END })
    }
}

impl Engine {
    /// Frees the chunks of streams whose head will not be committed, a bounded number per commit. After a crash the
    /// next opening frees the rest.
    pub(crate) fn drop_streams(&self, streams: &[u64]) -> Result<()> {
        for stream in streams {
            let state = self.heap.pin();
            // The slot of a chunk that was freed before may have been reused.
            let mut chunks = Vec::new();
            for id in state.catalogue.chunks(*stream) {
                match state.lookup(id) {
                    Ok(Answer::Live(_)) => chunks.push(id),
                    Ok(_) => {}
                    // An unreadable chunk stays and takes space: nothing is known about it.
                    Err(error) if error.is_corruption() => {}
                    Err(error) => return Err(error),
                }
            }
            drop(state);
            loop {
                let part = chunks.split_off(chunks.len().saturating_sub(FREES_PER_FRAME));
                let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
                put_frees(&mut frame, UNASKED, part.iter().copied());
                effects.extend(part.into_iter().map(Effect::Free));
                if chunks.is_empty() {
                    frame.control(Kind::StreamEnd, &stream.to_le_bytes());
                    effects.push(Effect::StreamEnd(*stream));
                }
                self.commit_frame(&mut frame, &mut effects, Need::MakesRoom, &mut || Ok(()))?;
                if chunks.is_empty() {
                    break;
                }
            }
        }
        Ok(())
    }
}
