//! Effects: how a frame changes the state, as values and as items.
//!
//! Owns: the only translation between items and effects, used both by writing transactions and by replay.
//! Never: gives an effect on a record that a later one of the same frame replaces.

use std::sync::Arc;

use byteorder::{ByteOrder, LittleEndian};

use crate::catalogue::Consumer;
use crate::error::Result;
use crate::format::frame::FrameBuilder;
use crate::format::index::IndexDefinition;
use crate::format::item::{AGAIN, Item, Kind, MAY_SKIP, PAYLOAD_BYTES_MAX};
use crate::format::manifest::NUMBER_END;
use crate::format::moves::{Move, moves};
use crate::format::segment::SEGMENT_NUMBER_END;
use crate::format::{Frame, Malformed, index};
use crate::heap::keep_last;
use crate::id::{IndexNumber, RecordId, SegmentSeq, Seq, SetNumber};

/// A change of the state by a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// A record is at an offset: within the frame at run time, within the segment at replay.
    Put { id: RecordId, set: SetNumber, offset: u64, bytes: u64 },
    /// The slot is free; its count increases past this ID's.
    Free(RecordId),
    /// A page is assigned to a set.
    Assign(u64, SetNumber),
    /// A set exists.
    CreateSet(SetNumber, String),
    /// A set is renamed.
    RenameSet(SetNumber, String),
    /// A set is dropped, with its records.
    DropSet(SetNumber),
    /// All records of a dropped set have been freed.
    EndSet(SetNumber),
    /// A light snapshot is named.
    Mark(String),
    /// A light snapshot loses its name.
    DropMark(String),
    /// A chunk waits for its head.
    Stream(u64, RecordId),
    /// The chunks of a stream no longer wait.
    StreamEnd(u64),
    /// A key index is created; whether it is already complete, because its set has no records yet.
    CreateIndex(Arc<IndexDefinition>, bool),
    /// A key index is dropped.
    DropIndex(IndexNumber),
    /// A key index replaces its predecessor.
    PublishIndex(IndexNumber),
    /// Changes of one key index, as in the frame.
    Index(IndexNumber, Vec<u8>),
    /// Records were copied from one segment to another.
    Moves(SegmentSeq, SegmentSeq, Vec<Move>),
    /// The next commit has this number, and was written to this segment before its turn.
    Prewritten(SegmentSeq, Seq),
    /// What a consumer of the changes has acknowledged, or that there is none of this name any more.
    Consumer(String, Option<Consumer>),
}

impl Effect {
    /// The record of which it puts a version, or that it frees.
    pub(crate) fn record(&self) -> Option<RecordId> {
        let (Self::Put { id, .. } | Self::Free(id)) = self else { return None };
        Some(*id)
    }
}

/// The state of a consumer that is none any more.
const CONSUMER_REMOVED: u8 = 2;

/// Adds freed slots to a frame, eight bytes each.
pub(crate) fn put_frees(frame: &mut FrameBuilder, flags: u8, ids: impl Iterator<Item = RecordId>) {
    let mut payload = Vec::new();
    for id in ids {
        payload.extend_from_slice(&id.as_u64().to_le_bytes());
        if payload.len() + 8 > PAYLOAD_BYTES_MAX {
            frame.control_with(Kind::Frees, flags, &payload);
            payload.clear();
        }
    }
    if !payload.is_empty() {
        frame.control_with(Kind::Frees, flags, &payload);
    }
}

/// Adds pages assigned to sets to a frame, twelve bytes each.
pub(crate) fn put_assigned(frame: &mut FrameBuilder, pages: &[(u64, SetNumber)]) {
    for part in pages.chunks(PAYLOAD_BYTES_MAX / 12) {
        let mut payload = Vec::with_capacity(part.len() * 12);
        for (page, set) in part {
            payload.extend_from_slice(&page.to_le_bytes());
            payload.extend_from_slice(&set.0.to_le_bytes());
        }
        frame.control(Kind::Pages, &payload);
    }
}

/// Adds to a frame that the next commit was written before its turn.
pub(crate) fn put_prewritten(frame: &mut FrameBuilder, segment: SegmentSeq, seq: Seq) {
    let mut payload = [0; 16];
    LittleEndian::write_u64(&mut payload[..8], segment.0);
    LittleEndian::write_u64(&mut payload[8..], seq.0);
    frame.control(Kind::Prewritten, &payload);
}

