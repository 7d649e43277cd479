//! The content of a store before its disk is full, and its content afterwards.

use std::collections::BTreeMap;

use tenure::{Durability, Options, RecordId, Store};

/// A snapshot that some of it is kept by.
pub const NAMED: &str = "kept";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    HalfDead,
    AllLive,
    ManySmall,
    OneLarge,
}

pub const CONTENTS: [Content; 4] = [Content::HalfDead, Content::AllLive, Content::ManySmall, Content::OneLarge];

/// Numbers of records, and how long they are.
pub type Held = BTreeMap<u32, usize>;

impl Content {
    pub fn parse(name: &str) -> Option<Self> {
        CONTENTS.into_iter().find(|content| format!("{content:?}") == name)
    }

    /// Numbers of records with their lengths, and whether each is deleted before the disk is full.
    fn plan(self) -> (u32, usize) {
        match self {
            Self::HalfDead | Self::AllLive => (1_200, 2_000),
            Self::ManySmall => (20_000, 12),
            Self::OneLarge => (1, 3 << 20),
        }
    }

    /// Writes it. Buffered, so that a part of it was never synced when the store ends.
    pub fn write(self, store: &Store) -> Held {
        let (count, len) = self.plan();
        let set = store.record_set("a").expect("a set");
        let mut held = Held::new();
        let numbers: Vec<u32> = (0..count).collect();
        let mut ids = Vec::new();
        for some in numbers.chunks(100) {
            let values: Vec<Vec<u8>> = some.iter().map(|number| value(*number, len)).collect();
            let insert = |tx: &mut tenure::Transaction| match values.as_slice() {
                [one] => tx.insert(&set, one).map(|id| vec![id]),
                many => tx.insert_many(&set, many),
            };
            ids.extend(store.write(insert).expect("inserts"));
            held.extend(some.iter().map(|number| (*number, len)));
            if some.first() == Some(&(count / 200 * 100)) {
                store.save_named_snapshot(NAMED).expect("saves");
            }
        }
        if self == Self::HalfDead {
            let dead: Vec<(u32, RecordId)> =
                numbers.into_iter().zip(ids).filter(|(number, _)| number % 2 == 0).collect();
            for some in dead.chunks(100) {
                store.write(|tx| some.iter().try_for_each(|(_, id)| tx.delete(*id))).expect("deletes");
            }
            for (number, _) in dead {
                held.remove(&number).expect("was there");
            }
        }
        held
    }
}

/// A value that begins with its number.
fn value(number: u32, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().chain(std::iter::repeat(7)).take(len).collect()
}

pub fn options() -> Options {
    Options::new().durability(Durability::Buffered)
}

/// The content of a store.
pub fn held(store: &Store) -> BTreeMap<u32, (RecordId, usize)> {
    let Some(set) = store.find_set("a") else { return BTreeMap::new() };
    let view = store.view();
    let records = view.scan(&set).map(|record| {
        let record = record.expect("reads");
        let bytes = record.to_vec().expect("reads");
        let number = u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
        assert_eq!(bytes, value(number, bytes.len()));
        (number, (record.id(), bytes.len()))
    });
    records.collect()
}

/// Commits until one is refused. Acknowledged commits stay.
pub fn write_until_refused(store: &Store, held: &mut Held) {
    let set = store.find_set("a").expect("a set");
    for number in 1_000_000..1_000_500 {
        match store.write(|tx| tx.insert(&set, value(number, 3_000))) {
            Ok(_) => drop(held.insert(number, 3_000)),
            Err(tenure::Error::NoSpace { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
}
