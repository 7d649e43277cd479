//! Examining a commit once, before it is shown: its checksums, and what of it is visible.
//!
//! Owns: what a commit does to sets, and which records it changes more than once. Never: keeps values.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use byteorder::{ByteOrder, LittleEndian};

use crate::changes::reader::Found;
use crate::changes::rows::Rows;
use crate::changes::value::{FramePlace, Parts, Streams};
use crate::changes::walk::{Walk, prewritten_in};
use crate::changes::{Context, Sets};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::format::entry::ENTRIES_PER_PAGE;
use crate::format::frame::ItemChecks;
use crate::format::item::{AGAIN, FIRST_CONTROL_KIND, Kind, MAY_SKIP, REPLACES, UNASKED};
use crate::heap::State;
use crate::id::{NumberHash, RecordId, SegmentSeq, Seq, SetNumber, to_u64};

/// What a commit did last to a record that it changed more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// The item at this offset.
    Put(u64),
    Deleted,
}

/// A record that may have been changed more than once by a commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fate {
    /// It did not exist before the commit.
    pub(super) is_new: bool,
    pub(super) last: Last,
}

/// The fates of records, if any was changed more than once.
pub(super) type Fates = HashMap<RecordId, Fate, NumberHash>;

/// What is known of a commit.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) is_visible: bool,
    /// The commit that comes next was written ahead to this segment.
    pub(super) named: Option<(SegmentSeq, Seq)>,
    /// What few commits have.
    pub(super) rare: Option<Box<Rare>>,
    /// It has changes of records and nothing else, and is visible.
    is_plain: bool,
}

/// What few commits have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// Where its note is, in its segment.
    pub(super) note: Option<Range<u64>>,
    pub(super) fates: Option<Fates>,
    /// Where it says where replaced versions were.
    pub(super) replaced: Vec<Rows>,
    /// Frames with parts of its large values.
    pub(super) frames: Vec<FramePlace>,
    /// The parts in them, which are looked for with the first large value.
    pub(super) parts: OnceLock<Parts>,
}

/// Finds the sets of deleted records.
#[derive(Default)]
pub(super) struct SetOf {
    state: Option<Arc<State>>,
}

impl SetOf {
    /// A page belongs to one set forever.
    pub(super) fn find(&mut self, engine: &Engine, id: RecordId, sets: &Sets) -> SetNumber {
        let page = id.slot() / to_u64(ENTRIES_PER_PAGE);
        if let Some(set) = sets.pages.get(&page) {
            return *set;
        }
        self.state.get_or_insert_with(|| engine.heap.pin()).root.set_of_slot(id.slot())
    }
}

impl Sets {
    /// Whether changes of a set are shown.
    pub(super) fn shows(&self, set: SetNumber) -> bool {
        set >= SetNumber::FIRST_USER && self.wanted.as_ref().is_none_or(|wanted| wanted.contains(&set))
    }

    /// A set has this name. A commit that drops a set and creates one has cleared it: it has another number from then on.
    fn rename(&mut self, set: SetNumber, name: &str, dropped: Option<SetNumber>) {
        let name: Arc<str> = Arc::from(name);
        if let Some(before) = dropped {
            self.names.insert(before, Arc::clone(&name));
            if let Some(wanted) = self.wanted.as_mut().filter(|wanted| wanted.contains(&before)) {
                wanted.insert(set);
            }
        }
        self.names.insert(set, name);
    }

    pub(super) fn name(&self, set: SetNumber) -> &str {
        self.names.get(&set).map_or("", |name| name)
    }
}

/// The record IDs of an item `Frees`.
pub(super) fn freed(payload: &[u8]) -> impl Iterator<Item = RecordId> {
    payload.chunks_exact(8).filter_map(|raw| RecordId::from_u64(LittleEndian::read_u64(raw)))
}

/// The number at the beginning of an item.
pub(super) fn set_in(payload: &[u8]) -> SetNumber {
    SetNumber(payload.first_chunk::<4>().map_or(0, |number| u32::from_le_bytes(*number)))
}

/// The number of a stream.
fn stream_in(payload: &[u8]) -> u64 {
    payload.first_chunk::<8>().map_or(0, |number| u64::from_le_bytes(*number))
}

/// The name after the number.
fn name_in(payload: &[u8]) -> &str {
    payload.get(4..).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
}

impl Contents {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Checks a commit and passes it. The inner error is damage of the frame.
    pub(super) fn examine(
        engine: &Engine,
        found: &Found,
        context: &mut Arc<Context>,
        streams: &mut Streams,
    ) -> Result<std::result::Result<Self, Error>> {
        let segment = &*found.segment;
        if !segment.is_frame_checked(found.offset) {
            let mut checks = ItemChecks::default();
            let looked = match Self::look(engine, found, context, streams, Some(&mut checks))? {
                Ok(looked) => looked,
                Err(damage) => return Ok(Err(damage)),
            };
            if let Err(malformed) = checks.finish(found.items) {
                return Ok(Err(malformed.at(segment.name(), found.offset)));
            }
            let is_plain = looked.as_ref().is_some_and(|contents| contents.is_plain) && context.sets.wanted.is_none();
            segment.note_frame_checked(found.offset, is_plain);
            if let Some(contents) = looked {
                return Ok(Ok(contents));
            }
        }
        if context.sets.wanted.is_none() && segment.is_frame_plain(found.offset) {
            return Ok(Ok(Self { is_visible: true, ..Self::default() }));
        }
        let looked = Self::look(engine, found, context, streams, None)?;
        Ok(looked.map(Option::unwrap_or_default))
    }

