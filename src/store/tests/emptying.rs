//! Emptying sets whose values have lists of chunks.

use std::sync::Arc;

use crate::backing::Memory;
use crate::engine::Need;
use crate::format::frame::FrameBuilder;
use crate::format::item::Kind;
use crate::format::value::{Head, IDS_PER_LIST, encode_ids};
use crate::heap::Effect;
use crate::id::{RecordId, SetNumber, to_u64};
use crate::options::Options;
use crate::store::Store;
use crate::store::emptying::Emptying;

/// Chunks of the value, of one byte each.
const CHUNKS: usize = 2 * IDS_PER_LIST + 700;
const LISTS: u64 = 3;
/// IDs that a commit frees.
const FREES: u64 = 1_500;

fn commit(store: &Store, mut frame: FrameBuilder, mut effects: Vec<Effect>) {
    store.engine().commit_frame(&mut frame, &mut effects, Need::Ordinary, &mut || Ok(())).unwrap();
}

/// A value that no caller can write without gigabytes: its chunks are as short as the format allows.
fn put_value(store: &Store, set: SetNumber) {
    let (mut frame, mut effects) = (FrameBuilder::new(), Vec::new());
    let mut put = |kind: Kind, set: SetNumber, payload: &[u8]| {
        let id = store.engine().take_id(set).unwrap();
        frame.control(Kind::Run, &set.0.to_le_bytes());
        let (offset, bytes) = frame.record(kind, id, payload);
        effects.push(Effect::Put { id, set, offset, bytes });
        id
    };
    let chunks: Vec<RecordId> = (0..CHUNKS).map(|_| put(Kind::Chunk, SetNumber::CHUNKS, &[7])).collect();
    let mut ids = Vec::new();
    for part in chunks.chunks(IDS_PER_LIST) {
        let mut payload = Vec::new();
        encode_ids(part, &mut payload);
        ids.push(put(Kind::Chunk, SetNumber::CHUNKS, &payload));
    }
    let head = Head { total_bytes: to_u64(CHUNKS), chunk_bytes: 1, depth: 1, ids };
    put(Kind::Head, set, &head.encode());
    commit(store, frame, effects);
}

#[test]
fn lists_of_chunks_are_freed_with_the_head_and_an_interrupted_value_is_gone_on_with() {
    let store = Options::new().background(false).open_backing(Arc::new(Memory::new())).unwrap();
    let (set, other) = (store.record_set("a").unwrap(), store.record_set("b").unwrap());
    let number = store.engine().set_of_handle(&set.handle()).unwrap();
    put_value(&store, number);
    put_value(&store, number);
    let chunks = || store.stats().chunks.records;
    assert_eq!(chunks(), 2 * (to_u64(CHUNKS) + LISTS));

    let mut frame = FrameBuilder::new();
    frame.control(Kind::DropSet, &number.0.to_le_bytes());
    commit(&store, frame, vec![Effect::DropSet(number)]);
    let mut emptying = Emptying::of(usize::try_from(FREES).unwrap());
    let step = |emptying: &mut Emptying| {
        let (seq, before) = (store.last_seq(), chunks());
        let is_more = emptying.go_on(store.engine()).unwrap();
        assert!(before - chunks() <= FREES + LISTS, "{} chunks", before - chunks());
        assert!(store.last_seq().0 - seq.0 <= 2, "a part of the records and the end of the set at most");
        is_more
    };
    while chunks() > 2 * (to_u64(CHUNKS) + LISTS) - 3 * FREES {
        assert!(step(&mut emptying));
    }
    // Slots of chunks that are gone get chunks of another value, once that is durable.
    store.sync().unwrap();
    let id = store.write(|tx| tx.insert(&other, vec![3; 300_000])).unwrap();
    let mut emptying = Emptying::of(usize::try_from(FREES).unwrap());
    while step(&mut emptying) {}
    assert_eq!((chunks(), store.stats().records), (5, 1));
    assert_eq!(store.get(id).unwrap().to_vec().unwrap(), vec![3; 300_000]);
    store.close().unwrap();
}
