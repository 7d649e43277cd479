//! What the engine asks of the effects of a commit.
//!
//! Owns: which effects make the store larger, add to the catalogue, change key indexes, or put and free records. Never: applies one.

use crate::catalogue::Added;
use crate::format::align;
use crate::format::item::CONTROL_HEADER_BYTES;
use crate::heap::Effect;
use crate::id::{RecordId, SetNumber, to_u64};

/// Whether an effect makes the store larger.
pub(super) fn is_more(effect: &Effect) -> bool {
    !matches!(
        effect,
        Effect::Free(_)
            | Effect::DropSet(_)
            | Effect::EndSet(_)
            | Effect::StreamEnd(_)
            | Effect::DropIndex(_)
            | Effect::PublishIndex(_)
            | Effect::DropMark(_)
            | Effect::Consumer(..)
            | Effect::Index(..)
            | Effect::Prewritten(..)
    )
}

/// What it adds to the catalogue.
pub(super) fn added_by(effect: &Effect) -> Option<Added<'_>> {
    match effect {
        Effect::CreateSet(_, name) | Effect::RenameSet(_, name) => Some(Added::Set(name)),
        Effect::Mark(name) => Some(Added::Mark(name)),
        Effect::Consumer(name, Some(_)) => Some(Added::Consumer(name)),
        Effect::CreateIndex(definition, _) => Some(Added::Index(definition)),
        Effect::Stream(..) => Some(Added::Chunk),
        _ => None,
    }
}

/// Bytes of logged changes of key indexes, whether slots are freed, and the set of which no record is left.
pub(super) fn sums(effects: &[Effect]) -> (u64, bool, Option<SetNumber>) {
    let (mut index_bytes, mut frees, mut ended) = (0, false, None);
    for effect in effects {
        match effect {
            Effect::Index(_, changes) => index_bytes += align(to_u64(CONTROL_HEADER_BYTES + changes.len())),
            Effect::Free(_) => frees = true,
            Effect::EndSet(set) => ended = Some(*set),
            _ => {}
        }
    }
    (index_bytes, frees, ended)
}

/// The record of which it puts a version.
pub(super) fn put(effect: &Effect) -> Option<RecordId> {
    if let Effect::Put { id, .. } = effect { Some(*id) } else { None }
}

/// The record that it frees.
pub(super) fn freed(effect: &Effect) -> Option<RecordId> {
    if let Effect::Free(id) = effect { Some(*id) } else { None }
}