    /// Passes a commit. With checks, each item is checked before it is looked at, and nothing but the result changes: that is `None` if the
    /// commit does more than that.
    fn look(
        engine: &Engine,
        found: &Found,
        context: &mut Arc<Context>,
        streams: &mut Streams,
        mut checks: Option<&mut ItemChecks>,
    ) -> Result<std::result::Result<Option<Self>, Error>> {
        let (segment, seed) = (&*found.segment, found.segment.seed());
        let mut contents = Self { is_plain: true, ..Self::default() };
        let (mut is_shown, mut set_of, mut flags) = (false, SetOf::default(), 0);
        let (mut dropped, mut does_more) = (None, false);
        let mut walk = Walk::new(segment, found.offset, found.bytes);
        while let Some(item) = walk.next()? {
            let checked = item.and_then(|(offset, item)| {
                let check = checks.as_mut().map_or(Ok(()), |checks| checks.item(&item, seed.at(offset)));
                check.map(|()| (offset, item))
            });
            let (offset, item) = match checked {
                Ok(item) => item,
                Err(malformed) => return Ok(Err(malformed.at(segment.name(), found.offset))),
            };
            flags |= item.flags;
            if item.kind < FIRST_CONTROL_KIND {
                contents.is_visible |= is_shown;
                continue;
            }
            contents.is_plain &= [Kind::Run as u8, Kind::IndexOps as u8].contains(&item.kind);
            match Kind::from_u8(item.kind) {
                Some(Kind::Run) => is_shown = context.sets.shows(set_in(item.payload)),
                Some(Kind::Frees) if item.flags & UNASKED == 0 && !contents.is_visible => {
                    contents.is_visible =
                        freed(item.payload).any(|id| context.sets.shows(set_of.find(engine, id, &context.sets)));
                }
                Some(
                    Kind::Pages | Kind::Stream | Kind::StreamEnd | Kind::DropSet | Kind::CreateSet | Kind::RenameSet,
                ) if checks.is_some() => does_more = true,
                Some(Kind::Pages) if engine.read_only => {
                    let pages = &mut Arc::make_mut(context).sets.pages;
                    pages.extend(item.payload.chunks_exact(12).map(|row| {
                        (
                            LittleEndian::read_u64(row),
                            SetNumber(LittleEndian::read_u32(row.get(8..).unwrap_or(&[0; 4]))),
                        )
                    }));
                }
                Some(Kind::Replaced) => {
                    contents.rare().replaced.extend(Rows::new(item.payload, offset + to_u64(item.header.len())));
                }
                Some(Kind::Stream) => {
                    streams.note(stream_in(item.payload), (segment.number(), found.offset));
                }
                Some(Kind::StreamEnd) => contents.rare().frames.extend(streams.end(stream_in(item.payload))),
                Some(Kind::Prewritten) => contents.named = prewritten_in(item.payload),
                Some(Kind::Metadata) => {
                    let begin = offset + to_u64(item.header.len());
                    contents.rare().note = Some(begin..begin + to_u64(item.payload.len()));
                }
                Some(Kind::DropSet) => {
                    let set = set_in(item.payload);
                    contents.is_visible |= context.sets.shows(set);
                    dropped = Some(set);
                }
                Some(Kind::CreateSet | Kind::RenameSet) => {
                    let (set, name) = (set_in(item.payload), name_in(item.payload));
                    Arc::make_mut(context).sets.rename(set, name, dropped);
                    contents.is_visible |= context.sets.shows(set);
                }
                None if item.kind & MAY_SKIP == 0 => {
                    return Err(Error::Unsupported {
                        file: segment.name().to_owned(),
                        what: "item kind",
                        got: item.kind.to_string(),
                        supported: "the kinds of format version 2".to_owned(),
                    });
                }
                _ => {}
            }
        }
        if does_more {
            return Ok(Ok(None));
        }
        contents.is_plain &= contents.is_visible && flags & AGAIN == 0;
        if flags & AGAIN != 0 && contents.is_visible {
            contents.rare().fates = Some(fates(found)?);
        }
        Ok(Ok(Some(contents)))
    }
}

/// What a frame did last to each record.
fn fates(found: &Found) -> Result<Fates> {
    let mut fates = Fates::default();
    let mut walk = Walk::new(&found.segment, found.offset, found.bytes);
    while let Some(item) = walk.next()? {
        let Ok((offset, item)) = item else { break };
        if item.kind < FIRST_CONTROL_KIND {
            let Ok(id) = item.id() else { continue };
            let is_new = item.flags & REPLACES == 0;
            let fate = fates.entry(id).or_insert(Fate { is_new, last: Last::Put(offset) });
            fate.last = Last::Put(offset);
        } else if item.kind == Kind::Frees as u8 && item.flags & UNASKED == 0 {
            for id in freed(item.payload) {
                fates.entry(id).or_insert(Fate { is_new: false, last: Last::Deleted }).last = Last::Deleted;
            }
        }
    }
    Ok(fates)
}