fn whole_items<'a>(item: &Item<'a>, bytes: usize) -> Result<std::slice::ChunksExact<'a, u8>, Malformed> {
    if item.payload.is_empty() || !item.payload.len().is_multiple_of(bytes) {
        return Err(Malformed::new("item", format!("fields of {bytes} bytes"), item.payload.len()));
    }
    Ok(item.payload.chunks_exact(bytes))
}

fn id_of(bytes: &[u8]) -> Result<RecordId, Malformed> {
    let raw = LittleEndian::read_u64(bytes);
    RecordId::from_u64(raw).ok_or_else(|| Malformed::new("item", "a record ID", raw))
}

fn name_of(bytes: &[u8]) -> Result<String, Malformed> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| Malformed::new("name", "UTF-8", error))
}

/// Adds the effects of an item with freed slots. Records that were written before in the frame are added to `again`.
fn add_frees(item: &Item<'_>, effects: &mut Vec<Effect>, again: &mut Vec<RecordId>) -> Result<(), Malformed> {
    for part in whole_items(item, 8)? {
        let id = id_of(part)?;
        effects.push(Effect::Free(id));
        if item.flags & AGAIN != 0 {
            again.push(id);
        }
    }
    Ok(())
}

/// The effect of an item that names a set.
fn set_effect(kind: Kind, item: &Item<'_>) -> Result<Effect, Malformed> {
    let parts = item.payload.split_at_checked(4);
    let (number, name) = parts.ok_or_else(|| Malformed::new("set", "a number and a name", item.payload.len()))?;
    let number = SetNumber(LittleEndian::read_u32(number));
    let effect = if kind == Kind::CreateSet { Effect::CreateSet } else { Effect::RenameSet };
    Ok(effect(number, name_of(name)?))
}

/// The effect of an item about key indexes.
fn index_effect(kind: Kind, item: &Item<'_>) -> Result<Option<Effect>, Malformed> {
    Ok(match kind {
        Kind::IndexOps => {
            let (number, mut changes) = index::changes(item.payload)?;
            changes.try_for_each(|change| change.map(drop))?;
            Some(Effect::Index(number, item.payload.to_vec()))
        }
        Kind::CreateIndex => {
            let parts = item.payload.split_first();
            let (complete, definition) =
                parts.ok_or_else(|| Malformed::new("key index", "a definition", item.payload.len()))?;
            Some(Effect::CreateIndex(Arc::new(IndexDefinition::decode(definition)?), *complete != 0))
        }
        Kind::DropIndex | Kind::PublishIndex => {
            let number = whole_items(item, 4)?.next().map(LittleEndian::read_u32).map(IndexNumber);
            number.map(if kind == Kind::DropIndex { Effect::DropIndex } else { Effect::PublishIndex })
        }
        _ => None,
    })
}

/// The effect of naming, in the frame of a commit, one that was written before its turn.
fn prewritten_effect(item: &Item<'_>, before: Seq) -> Result<Effect, Malformed> {
    let [segment, seq] = [0, 8].map(|at| item.payload.get(at..at + 8).map_or(0, LittleEndian::read_u64));
    let is_right = item.payload.len() == 16 && seq > before.0 && seq < NUMBER_END && segment < SEGMENT_NUMBER_END;
    if is_right {
        Ok(Effect::Prewritten(SegmentSeq(segment), Seq(seq)))
    } else {
        let expected = "the number of a segment, and of a commit after this one";
        Err(Malformed::new("commit written ahead", expected, format!("{segment} and {seq}")))
    }
}

/// Adds what a consumer has acknowledged to a frame; `None` if it is no consumer any more.
pub(crate) fn put_consumer(frame: &mut FrameBuilder, name: &str, consumer: Option<Consumer>) {
    let state = consumer.map_or(CONSUMER_REMOVED, |consumer| u8::from(consumer.is_lost));
    let mut payload = consumer.map_or(0, |consumer| consumer.seq.0).to_le_bytes().to_vec();
    payload.push(state);
    payload.extend_from_slice(name.as_bytes());
    frame.control(Kind::Consumer, &payload);
}

