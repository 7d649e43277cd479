//! An index of entries that arrive sorted from elsewhere.
//!
//! Owns: the tree built from them, and its publication. Never: runs an extractor; there are no writers meanwhile.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Result;
use crate::format::index::IndexDefinition;
use crate::id::RecordId;
use crate::indexing::is_live;
use crate::key_index::Builder;
use crate::pages::Aside;

/// Up to this many entries, the tree is built on the heap.
const HEAP_ENTRIES: u64 = 4096;

/// Passes the entries, ascending, to a function that tells whether one belongs to a record of the set.
pub(crate) type Feed<'f> = dyn FnMut(&mut dyn FnMut(&[u8], RecordId) -> Result<bool>) -> Result<()> + 'f;

/// Adds the entries of an index that has a definition. The next snapshot makes it durable.
pub(crate) fn load(engine: &Engine, definition: &IndexDefinition, entries: u64, feed: &mut Feed<'_>) -> Result<()> {
    let state = engine.heap.pin();
    let mut fill = |builder: &mut Builder<'_>| {
        feed(&mut |key, id| {
            if !is_live(id.as_u64(), definition.set, &state)? {
                return Ok(false);
            }
            builder.push(key, id.as_u64()).map(|()| true)
        })
    };
    if entries <= HEAP_ENTRIES {
        let mut builder = Builder::new(None);
        fill(&mut builder)?;
        return engine.heap.publish_index(definition.number, builder.finish(Arc::default())?).map(drop);
    }
    let mut pages = Aside::new(&engine.pages);
    let timeline = engine.log.timeline();
    let mut write = |image: &[u8]| pages.write(timeline, &|| engine.log.take_segment_number(), image);
    let mut builder = Builder::new(Some(&mut write));
    fill(&mut builder)?;
    let mut tree = builder.finish(Arc::default())?;
    pages.finish()?;
    tree.now.segments = engine.pages.segments();
    if engine.heap.publish_index(definition.number, tree)? {
        pages.keep();
    }
    Ok(())
}
