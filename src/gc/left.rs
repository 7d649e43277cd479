//! Record segments that are in no table: emptied by an earlier process, or without a commit in this one. A named
//! snapshot, a mark or replay may need them.
//!
//! Owns: deleting each once nothing keeps it any more. Never: examines one again while no snapshot or mark changes.

use crate::engine::Engine;
use crate::error::Result;
use crate::format::segment::FileKind;
use crate::gc::retire;
use crate::gc::retire::Version;
use crate::id::{SegmentSeq, Seq};
use crate::recovery::{Keeper, is_ours};

/// When they were last examined.
#[derive(Debug, Default)]
pub(super) struct Left {
    looked_at: Option<Version>,
}

impl Left {
    /// Deletes those that nothing keeps any more. Returns their number and size.
    pub(super) fn delete(&mut self, engine: &Engine) -> Result<(u64, u64)> {
        engine.leave_bare_segments();
        if engine.left.is_empty() {
            return Ok((0, 0));
        }
        let version = retire::version(engine);
        if self.looked_at == Some(version) {
            return Ok((0, 0));
        }
        let left = engine.left.all();
        let is_free =
            |(number, emptied_at): &(SegmentSeq, Seq)| Keeper::of_left(engine, *number, *emptied_at).is_none();
        let going: Vec<SegmentSeq> = left.into_iter().filter(is_free).map(|(number, _)| number).collect();
        if !going.is_empty() {
            // A mark that has moved may move back after a power cut.
            engine.make_durable(engine.log.last_seq())?;
        }
        let (mut files, mut bytes) = (0, 0);
        for number in going {
            let name = FileKind::Records.file_name(number);
            let len = engine.backing.open(&name).and_then(|file| file.len()).unwrap_or_default();
            if is_ours(engine, FileKind::Records, number) && engine.backing.delete(&name).is_ok() {
                (files, bytes) = (files + 1, bytes + len);
            }
            // The next opening deletes what cannot be deleted.
            engine.left.remove(number);
        }
        self.looked_at = Some(version);
        Ok((files, bytes))
    }
}