fn consumer_effect(item: &Item<'_>) -> Result<Effect, Malformed> {
    let wrong = |got: String| Malformed::new("consumer", "a commit, a state below 3 and a name", got);
    let Some((seq, [state, name @ ..])) = item.payload.split_first_chunk::<8>() else {
        return Err(wrong(format!("{} bytes", item.payload.len())));
    };
    let seq = Seq(u64::from_le_bytes(*seq));
    if *state > CONSUMER_REMOVED || seq.0 >= NUMBER_END {
        return Err(wrong(format!("commit {seq}, state {state}")));
    }
    let consumer = (*state != CONSUMER_REMOVED).then_some(Consumer { seq, is_lost: *state == 1 });
    Ok(Effect::Consumer(name_of(name)?, consumer))
}

/// Appends the effects of a valid frame, with offsets in its segment, to others; after an error, some of them. Errors name
/// `file`.
pub(crate) fn add_effects(frame: &Frame<'_>, file: &str, effects: &mut Vec<Effect>) -> Result<()> {
    let at = |malformed: Malformed| malformed.at(file, frame.offset());
    let begin = effects.len();
    let (mut run, mut stream) = (None, None);
    // A slot's set is looked up by its page, so pages come first.
    let mut assigned = Vec::new();
    // Nearly always none.
    let mut again = Vec::new();
    for item in frame.items() {
        let (offset, item) = item.map_err(at)?;
        let Some(kind) = Kind::from_u8(item.kind) else {
            if item.kind & MAY_SKIP != 0 {
                continue;
            }
            return Err(crate::error::Error::Unsupported {
                file: file.to_owned(),
                what: "item kind",
                got: item.kind.to_string(),
                supported: "the kinds of format version 2".to_owned(),
            });
        };
        match kind {
            Kind::Record | Kind::Head | Kind::Chunk => {
                let id = item.id().map_err(at)?;
                let set = run.ok_or_else(|| at(Malformed::new("record", "a run before it", "none")))?;
                effects.push(Effect::Put { id, set, offset, bytes: item.bytes() });
                if item.flags & AGAIN != 0 {
                    again.push(id);
                }
                if let Some(stream) = stream {
                    effects.push(Effect::Stream(stream, id));
                }
            }
            Kind::Run => {
                let number = whole_items(&item, 4).map_err(at)?.next().map(LittleEndian::read_u32);
                run = number.map(SetNumber);
            }
            Kind::Pages => {
                for part in whole_items(&item, 12).map_err(at)? {
                    let (page, set) = (LittleEndian::read_u64(part), LittleEndian::read_u32(&part[8..]));
                    assigned.push(Effect::Assign(page, SetNumber(set)));
                }
            }
            Kind::Frees => add_frees(&item, effects, &mut again).map_err(at)?,
            Kind::CreateSet | Kind::RenameSet => effects.push(set_effect(kind, &item).map_err(at)?),
            Kind::Mark => effects.push(Effect::Mark(name_of(item.payload).map_err(at)?)),
            Kind::DropMark => effects.push(Effect::DropMark(name_of(item.payload).map_err(at)?)),
            Kind::Stream | Kind::StreamEnd => {
                let number = whole_items(&item, 8).map_err(at)?.next().map(LittleEndian::read_u64);
                if kind == Kind::Stream {
                    stream = number;
                } else {
                    effects.extend(number.map(Effect::StreamEnd));
                }
            }
            Kind::Metadata | Kind::Replaced => {}
            Kind::Consumer => effects.push(consumer_effect(&item).map_err(at)?),
            Kind::Prewritten => effects.push(prewritten_effect(&item, frame.header.seq).map_err(at)?),
            Kind::IndexOps | Kind::CreateIndex | Kind::DropIndex | Kind::PublishIndex => {
                effects.extend(index_effect(kind, &item).map_err(at)?);
            }
            Kind::Moves => {
                let (from, to, all) = moves(item.payload).map_err(at)?;
                effects.push(Effect::Moves(from, to, all));
            }
            Kind::DropSet | Kind::EndSet => {
                let number = whole_items(&item, 4).map_err(at)?.next().map(LittleEndian::read_u32).map(SetNumber);
                effects.extend(number.map(if kind == Kind::DropSet { Effect::DropSet } else { Effect::EndSet }));
            }
        }
    }
    keep_last(effects, begin, &mut again, Effect::record);
    if !assigned.is_empty() {
        effects.splice(begin..begin, assigned);
    }
    Ok(())
}
